"""`joulebench card --push`: what reaches the hub's client, and what never does."""

from __future__ import annotations

from importlib import import_module

import huggingface_hub
import pytest
import yaml
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError

from tests.commands.calling import call
from tests.run_factory import full_run

#: httpx or httpx2, as the installed client uses.
httpx = import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"
FOREIGN = """---
# by hand
license: apache-2.0
widget:
- text: "a: b"
extra: {deep: [1, two]}
---
# My model

Words.
"""
BENCHMARK = ("--benchmark", "someone/digits:default=val_accuracy")
EVALUATION = ".eval_results/someone_digits_default.yaml"


@pytest.fixture
def folder(tmp_path):
    return full_run().write(tmp_path / "run")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """HfApi without a network: `readme` is what the repository has, `commits` what it was given."""

    class Hub:
        readme: str | None = FOREIGN
        error: Exception | None = None
        lost = False
        commits: list = []
        calls: list = []

    state = Hub()
    state.commits, state.calls = [], []

    def model_info(_, repo, **__):
        state.calls.append("model_info")
        if state.error is not None:
            raise state.error
        return type("Info", (), {"sha": "a" * 40})

    def download(_, repo, name, *, revision):
        state.calls.append("download")
        assert revision == "a" * 40
        if state.lost:
            raise LocalEntryNotFoundError("connection lost")
        if state.readme is None:
            raise RemoteEntryNotFoundError("no README", response=_response(404))
        path = tmp_path / "fetched.md"
        path.write_text(state.readme)
        return str(path)

    def commit(_, repo, operations, *, parent_commit, **__):
        state.calls.append("commit")
        assert parent_commit == "a" * 40
        state.commits.append((repo, {o.path_in_repo: o.path_or_fileobj.decode() for o in operations}))

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name, function in (("model_info", model_info), ("hf_hub_download", download), ("create_commit", commit)):
        monkeypatch.setattr(HfApi, name, function)
    return state


def _response(status):
    request = httpx.Request("POST", "https://hub.invalid", headers={"authorization": f"Bearer {TOKEN}"})
    return httpx.Response(status, request=request)


def test_a_dry_run_lists_files_and_target_and_asks_the_hub_nothing(folder, hub, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "card", folder.path, "--push", "me/model", *BENCHMARK, "--dry-run")
    assert code == 0
    for part in ("me/model", "README.md", EVALUATION, "nothing was uploaded"):
        assert part in out + err
    assert hub.calls == []


def test_a_push_keeps_foreign_metadata_and_states_one_result(folder, hub, monkeypatch, capsys):
    assert call(monkeypatch, capsys, "card", folder.path, "--push", "me/model", *BENCHMARK)[0] == 0
    [(repo, files)] = hub.commits
    assert (repo, set(files)) == ("me/model", {"README.md", EVALUATION})
    before, after = ModelCard(FOREIGN).data.to_dict(), ModelCard(files["README.md"]).data.to_dict()
    assert {name: after[name] for name in before} == before
    assert "energy" in after["tags"]
    assert "# by hand\n" in files["README.md"]
    assert "# My model\n\nWords.\n" in files["README.md"]
    [entry] = yaml.safe_load(files[EVALUATION])
    assert entry["dataset"] == {"id": "someone/digits", "task_id": "default"}
    card = ModelCard(files["README.md"]).data.eval_results
    assert entry["value"] == next(r.metric_value for r in card if r.metric_type == "accuracy") > 0.5
    assert "the search saw it" in entry["notes"]


@pytest.mark.skipif(not hasattr(huggingface_hub, "parse_eval_result_entries"), reason="the hub's client is older")
def test_the_hubs_client_reads_the_result(folder, hub, monkeypatch, capsys):
    assert call(monkeypatch, capsys, "card", folder.path, "--push", "me/model", *BENCHMARK)[0] == 0
    [(_, files)] = hub.commits
    [entry] = huggingface_hub.parse_eval_result_entries(yaml.safe_load(files[EVALUATION]))
    assert (entry.dataset_id, entry.task_id) == ("someone/digits", "default")


def test_a_repository_without_a_card_gets_one(folder, hub, monkeypatch, capsys):
    hub.readme = None
    assert call(monkeypatch, capsys, "card", folder.path, "--push", "me/model")[0] == 0
    [(_, files)] = hub.commits
    assert list(files) == ["README.md"]
    assert "energy" in ModelCard(files["README.md"]).data.tags


def test_a_connection_lost_at_the_readme_is_not_an_absent_readme(folder, hub, monkeypatch, capsys):
    hub.lost = True
    assert call(monkeypatch, capsys, "card", folder.path, "--push", "me/model")[0] == 2
    assert hub.commits == []


@pytest.mark.parametrize(
    "error",
    [
        HfHubHTTPError(f"denied for Bearer {TOKEN}", response=_response(403)),
        httpx.ConnectError(f"cannot send {TOKEN}"),
        OSError(TOKEN),
    ],
)
def test_no_message_holds_the_token(folder, hub, monkeypatch, capsys, error):
    hub.error = error
    code, out, err = call(monkeypatch, capsys, "card", folder.path, "--push", "me/model")
    assert (code, err.count("\n")) == (2, 1)
    assert type(error).__name__ in err
    assert TOKEN not in out + err
    assert hub.commits == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--dry-run",), "--push"),
        (BENCHMARK, "--push"),
        (("--push", "me/model/extra"), "OWNER/NAME"),
        (("--push", "me/model", "--format", "sci"), "--format hf"),
        (("--push", "me/model", "--out", "card.md"), "no --out"),
        (("--push", "me/model", "--benchmark", "digits=val_accuracy"), "OWNER/DATASET:TASK=METRIC"),
        (("--push", "me/model", "--benchmark", "a/b:c=j_per_sample"), "val_accuracy"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_the_hub_is_asked(
    folder, hub, monkeypatch, capsys, arguments, told
):
    code, _, err = call(monkeypatch, capsys, "card", folder.path, *arguments)
    assert code == 2
    assert told in err
    assert hub.calls == []

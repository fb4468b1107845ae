"""The tasks on text generation with trained weights from folders and prompts from a file, as a user types them."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from joulebench.publishing.copying import copy_records, scrub
from joulebench.records.folder import RunFolder
from joulebench.spec.catalog import task_files
from joulebench.workloads.transformer import random_model
from tests.commands.calling import call
from tests.language_models import miniature_config

WORDS = ("[UNK]", "the", "cat", "sat", "on", "mat")
PROMPTS = "the cat sat\nthe mat\n" + "the cat sat on the mat " * 3 + "\n"
#: Three windows of a few steps, of whatever machine: the numbers are no measurement.
SHORT = {
    "protocol.window_s": 0.02, "protocol.warmup_s": 0.01, "protocol.max_warmup_s": 0.02, "protocol.repeats": 2,
    "protocol.max_repeats": 2, "protocol.idle_s": 0, "protocol.max_quiet_wait_s": 0, "confirm.repeats": 0,
}  # fmt: skip
FEW = {
    "transformer_batch": {
        "architecture": "tiny", "parameters.batch_size.high": 2, "stages.default.repeats": 1,
        "stages.search.trials": 0,
    },
    "transformer_size": {
        "architecture": "tiny", "hidden_size": 128, "layers": 2, "heads": 4, "stages.default.repeats": 1,
        "prompt_tokens": 16,
    },
    "transformer_consistency": {"stages.models.repeats": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three models with weights of their own and a tokenizer each, and a file of prompts without a suffix."""
    folder = tmp_path_factory.mktemp("models")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    for name in ("tiny", "gpt2", "qwen3-0.6b"):
        random_model(miniature_config(name), torch.float32, "sdpa", 4, "cpu").save_pretrained(folder / name)
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder / name)
    (folder / "prompts").write_text(PROMPTS)
    return folder


@pytest.fixture
def ask(monkeypatch, capsys, folder):
    """A run of a task in a few windows: exit code, output, error."""
    monkeypatch.chdir(folder)

    def ask(task, out, **more):
        given = {"weights": "pretrained", "options.models": ".", "options.prompts": "prompts"}
        sets = {**given, **SHORT, **FEW[task], **more}
        options = [word for name, value in sets.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        return call(
            monkeypatch, capsys, "run", task, "--budget", "quick", "--allow-busy", "--quiet", "--out", out, *options
        )

    return ask


@pytest.mark.parametrize("task", FEW)
def test_trained_weights_and_prompts_of_a_file(task, ask, folder, tmp_path):
    code, _, err = ask(task, tmp_path)
    assert code == 0, err
    (path,) = tmp_path.glob("*/*/*")
    run = RunFolder.open(path)
    (prompts,) = run.manifest().own_code
    assert (prompts.name, prompts.files) == ("prompts", {"prompts": hashlib.sha256(PROMPTS.encode()).hexdigest()})
    trials = run.trials()
    assert {t.status for t in trials} == {"ok"}
    assert {t.params["weights"] for t in trials} == {"pretrained"}
    architectures = ["gpt2", "qwen3-0.6b", "tiny"] if task == "transformer_consistency" else ["tiny"]
    assert sorted({t.params["architecture"] for t in trials}) == architectures
    length = trials[0].params["prompt_tokens"]
    cut = min(18, length)  # of the longest prompt's 18 words
    assert trials[0].metrics["prompts_padding_share"] == pytest.approx(1 - (3 + 2 + cut) / (3 * length))
    assert trials[0].metrics["prompts_cut_share"] == pytest.approx((length < 18) / 3)
    report = (path / "report.md").read_text()
    assert "Share of padding, and of prompts that are cut" in report
    assert ("departs" in report) == (task == "transformer_consistency")
    assert "the cat sat" not in "".join(p.read_text(errors="replace") for p in path.iterdir() if p.is_file())


def refused(ask, out, expected, task="transformer_size", **more):
    """Run a task that is refused in one line before anything is written."""
    code, _, err = ask(task, out, **more)
    assert code == 2
    assert expected in err
    assert err.strip().count("\n") == 0
    assert not list(out.iterdir())


def test_a_trained_model_has_the_sizes_that_it_has(ask, tmp_path):
    resized = "weights = 'pretrained' cannot be resized"
    refused(ask, tmp_path, f"{resized}: the model has hidden_size = 128; set it so", hidden_size=256)
    sizes = {name: FEW["transformer_size"].pop(name) for name in ("hidden_size", "layers", "heads")}
    try:
        refused(ask, tmp_path, f"{resized}, and hidden_size, layers, heads vary: set what the model has")
        refused(ask, tmp_path, "options.models: '.' holds no folder 'custom'", architecture="custom")
    finally:
        FEW["transformer_size"] |= sizes


def test_without_a_trained_model_of_its_architecture_a_task_is_refused_before_it_begins(
    monkeypatch, capsys, tmp_path
):
    options = ("--set", "weights=pretrained", "--budget", "quick", "--out", tmp_path / "runs")
    code, _, err = call(monkeypatch, capsys, "run", "transformer_size", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert "parameters.weights: architecture 'custom' has no published weights; architecture may name" in err
    assert not (tmp_path / "runs").exists()


def test_another_file_is_another_run_and_no_prompt_is_published(ask, folder, tmp_path, monkeypatch, capsys):
    where = {"options.prompts": str(folder / "prompts"), "options.models": str(folder)}
    assert ask("transformer_size", tmp_path, **where)[0] == 0
    (path,) = tmp_path.glob("*/*/*")
    copy_records(path, tmp_path / "copy")
    scrub(tmp_path / "copy")
    manifest = RunFolder.open(tmp_path / "copy").manifest()
    assert manifest.task["options"] == {"prompts": "prompts", "models": folder.name}
    assert manifest.overrides["options.prompts"] == "prompts"
    assert str(folder) not in "".join(p.read_text() for p in (tmp_path / "copy").iterdir())
    ledger = path / "ledger.jsonl"
    ledger.write_text("\n".join(ledger.read_text().splitlines()[:-1]) + "\n")
    (folder / "prompts").write_text(PROMPTS + "the mat sat\n")
    code, _, err = call(monkeypatch, capsys, "resume", path, "--quiet")
    (folder / "prompts").write_text(PROMPTS)
    assert code == 2
    assert "prompts has changed since the run began" in err
    assert call(monkeypatch, capsys, "resume", path, "--quiet")[0] == 0


def test_misspelt_options_and_absent_folders_are_one_line_and_no_run(ask, tmp_path):
    for more, expected in (
        ({"weights": "pretained"}, "parameters.weights: "),
        ({"weights": "pretained"}, "did you mean 'pretrained'?"),
        ({"dtype": "float23"}, "parameters.dtype: "),
        (
            {"weights": "random", "architecture": "gtp2", "options.tokenizer": "tiny"},
            "architecture: no architecture 'gtp2'; did you mean 'gpt2'?",
        ),
        ({"options.tokenizer": "./nowhere"}, "options.tokenizer: './nowhere' cannot be loaded"),
        ({"weights": "random"}, "options.prompts: needs options.tokenizer"),
        ({"options.prompt": "x"}, "options.prompt: no such option; did you mean 'prompts'?"),
        ({"options.models": "nowhere"}, "options.models: no folder 'nowhere'"),
        ({"prompts": "prompts"}, "--set: no parameter 'prompts'"),
        ({"options.prompts": "nowhere.txt"}, "options.prompts: nowhere.txt"),
    ):
        refused(ask, tmp_path, expected, **more)


def test_a_trial_of_its_own_process_is_refused_before_a_run_too(ask, tmp_path):
    refused(ask, tmp_path, "parameters.weights: ", weights="pretained", **{"protocol.isolate": True})


def test_check_says_what_a_run_would(monkeypatch, capsys, tmp_path):
    text = task_files()["transformer_size"].read_text()
    for old, new, expected in (
        ('weights = { type = "fixed", value = "random" }', 'weights = { type = "fixed", value = "rendom" }',
         "parameters.weights: "),
        ('workload = "transformer"', 'workload = "transformer"\noptions.prompts = "nowhere.txt"',
         "options.prompts: nowhere.txt"),
        ("parameters.dtype.value = \"float32\"", "parameters.dtype.value = \"float33\"", "parameters.dtype: "),
    ):  # fmt: skip
        assert old in text
        path = tmp_path / "transformer_size.toml"
        path.write_text(text.replace(old, new))
        code, _, err = call(monkeypatch, capsys, "check", path)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{path}: {expected}" in err
    path.write_text(text)
    assert call(monkeypatch, capsys, "check", path)[0] == 0

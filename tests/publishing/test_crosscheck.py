"""Forged records of a run that took place, sealed again: what shows, unsigned and signed."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from joulebench.errors import GateError, InputError
from joulebench.publishing.checks import problems
from joulebench.publishing.copying import SUMS, publish, seal
from joulebench.publishing.signing import SIGNATURE
from joulebench.publishing.verifying import refresh, verify
from joulebench.records.folder import RunFolder
from joulebench.records.model import trial_seed
from joulebench.runner.local import run
from joulebench.spec.task import Task

TASK = Task.model_validate({
    "name": "tiny_digits", "title": "A tiny search on digits", "workload": "cnn",
    "dataset": {"name": "digits", "validation": 300},
    "parameters": {
        "width": {"type": "int", "low": 4, "high": 24, "default": 16},
        "depth": {"type": "fixed", "value": 2}, "kernel": {"type": "fixed", "value": 3},
        "pool": {"type": "fixed", "value": True}, "batch_size": {"type": "fixed", "value": 64},
        "learning_rate": {"type": "fixed", "value": 0.003}, "epochs": {"type": "fixed", "value": 2},
    },
    "objectives": {
        "val_accuracy": {"goal": "maximize", "reference": 0.05},
        "samples_per_j": {
            "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["gpu", "cpu", "ram"],
            "basis": "gross",
        },
    },
    "stages": {"default": {"method": "default", "repeats": 1}, "init": {"method": "sobol", "trials": 3}},
    "protocol": {
        "warmup_s": 0.05, "max_warmup_s": 0.1, "window_s": 0.4, "repeats": 2, "max_repeats": 2, "idle_s": 0.4,
    },
    "confirm": {"repeats": 0},
})  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A set of a run with this machine's meters, published without a signature."""
    root = tmp_path_factory.mktemp("measured")
    folder = run(TASK, out=root / "runs")

    def committed(manifest: dict[str, Any]) -> None:
        manifest["environment"]["code"].pop("modified", None)

    edit_manifest(folder.path, committed)  # a checkout under work has changes
    return publish(folder.path, root / "reports", allow_busy=True)


@pytest.fixture
def forged(measured, tmp_path) -> Path:
    target = tmp_path / "reports" / measured.relative_to(measured.parents[2])
    target.parent.mkdir(parents=True)
    return Path(shutil.copytree(measured, target))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    changed = rows(folder / name)
    for row in changed:
        change(row)
    (folder / name).write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in changed))


def edit_windows(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    for name in ("trials.jsonl", "ledger.jsonl"):
        edit(folder, name, lambda row: [change(w) for w in row.get("windows", ())])  # type: ignore[func-returns-value]


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def halved(folder: Path) -> None:
    edit_windows(folder, lambda w: [r.update(energy_j=r["energy_j"] / 2) for r in w.get("readings", ())])


def accurate(folder: Path) -> None:
    def change(trial: dict[str, Any]) -> None:
        trial["metrics"]["val_accuracy"] = min(1.0, trial["metrics"]["val_accuracy"] + 0.01)

    edit(folder, "trials.jsonl", change)


def relabelled(folder: Path) -> None:
    edit_windows(folder, lambda w: [r.update(kind="measured") for r in w.get("readings", ())])
    edit_manifest(folder, lambda m: [meter.update(kind="measured") for meter in m["meters"]])


def dropped(folder: Path) -> None:
    kept = (folder / "trials.jsonl").read_text().splitlines(keepends=True)[:-1]
    (folder / "trials.jsonl").write_text("".join(kept))
    scores = [s for s in rows(folder / "scores.jsonl") if s["trial"] < len(kept)]
    (folder / "scores.jsonl").write_text("".join(json.dumps(s) + "\n" for s in scores))


def never_begun(folder: Path) -> None:
    """The last trial, its scores and all that the ledger says of it, dropped."""
    last = rows(folder / "trials.jsonl")[-1]["trial"]
    for name in ("trials.jsonl", "ledger.jsonl", "scores.jsonl"):
        kept = [row for row in rows(folder / name) if row.get("trial") != last]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in kept))


def more_work(folder: Path) -> None:
    def change(window: dict[str, Any]) -> None:
        if window["phase"] == "inference":
            window["units"] *= 1000

    edit_windows(folder, change)


def perfect(folder: Path) -> None:
    edit(folder, "scores.jsonl", lambda s: s["metrics"].update(accuracy=1.0))


def elsewhere(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["environment"]["host"]["cpu"] = "Another CPU"
        manifest["environment"]["code"]["commit"] = "0123456789abcdef0123456789abcdef01234567"

    edit_manifest(folder, change)


def reseeded(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(seed=m["seed"] + 1))


def other_configuration(folder: Path) -> None:
    def change(trial: dict[str, Any]) -> None:
        if trial["stage"] == "init":
            trial["params"]["width"] = trial["params"]["width"] % 20 + 4

    edit(folder, "trials.jsonl", change)


def swapped(folder: Path) -> None:
    def change(trial: dict[str, Any]) -> None:
        for window in trial["windows"]:  # trial 2 is said to have run before trial 1
            window["start_s"] -= 500.0 * (trial["trial"] == 2)
            window["end_s"] -= 500.0 * (trial["trial"] == 2)

    edit(folder, "trials.jsonl", change)


def at_night(folder: Path) -> None:
    """The last trial as of another day."""
    trials = rows(folder / "trials.jsonl")
    for window in trials[-1]["windows"]:
        window["start_utc"] = f"2019-01-01{window['start_utc'][10:]}"
    (folder / "trials.jsonl").write_text("".join(json.dumps(t) + "\n" for t in trials))


def predated(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(created_utc="2019" + m["created_utc"][4:]))


def of_no_data(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["data"].pop("fingerprint"))


def of_another_task(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["task"].update(title="Another"))


FORGERIES = (halved, accurate, relabelled, dropped, more_work, perfect, elsewhere)
#: Nothing in the records speaks of test scores but the scores, or of the work but the windows.
UNSEEN = {perfect}


def forge(folder: Path, forgery: Callable[[Path], None]) -> None:
    """Forge the records, make the report anew and seal the set, as whoever has joulebench can."""
    forgery(folder)
    seal(folder)


def test_a_run_that_took_place_has_no_contradiction(measured):
    (found,) = verify(measured)
    assert (found.problems, found.outdated, found.is_signed, found.unknown_commit) == ((), (), False, None)


@pytest.mark.parametrize(
    "forgery",
    [
        *(f for f in FORGERIES if f not in UNSEEN), reseeded, other_configuration, swapped, at_night, predated,
        never_begun, of_no_data, of_another_task,
    ],
)  # fmt: skip
def test_forged_records_that_are_sealed_again_contradict_others(forged, forgery, measured):
    commit = json.loads((measured / "manifest.json").read_text())["environment"]["code"].get("commit")
    if forgery is elsewhere and commit is None:
        pytest.skip("this checkout has no history to look a commit up in")
    forge(forged, forgery)
    (found,) = verify(forged)
    assert found.problems or found.unknown_commit, forgery.__name__
    assert (found.unknown_commit is not None) == (forgery is elsewhere)


@pytest.mark.parametrize(("version", "told"), [({"from_catalogue": False}, True), ({}, False)])
def test_code_that_was_recorded_and_is_gone_is_missed_and_not_in_sets_of_earlier_versions(forged, version, told):
    def change(manifest: dict[str, Any]) -> None:
        manifest["task"]["workload"] = "mine:Model"
        manifest.pop("own_code", None)
        manifest.pop("from_catalogue", None)
        manifest.update(version)

    edit_manifest(forged, change)
    assert any("mine:Model" in problem for problem in problems(RunFolder.open(forged))) is told


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    """A signing key, and the file that allows it."""
    root = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(root / name)]
        subprocess.run(made, check=True, capture_output=True)
    (root / "allowed").write_text(f"lab@example.org {(root / 'ours.pub').read_text()}")
    return root / "ours", root / "allowed"


needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signatures need ssh-keygen")


@needs_ssh
def test_a_signed_set_names_its_signer_and_keeps_its_signature_when_made_anew(forged, keys):
    key, allowed = keys
    publish(forged, forged.parents[2], key=key)
    (found,) = verify(forged, allowed)
    assert (found.problems, found.signer, found.is_signed) == ((), "lab@example.org", True)
    (forged / "report.md").write_text("an older wording\n")
    (older,) = verify(forged, allowed)
    assert (older.problems, older.outdated) == ((), ("report.md",))
    assert list(refresh(forged)) == [(forged, ["report.md"])]
    (fresh,) = verify(forged, allowed)
    assert (fresh.problems, fresh.outdated, fresh.signer) == ((), (), "lab@example.org")


@needs_ssh
@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_of_a_signed_set_passes(forged, keys, forgery):
    key, allowed = keys
    publish(forged, forged.parents[2], key=key)
    forge(forged, forgery)
    (found,) = verify(forged, allowed)
    assert found.problems
    publish(forged, forged.parents[2], key=key.with_name("theirs"))
    (found,) = verify(forged, allowed)
    assert found.problems
    assert found.signer is None


@needs_ssh
def test_an_unsigned_set_is_none_of_a_signers(measured, keys):
    (found,) = verify(measured, keys[1])
    assert found.problems == ("is not signed",)


@pytest.mark.parametrize("name", ["evil.sh", "overlay/evil.html", "weights/0.pt", "manifest.json.bak"])
def test_what_was_not_published_is_named(forged, name):
    (forged / name).parent.mkdir(exist_ok=True)
    (forged / name).write_text("x")
    (found,) = verify(forged)
    assert any(name in problem for problem in found.problems)


def test_links_are_named(forged, tmp_path):
    (forged / "report.md").unlink()
    (forged / "report.md").symlink_to(tmp_path)
    (found,) = verify(forged)
    assert any("report.md" in problem for problem in found.problems)


@pytest.mark.parametrize(
    "text",
    ["<script>x</script>", '<a xlink:href="https://example.org">x</a>', '<rect onload="x()"/>', "<foreignObject/>"],
)
def test_a_figure_that_would_do_something_is_named(forged, text):
    figure = next(forged.glob("*.svg"))
    figure.write_text(figure.read_text().replace("</svg>", f"{text}</svg>"))
    (found,) = verify(forged)
    assert any(figure.name in problem for problem in found.problems)


def _one_digit(content: bytes) -> bytes:
    """A figure with a small mark on it, as another digit would be."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        x, y = image.width // 2, image.height // 2
        shade = image.getpixel((x, y))[0]
        image.putpixel(
            (x, y), (255 - shade if abs(255 - 2 * shade) > 64 else 0, 0, 0, 255)[: len(image.getbands())]
        )
        out = io.BytesIO()
        image.save(out, "png")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("frontier.png", _one_digit), ("frontier.png", lambda content: content[:60] + content[-60:]),
        ("frontier.svg", lambda content: content.replace(b"M ", b"M 9", 1)),
        ("frontier.svg", lambda content: content.replace(b"#", b"#f", 1)),
        ("frontier.csv", lambda content: content.replace(b"1", b"2", 1)),
    ],
)  # fmt: skip
def test_a_changed_figure_is_found(forged, name, change):
    content = (forged / name).read_bytes()
    (forged / name).write_bytes(change(content))
    assert (forged / name).read_bytes() != content
    (found,) = verify(forged)
    assert name in found.outdated


def test_a_page_beside_a_set_is_what_its_records_give(forged):
    (forged / "report.html").write_text("<html><script>alert(1)</script></html>")
    (found,) = verify(forged)
    assert found.outdated == ("report.html",)


def test_a_figure_that_differs_by_rounding_is_the_same(forged):
    with Image.open(forged / "frontier.png") as image:
        image.load()
        shade = image.getpixel((5, 5))
        image.putpixel((5, 5), (shade[0] ^ 3, *shade[1:]))
        image.save(forged / "frontier.png", compress_level=1)
    text = (forged / "frontier.svg").read_text()
    number = re.search(r"\d+\.\d{4,}", text)[0]
    (forged / "frontier.svg").write_text(text.replace(number, f"{float(number) + 1e-4:.6f}", 1))
    (found,) = verify(forged)
    assert (found.problems, found.outdated) == ((), ())


def test_seeds_follow_from_the_run():
    assert trial_seed(0, 3) == 1535326273  # as published by an earlier version
    assert trial_seed(0, 3) != trial_seed(1, 3)


def test_the_checksums_are_of_records_alone(measured):
    names = {line.split("  ")[1] for line in (measured / SUMS).read_text().splitlines()}
    assert names <= {"manifest.json", "trials.jsonl", "ledger.jsonl", "scores.jsonl", "published.json"}
    assert not (measured / SIGNATURE).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environment.host", "no table"), ("environment.host", {"logical_cpus": True}),
        ("environment.host", {"logical_cpus": "2"}), ("environment.host", {"logical_cpus": 10**400}),
        ("environment.packages", ["joulebench"]), ("environment.code", 7), ("environment.code", {"commit": ["x"]}),
        ("environment.code", {"commit": "--upload-pack=x"}), ("environment.device", None),
        ("data.counts", [1]), ("data.counts", {"validation": "300"}), ("data.counts", {"validation": 10**400}),
        ("meters", [{"domain": "cpu", "source": "cpu_load_model", "kind": "estimated", "tdp_w": "much"}]),
        ("meters", [{}]),
    ],
)  # fmt: skip
def test_hostile_manifests_end_in_lines_not_in_tracebacks(forged, field, value):
    def change(manifest: dict[str, Any]) -> None:
        *parents, last = field.split(".")
        for name in parents:
            manifest = manifest[name]
        manifest[last] = value

    edit_manifest(forged, change)
    seal(forged)
    (found,) = verify(forged)
    assert all(isinstance(problem, str) for problem in (*found.problems, *found.outdated))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_an_accuracy_that_is_none_is_named(forged, value):
    edit(forged, "scores.jsonl", lambda s: s["metrics"].update(accuracy=value))
    seal(forged)
    (found,) = verify(forged)
    assert found.problems


def test_a_pipe_in_a_set_is_named_and_ends_nothing(forged):
    (forged / "report.md").unlink()
    os.mkfifo(forged / "report.md")
    (found,) = verify(forged)
    assert found.problems


def test_what_a_person_put_into_a_set_is_not_deleted(forged):
    (forged / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.md"):
        list(refresh(forged))
    assert (forged / "notes.md").read_text() == "mine"


@needs_ssh
def test_a_changed_set_is_not_signed(forged, keys):
    perfect(forged)
    with pytest.raises(GateError, match=r"scores\.jsonl was changed"):
        publish(forged, forged.parents[2], key=keys[0])


def test_a_task_with_a_path_in_it_is_published_with_the_digest_of_what_is_published(tmp_path):
    folder = run(
        TASK.model_copy(update={"title": "Digits in /home/somebody/work/digits.csv"}), out=tmp_path / "runs"
    )
    edit_manifest(folder.path, lambda m: m["environment"]["code"].pop("modified", None))
    placed = publish(folder.path, tmp_path / "reports", allow_busy=True)
    text = (placed / "manifest.json").read_text()
    assert "somebody" not in text
    assert json.loads(text)["task"]["title"] == "Digits in digits.csv"
    (found,) = verify(placed)
    assert (found.problems, found.outdated) == ((), ())

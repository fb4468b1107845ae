"""What may be published, what is written, and what `verify` notices."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from joulebench.errors import GateError, InputError
from joulebench.publishing.copying import RUNS, SUMS, publish, publish_comparison, seal
from joulebench.publishing.index import BUSY, index_files, stale_index, write_index
from joulebench.publishing.verifying import verify
from joulebench.records.folder import RunFolder, read_lines
from joulebench.records.model import LedgerEntry, TrialRecord
from tests.conftest import REPOSITORY
from tests.run_factory import full_run, lines, make_task, on_the_clock

ENVIRONMENT = {
    "python": "3.11.9", "device": "cpu", "packages": {"joulebench": "0.1.0", "torch": "2.9"},
    "torch": {"threads": 2}, "code": {},
    "host": {"cpu": "Example CPU", "logical_cpus": 64, "os": "Linux", "accelerators": []},
}  # fmt: skip

DATA = {"name": "digits", "fingerprint": "0123abcd"}


def write(path: Path, environment=None, **manifest) -> Path:
    """A run as the harness leaves it: finished, its environment complete."""
    given = {"environment": ENVIRONMENT | (environment or {}), "data": DATA, **manifest}
    return on_the_clock(full_run(trials=6).write(path, **given).path)


def profile(name):
    return {"hardware": {"name": name, "title": name.replace("_", " ")}}


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run")


def wrong(reports: Path, signers: Path | None = None) -> dict[str, tuple[str, ...]]:
    every = ((f, (*f.problems, *(f"{name} is outdated" for name in f.outdated))) for f in verify(reports, signers))
    return {f.path.relative_to(reports).as_posix(): problems for f, problems in every if problems}


def test_a_published_run_verifies(run, tmp_path):
    reports = tmp_path / "reports"
    placed = publish(run, reports)
    assert placed == reports / "digits_nas" / "generic_cpu" / "2026-01-02"
    names = {p.name for p in placed.iterdir()}
    assert {
        "manifest.json",
        "trials.jsonl",
        "ledger.jsonl",
        "report.md",
        "report.json",
        "frontier.csv",
        SUMS,
    } <= names
    assert not any(name.endswith(".html") for name in names)
    for name in ("trials.jsonl", "ledger.jsonl", "scores.jsonl"):
        assert (placed / name).read_bytes() == (run / name).read_bytes()
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=placed, check=True)
    assert wrong(reports) == {}
    assert publish(run, reports) == placed  # once more is the same set
    assert publish(placed, reports) == placed


@pytest.mark.parametrize("name", ["../../../Z", "/tmp/Z", "..", "a/b", "a\0b"])
def test_a_forged_set_names_no_folder(run, tmp_path, name):
    """A comparison's folder is named by the profiles of its sets, which may be somebody else's."""
    placed = publish(run, tmp_path / "deep" / "down" / "reports")
    other = Path(shutil.copytree(placed, placed.with_name("2026-01-03")))
    _manifest(hardware={"name": name, "title": "x"})(other)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(GateError, match="not as it was published"):
        publish(other, tmp_path / "deep" / "down" / "reports")
    seal(other)
    with pytest.raises(InputError, match="name"):
        publish_comparison([placed, other], tmp_path / "deep" / "down" / "reports")
    assert sorted(tmp_path.rglob("*")) == before


def test_sets_of_another_folder_are_not_compared_in_this_one(run, tmp_path):
    placed = publish(run, tmp_path / "reports")
    other = Path(shutil.copytree(placed, placed.with_name("2026-01-03")))
    _manifest(**profile("another_cpu"))(other)
    with pytest.raises(InputError, match="is not below"):
        publish_comparison([placed, other], tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "text", ['["../../x"]', '["/etc"]', '["a\\u0000b"]', '"x"', "[[]]", "[" * 99_999, "null", "[]"]
)
def test_a_comparison_names_runs_below_reports(run, tmp_path, text):
    folder = tmp_path / "reports" / "comparison"
    folder.mkdir(parents=True)
    (folder / RUNS).write_text(text)
    seal(folder)
    (found,) = verify(tmp_path / "reports")
    assert [RUNS in problem for problem in found.problems] == [True]


def test_a_wall_log_that_cannot_be_read_is_not_published(run, tmp_path):
    (run / "wall.csv").write_text("secret")
    with pytest.raises(GateError, match=r"wall\.csv"):
        publish(run, tmp_path / "reports")


def test_no_path_of_the_machine_is_published(tmp_path):
    run = write(
        tmp_path / "run", data_path="/home/somebody/data/cifar10.tar.gz", task_file=None,
        trials_from="/home/somebody/runs/digits/gpu/20260101T000000Z",
    )  # fmt: skip
    placed = publish(run, tmp_path / "reports")
    text = "".join(
        p.read_text() for p in placed.iterdir() if p.suffix in (".json", ".jsonl", ".md", ".csv", ".svg")
    )
    assert "somebody" not in text
    assert RunFolder.open(placed).manifest().data_path == "cifar10.tar.gz"
    assert RunFolder.open(placed).manifest().trials_from == "digits/gpu/20260101T000000Z"


def edit_trial(run: Path, number: int, **fields) -> None:
    path = run / "trials.jsonl"
    trials, _ = read_lines(path, TrialRecord)
    trials[number] = trials[number].model_copy(update=fields)
    lines(path, trials)


def _drop(run):
    path = run / "trials.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]) * 2)


def _short(run):
    trial = RunFolder.open(run).trials()[0]
    kept = tuple(w.model_copy(update={"units": 0}) if w.phase == "inference" else w for w in trial.windows)
    edit_trial(run, 0, windows=kept)


def _overlap(run):
    trial = RunFolder.open(run).trials()[1]
    first = trial.windows[0].model_copy(update={"start_s": 0.0})
    edit_trial(run, 1, windows=(first, *trial.windows[1:]))


def _negative(run):
    trial = RunFolder.open(run).trials()[1]
    readings = tuple(r.model_copy(update={"energy_j": -5.0}) for r in trial.windows[0].readings)
    first = trial.windows[0].model_copy(update={"readings": readings})
    edit_trial(run, 1, windows=(first, *trial.windows[1:]))


def _unfinished(run):
    path = run / "ledger.jsonl"
    entries, _ = read_lines(path, LedgerEntry)
    lines(path, entries[:-1])


def _torn(run):
    path = run / "trials.jsonl"
    path.write_text(path.read_text()[:-20])


def _manifest(**fields):
    def change(run):
        path = run / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def _task(run):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["task"]["protocol"]["window_s"] = 0.5
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_drop, "a run has each trial once"),
        (_short, "0 of 5 valid windows of inference"),
        (_overlap, "overlaps the window before it"),
        (_negative, "reads -5 J"),
        (_unfinished, "not finished"),
        (_torn, "incomplete line"),
        (_task, "changed after the run"),
        (_manifest(replay="65"), "not measured here"),
        (_manifest(hardware_override="another machine"), "another machine"),
        (_manifest(environment={"python": "3.11"}), "without host.cpu"),
        (_manifest(environment=ENVIRONMENT | {"code": {"commit": "ab1", "modified": True}}), "not in commit ab1"),
        (_manifest(environment=ENVIRONMENT | {"device": "cuda:0"}), "torch.driver"),
    ],
)  # fmt: skip
def test_what_cannot_be_defended_is_not_published(run, tmp_path, spoil, word):
    spoil(run)
    with pytest.raises(InputError) as refused:
        publish(run, tmp_path / "reports")
    assert word in str(refused.value)
    assert not (tmp_path / "reports").exists()


def _busy(run):
    """Other processes beside every window of one trial, as an old record has it."""
    trial = RunFolder.open(run).trials()[3]
    beside = {"other_load_cpus": 0.9}
    edit_trial(run, 3, windows=tuple(w.model_copy(update={"conditions": beside}) for w in trial.windows))


def _busy_idle(run):
    trial = RunFolder.open(run).trials()[0]
    stolen = {"steal_cpus": 0.9}
    idle = (w.model_copy(update={"conditions": stolen}) if w.phase == "idle" else w for w in trial.windows)
    edit_trial(run, 0, windows=tuple(idle))


@pytest.mark.parametrize(("spoil", "word"), [(_busy, "trial 3"), (_busy_idle, "idle baseline of trial 0")])
def test_what_a_busy_machine_cost_is_published_only_with_a_label(run, tmp_path, spoil, word):
    spoil(run)
    reports = tmp_path / "reports"
    with pytest.raises(GateError) as refused:
        publish(run, reports)
    assert word in str(refused.value)
    placed = publish(run, reports, allow_busy=True)
    assert json.loads((placed / "published.json").read_text()) == {"allow_busy": True}
    report = json.loads((placed / "report.json").read_text())
    assert "published_busy" in [b["code"] for b in report["banners"]]
    assert wrong(reports) == {}  # the override is part of what is verified
    for page in index_files(reports).values():
        assert BUSY in page.decode()
    (placed / "published.json").unlink()
    resealed(placed)
    assert any(word in problem for problem in wrong(reports)[placed.relative_to(reports).as_posix()])


def test_a_run_that_was_allowed_a_busy_machine_needs_the_override(tmp_path):
    protocol = {"warmup_s": 0.5, "window_s": 1.0, "idle_s": 2.0, "allow_busy": True}
    task = make_task(protocol=protocol)
    run = on_the_clock(full_run(task, trials=6).write(tmp_path / "run", environment=ENVIRONMENT, data=DATA).path)
    with pytest.raises(GateError, match="allow_busy"):
        publish(run, tmp_path / "reports")
    assert (publish(run, tmp_path / "reports", allow_busy=True) / "published.json").is_file()


def test_the_override_labels_nothing_that_is_quiet(run, tmp_path):
    (run / "published.json").write_text('{"allow_busy": true}')  # nobody can label or excuse a run beforehand
    placed = publish(run, tmp_path / "reports", allow_busy=True)
    assert not (placed / "published.json").exists()
    assert BUSY not in index_files(tmp_path / "reports")["README.md"].decode()


def test_the_override_excuses_nothing_else(run, tmp_path):
    _busy(run)
    _short(run)
    with pytest.raises(GateError) as refused:
        publish(run, tmp_path / "reports", allow_busy=True)
    assert "trial 0" in str(refused.value)
    assert "trial 3" not in str(refused.value)


@pytest.mark.parametrize("on_frontier", [False, True])
def test_a_raced_trial_needs_min_windows_only_off_the_frontier(tmp_path, on_frontier):
    built = full_run(trials=6)
    members = {t.trial for c in built.read().frontier for t in c.trials}
    number = next(t.trial for t in built.trials[2:] if t.status == "ok" and (t.trial in members) == on_frontier)
    trial = built.trials[number]
    measured = [w for w in trial.windows if w.phase == "inference"]
    idle = {"phase": "settle", "units": 0, "steps": 0}  # in place of three windows: time has no gaps
    fewer = tuple(w.model_copy(update=idle) if w in measured[2:] else w for w in trial.windows)
    built.trials[number] = trial.model_copy(update={"windows": fewer})
    run = on_the_clock(built.write(tmp_path / "run", environment=ENVIRONMENT, data=DATA).path)
    with pytest.raises(GateError, match=f"trial {number}: 2 of 5 valid windows"):
        publish(run, tmp_path / "reports")
    edit_trial(run, number, raced=True)
    if on_frontier:
        with pytest.raises(GateError, match=f"trial {number}: 2 of 5 valid windows"):
            publish(run, tmp_path / "reports")
    else:
        assert publish(run, tmp_path / "reports").is_dir()


def test_a_damaged_record_is_bad_input(run, tmp_path):
    path = run / "trials.jsonl"
    path.write_text(path.read_text().replace('"status":"ok"', '"status":"fine"', 1))
    with pytest.raises(InputError, match=r"trials\.jsonl, line 1: status"):
        publish(run, tmp_path / "reports")


OWN = {"own_meters": ["mine:meter"]}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ({"files": {"mine.py": "0" * 64}, "uncommitted": ("mine.py",)}, "not committed: mine.py"),
        ({"files": {"mine.py": "0" * 64}, "commit": "1" * 40, "uncommitted": ("mine.py",)}, "commit 111111111111"),
        ({"files": {"mine.py": "0" * 64}, "commit": "1" * 40, "left_out": 3}, "3 files not recorded"),
        (None, "not recorded"),
    ],
)
def test_own_code_that_cannot_be_had_again_is_published_only_if_asked(tmp_path, code, said):
    own_code = None if code is None else [{"name": "mine:meter", **code}]
    run = write(tmp_path / "run", own_code=own_code, **OWN)
    with pytest.raises(GateError) as refused:
        publish(run, tmp_path / "reports")
    assert said in str(refused.value)
    placed = publish(run, tmp_path / "reports", allow_uncommitted=True)
    assert said in (placed / "report.md").read_text()
    (verified,) = verify(placed)
    assert verified.problems == ()
    assert verified.unrecorded == (() if code else ("the code of mine:meter",))


def test_committed_code_is_published(tmp_path):
    own_code = [{"name": "mine:meter", "files": {"mine.py": "0" * 64}, "commit": "1" * 40}]
    run = write(tmp_path / "run", own_code=own_code, **OWN)
    placed = publish(run, tmp_path / "reports")
    assert RunFolder.open(placed).manifest().own_code == RunFolder.open(run).manifest().own_code


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"own_code": [], "data": {**DATA, "fingerprint": ""}}, "without the fingerprint of the data"),
        ({"own_code": [], **OWN}, "no digest of the code of mine:meter"),
        ({"own_code": [{"name": "mine:meter", "commit": "1" * 40}], **OWN}, "no digest of the code of mine:meter"),
    ],
)
def test_a_set_without_a_digest_of_its_data_or_code_does_not_verify(tmp_path, changes, missing):
    run = write(tmp_path / "run", **changes)
    with pytest.raises(GateError) as refused:
        publish(run, tmp_path / "reports", allow_uncommitted=True)
    assert missing in str(refused.value)
    placed = publish(write(tmp_path / "whole"), tmp_path / "reports")
    manifest = json.loads((placed / "manifest.json").read_text())
    (placed / "manifest.json").write_text(json.dumps(manifest | changes))
    seal(placed)
    (verified,) = verify(placed)
    assert any(missing in problem for problem in verified.problems)


def test_a_users_task_file_has_to_be_committed(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    file = own / "digits_nas.toml"
    file.write_text("# a task\n")
    run = write(tmp_path / "run", task_file=str(file))

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(own), *who, *arguments], check=True, capture_output=True)

    def refusal():
        with pytest.raises(GateError) as refused:
            publish(run, tmp_path / "reports")
        return str(refused.value)

    monkeypatch.chdir(own)
    assert "is not in the git repository" in refusal()
    git("init")
    assert "is not committed" in refusal()
    git("add", ".")
    git("commit", "-m", "task")
    file.write_text("# another\n")
    assert "is not committed as it is" in refusal()
    git("commit", "-am", "changed")
    assert RunFolder.open(publish(run, tmp_path / "reports")).manifest().task_file == "digits_nas.toml"


def test_ends_of_lines_that_git_converts_are_no_change(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / ".gitattributes").write_text("*.toml text\n")
    (own / "digits_nas.toml").write_bytes(b"# a task\r\n")
    for arguments in (("init",), ("add", "."), ("commit", "-m", "task")):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(own), *who, *arguments], check=True, capture_output=True)
    monkeypatch.chdir(own)
    run = write(tmp_path / "run", task_file=str(own / "digits_nas.toml"))
    assert publish(run, tmp_path / "reports").is_dir()


def test_git_is_not_asked_about_a_folder_that_a_record_names(tmp_path, monkeypatch):
    """Its configuration may name a command, which git executes when it looks for changes."""
    foreign = tmp_path / "mine" / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "digits_nas.toml").write_text("# a task\n")
    command = f"touch {tmp_path / 'executed'}"
    for arguments in (("init",), ("add", "."), ("config", "core.fsmonitor", command)):
        subprocess.run(["git", "-C", str(foreign), *arguments], check=True, capture_output=True)
    run = write(tmp_path / "run", task_file=str(foreign / "digits_nas.toml"))
    for place, said in (
        (tmp_path, "not in the git repository"),
        (foreign, "is not committed"),
        (foreign.parent, "is not committed"),
    ):
        if place == foreign.parent:
            subprocess.run(["git", "-C", str(place), "init"], check=True, capture_output=True)
        monkeypatch.chdir(place)
        with pytest.raises(GateError, match=said):
            publish(run, tmp_path / "reports")
        assert not (tmp_path / "executed").exists(), place


@pytest.mark.parametrize(
    "when", ["../../../Z", "2026-01-02T03:04:05Z\n", "2026-01-02", "/2026-01-02T03:04:05Z", ""]
)
def test_a_time_is_no_path(tmp_path, when):
    run = write(tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text()) | {"created_utc": when}
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json: created_utc"):
        publish(run, tmp_path / "reports" / "of" / "mine")
    assert not list(tmp_path.rglob("SHA256SUMS"))


@pytest.fixture(scope="module")
def published_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    reports = root / "reports"
    runs = [publish(write(root / name, **profile(name)), reports) for name in ("cpu_a", "cpu_b")]
    publish_comparison(runs, reports)
    write_index(reports)
    return reports


@pytest.fixture
def reports(published_once, tmp_path):
    return Path(shutil.copytree(published_once, tmp_path / "reports"))


A, BOTH = "digits_nas/cpu_a/2026-01-02", "digits_nas/comparison/cpu_a_vs_cpu_b"


def test_two_machines_and_their_comparison_verify(reports):
    assert wrong(reports) == {}
    assert stale_index(reports) == []
    assert json.loads((reports / BOTH / "runs.json").read_text()) == [A, "digits_nas/cpu_b/2026-01-02"]


def resealed(folder: Path) -> None:
    from joulebench.publishing.copying import seal

    seal(folder)


def test_changes_are_noticed(reports):
    (reports / A / "frontier.csv").write_text("made up\n")
    (reports / A / "extra.txt").write_text("not published\n")
    (reports / A / "scores.jsonl").unlink()
    found = wrong(reports)[A]
    assert {"frontier.csv is outdated", "extra.txt was not published", "scores.jsonl is missing"} <= set(found)


def test_checksums_made_to_fit_do_not_help(reports):
    """Who edits a report and its checksums is found by making the report anew."""
    path = reports / A / "report.md"
    path.write_text(path.read_text().replace("0.9", "0.99"))
    resealed(reports / A)
    assert wrong(reports) == {A: ("report.md is outdated",)}


def test_an_edited_record_shows_in_every_report_made_from_it(reports):
    edit_trial(reports / A, 2, metrics={"val_accuracy": 0.999})
    resealed(reports / A)
    found = wrong(reports)
    assert "report.json is outdated" in found[A]
    assert "val_accuracy.csv is outdated" in found[BOTH]


def test_a_comparison_may_not_reach_outside(reports):
    (reports / BOTH / "runs.json").write_text('["../../etc", "x"]')
    resealed(reports / BOTH)
    assert wrong(reports)[BOTH] == ("runs.json: '../../etc' is not below reports/",)


def test_the_index_names_every_set_and_goes_stale(reports):
    files = index_files(reports)
    text, page = files["README.md"].decode(), files["index.html"].decode()
    for link in (f"{A}/report.md", f"{BOTH}/comparison.md"):
        assert f"]({link})" in text
        assert f'href="{link}"' in page
    assert "estimated" in text
    shutil.rmtree(reports / BOTH)
    assert stale_index(reports) == ["README.md", "index.html"]


def test_nothing_published_is_said(tmp_path):
    with pytest.raises(InputError, match="nothing is published"):
        list(verify(tmp_path))


def test_names_cannot_leave_the_folder(tmp_path):
    run = write(tmp_path / "run", hardware={"name": "../../evil", "title": "x"})
    with pytest.raises(InputError, match="name"):
        publish(run, tmp_path / "reports")


REPORTS = REPOSITORY / "reports"


@pytest.mark.skipif(not (REPORTS / "index.html").is_file(), reason="nothing is published in this checkout")
def test_what_this_project_publishes_comes_out_of_its_records():
    assert wrong(REPORTS) == {}
    assert stale_index(REPORTS) == []

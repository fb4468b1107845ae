"""Code of the user's own: what is recorded of it, and from where a record may have it imported."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.comparison.join import join, labelled
from joulebench.comparison.machines import confounders
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest, OwnCode
from joulebench.results.run import Run
from joulebench.runner.own_code import Sources, changed, find_recorded_code, located, own_files, recorded
from joulebench.runner.plan import plan
from joulebench.spec.catalog import find_task, task_files
from joulebench.spec.task import Task
from tests.commands.calling import call
from tests.run_factory import RunBuilder, full_run
from tests.runner.test_local import TOY, timeless, unfinished

MODULE = """
import pathlib
import {helper}
pathlib.Path(__file__).with_name("imported").touch()
def f(params, seed):
    return {{"accuracy": {helper}.VALUE + params["width"] / 100, "step_s": 0.01 * params["width"]}}
"""
_numbers = iter(range(1000))


class Lab:
    """A folder of somebody's own: a task, its module, and a module that this one imports; no two have one name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        number = next(_numbers)
        self.folder, self.name, self.helper = folder, f"own_model_{number}", f"own_helper_{number}"
        self.module, self.task = folder / f"{self.name}.py", folder / "toy.toml"
        self.module.write_text(MODULE.format(helper=self.helper))
        (folder / f"{self.helper}.py").write_text("VALUE = 0.5\n")
        text = TOY.format(function="f", sobol=3, method="random", search=1)
        self.task.write_text(text.replace("tests.problems", self.name))

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", "-C", str(self.folder), *who, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("init")
        self.git("add", "*.py", "*.toml")
        self.git("commit", "-m", "mine")
        return self.git("rev-parse", "HEAD")

    def forget(self) -> None:
        """As in a new process: nothing of it is imported."""
        for name in (self.name, self.helper):
            sys.modules.pop(name, None)
        sys.path[:] = [entry for entry in sys.path if entry != str(self.folder)]
        (self.folder / "imported").unlink(missing_ok=True)

    @property
    def was_imported(self) -> bool:
        return (self.folder / "imported").exists()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return Lab(tmp_path / "lab")


@pytest.fixture
def ask(monkeypatch, capsys):
    return lambda *arguments: call(monkeypatch, capsys, *arguments)


def ran(ask, task, *options) -> RunFolder:
    out = Path.cwd() / f"runs-{next(_numbers)}"
    code, _, err = ask("run", task, "--replay", "100", "--out", out, "--quiet", *options)
    assert code == 0, err
    (found,) = out.glob("*/*/*")
    return RunFolder.open(found)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_records_the_modules_it_imported_and_their_commit(lab, ask):
    commit = lab.commit()
    (lab.folder / "unrelated.py").write_text("")
    (code,) = ran(ask, lab.task).manifest().own_code
    assert code.name == f"{lab.name}:f"
    assert code.files == {path.name: sha256(path) for path in (lab.module, lab.folder / f"{lab.helper}.py")}
    assert (code.commit, code.uncommitted, code.distribution) == (commit, (), None)
    lab.module.write_text(lab.module.read_text() + "# changed\n")
    lab.forget()
    (code,) = ran(ask, lab.task).manifest().own_code
    assert code.uncommitted == (lab.module.name,)


def test_without_a_repository_nothing_is_committed(lab, ask):
    (code,) = ran(ask, lab.task).manifest().own_code
    assert code.commit is None
    assert set(code.uncommitted) == set(code.files)


def test_git_is_asked_without_the_filters_hooks_and_monitors_of_the_repository(lab, ask, tmp_path):
    lab.commit()
    (lab.folder / ".gitattributes").write_text("*.py filter=x diff=x\n")
    for name in ("core.fsmonitor", "filter.x.clean", "filter.x.smudge", "filter.x.process", "diff.x.command"):
        lab.git("config", name, f"touch {tmp_path / 'executed'}")
    lab.module.touch()
    (code,) = ran(ask, lab.task).manifest().own_code
    assert code.uncommitted == ()
    assert not (tmp_path / "executed").exists()


def test_a_package_is_recorded_below_the_folder_it_was_imported_from(lab, monkeypatch):
    package = lab.folder / f"pkg_{lab.name}"
    (package / "deep").mkdir(parents=True)
    for path, text in (("__init__.py", ""), ("deep/__init__.py", ""), ("deep/net.py", f"import {lab.helper}")):
        (package / path).write_text(f"{text}\ndef f(params, seed): return {{}}\n")
    task = find_task(str(lab.task))
    options = {"function": f"{package.name}.deep.net:f", "csv": str(lab.task)}
    sys.path.append(str(lab.folder))
    __import__(f"{package.name}.deep.net")
    code, table = recorded(task.model_copy(update={"options": options}))
    assert set(code.files) == {
        f"{package.name}/__init__.py",
        f"{package.name}/deep/__init__.py",
        f"{package.name}/deep/net.py",
        f"{lab.helper}.py",
    }
    assert (table.name, table.files) == ("toy.toml", {"toy.toml": sha256(lab.task)})  # no absolute path


def test_an_installed_package_is_recorded_with_its_version(lab):
    site, module = lab.folder / "site-packages", f"{lab.name}_installed"
    info = site / "my_lab-1.2.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text("def f(params, seed): return {}\n")
    (site / f"{lab.name}_other.py").write_text("")
    digest = base64.urlsafe_b64encode(hashlib.sha256((site / f"{module}.py").read_bytes()).digest()).decode()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.2\n")
    (info / "RECORD").write_text(f"{module}.py,sha256={digest.rstrip('=')},31\n")
    sys.path.append(str(site))
    __import__(module)
    __import__(f"{lab.name}_other")
    task = find_task(str(lab.task)).model_copy(update={"options": {"function": f"{module}:f"}})
    (code,) = recorded(task)
    assert (code.distribution, code.commit, code.uncommitted) == ("my-lab 1.2", None, ())
    assert set(code.files) == {f"{module}.py"}
    (site / f"{module}.py").write_text("def f(params, seed): return {'accuracy': 1.0}\n")
    (code,) = recorded(task)
    assert code.uncommitted == (f"{module}.py",)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.py", "a/../../x.py", "", "a//b.py", "./x.py"])
def test_a_recorded_path_stays_below_its_folder(path):
    with pytest.raises(ValueError):
        OwnCode(name="a:b", files={path: "0" * 64})


def test_code_is_found_without_being_imported(lab):
    sys.path.append(str(lab.folder))
    (lab.folder / "pkg_found").mkdir()
    (lab.folder / "pkg_found/__init__.py").write_text("raise RuntimeError('imported')")
    (lab.folder / "pkg_found/inner.py").write_text("")
    assert located("pkg_found.inner") == lab.folder / "pkg_found/inner.py"
    assert located(lab.name) == lab.module
    assert located("pkg_found.no") is None
    assert located("no_such_module.at_all") is None
    assert "pkg_found" not in sys.modules


# -- resuming


def test_a_resume_imports_from_where_the_user_points_alone(lab, ask):
    run = unfinished(ran(ask, lab.task))
    before = run.trials()
    lab.forget()
    code, _, err = ask("resume", run.path, "--quiet")
    assert code == 2
    assert err.count("\n") == 1
    assert f"{lab.name}:f" in err
    assert "--from" in err
    assert not lab.was_imported
    code, out, err = ask("resume", run.path, "--quiet", "--from", lab.folder)
    assert code == 0, err
    said = " ".join(out.split())
    assert f"imports {lab.name}:f from" in said
    assert "(unchanged)" in said
    assert lab.was_imported
    assert run.trials() == before


@pytest.mark.parametrize("which", ["module", "helper", "gone"])
def test_a_resume_with_other_code_is_refused_before_it_is_imported(lab, ask, which):
    run = unfinished(ran(ask, lab.task))
    path = lab.module if which == "module" else lab.folder / f"{lab.helper}.py"
    path.unlink() if which == "gone" else path.write_text(path.read_text() + "# changed\n")
    lab.forget()
    code, _, err = ask("resume", run.path, "--from", lab.folder, "--quiet")
    assert code == 2
    assert path.name in err
    assert err.count("\n") == 1
    assert not lab.was_imported


def test_a_run_of_an_earlier_version_is_resumed_and_says_what_it_did_not_record(lab, ask):
    run = unfinished(ran(ask, lab.task))
    manifest = run.manifest().model_dump(mode="json", exclude={"own_code", "from_catalogue"})
    run.manifest_path.write_text(Manifest.model_validate(manifest).model_dump_json(exclude={"own_code"}))
    lab.forget()
    code, out, _ = ask("resume", run.path, "--from", lab.folder, "--quiet")
    assert code == 0
    assert "its code was not recorded" in " ".join(out.split())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("subprocess:call", "subprocess"),
        ("os:system", "os"),
        ("torch.hub:load", "--from torch"),
        ("joulebench.host.files:write_whole", "--from joulebench"),
        ("no_such:f", "no_such:f"),
    ],
)
def test_a_record_has_nothing_imported_that_the_user_did_not_point_to(lab, ask, function, said):
    run = unfinished(ran(ask, lab.task))
    text = run.manifest_path.read_text()
    run.manifest_path.write_text(text.replace(f"{lab.name}:f", function))
    for command in ("resume", "run"):
        code, _, err = ask(command, run.path, "--quiet")
        assert code == 2, command
        assert said in err
        assert err.count("\n") == 1


def test_a_run_folder_in_the_current_folder_is_none_of_the_users_code(lab, ask):
    """Somebody else's records, unpacked here, must not bring what they name with them."""
    run = unfinished(ran(ask, lab.task))
    strange = Path.cwd() / "strange"
    run.path.rename(strange)
    (strange / "evil.py").write_text(MODULE.format(helper="math").replace("math.VALUE", "0.5"))
    manifest = strange / "manifest.json"
    told = json.loads(manifest.read_text().replace(f"{lab.name}:f", "strange.evil:f"))
    manifest.write_text(json.dumps(told | {"own_code": []}))
    for command in ("resume", "run"):
        code, _, err = ask(command, strange, "--quiet")
        assert code == 2, command
        assert "strange.evil:f" in err
        assert "within the run folder itself" in err
        assert not (strange / "imported").exists()
    code, _, err = ask("resume", strange, "--quiet", "--from", strange)  # the user says so
    assert "within the run folder itself" not in err


@pytest.mark.parametrize("name", ["strange-run", "2strange"])
def test_what_python_imports_but_no_program_can_name_is_imported_for_no_record(lab, ask, name):
    """import_module takes any folder's name: one that is not looked for in records must not be imported either."""
    run = unfinished(ran(ask, lab.task))
    strange = Path.cwd() / name
    run.path.rename(strange)
    (strange / "evil.py").write_text(MODULE.format(helper="math").replace("math.VALUE", "0.5"))
    manifest = strange / "manifest.json"
    told = json.loads(manifest.read_text().replace(f"{lab.name}:f", f"{name}.evil:f"))
    manifest.write_text(json.dumps(told | {"own_code": []}))
    code, _, err = ask("resume", strange, "--quiet")
    assert code == 2
    assert "must read package.module:name" in err
    assert not (strange / "imported").exists()


def test_a_pickle_in_a_run_folder_is_none_of_the_users(lab, ask):
    run = ran(ask, lab.task)
    strange = Path.cwd() / "strange"
    run.path.rename(strange)
    for place in (strange, Path.cwd()):
        (place / "model.joblib").write_bytes(b"a pickle")
    told = json.loads((strange / "manifest.json").read_text())
    for name in ("strange/model.joblib", "model.joblib"):
        task = told["task"] | {"workload": "model", "options": {"model": f"sklearn:{name}"}}
        (strange / "manifest.json").write_text(json.dumps(told | {"own_code": [], "task": task}))
        found = find_recorded_code(RunFolder.open(strange), Sources())
        if name == "model.joblib":
            (said,) = [line for line, _ in found]
            assert said.startswith(f"loads {Path.cwd() / name}, a pickle, which runs code")
        else:
            with pytest.raises(InputError, match=r"model\.joblib, which lies within the run folder itself"):
                list(found)


def test_a_task_cannot_name_the_standard_library(lab, ask):
    lab.task.write_text(lab.task.read_text().replace(f"{lab.name}:f", "subprocess:call"))
    code, _, err = ask("run", lab.task, "--replay", "100")
    assert code == 2
    assert "subprocess:call" in err


def test_files_that_a_record_names_are_read_in_the_users_folders_alone(lab, ask):
    table = lab.folder / "rows.csv"
    table.write_text("width,kind,accuracy\n" + "".join(f"{w},{k},0.5\n" for w in range(1, 61) for k in "ab"))
    text = re.sub(
        r"options.function.*", f'options = {{ csv = "{table}", metrics = ["accuracy"] }}', lab.task.read_text()
    )
    text = re.sub(r"(?s)\[objectives.samples_per_j\].*?(?=\[confirm\])", "", text)
    lab.task.write_text(text.replace('workload = "function"', 'workload = "table"'))
    trace = lab.folder / "trace.csv"
    trace.write_text("t_s,cpu\n0,50\n1000000,50\n")
    run = unfinished(ran(ask, lab.task))
    assert [c.files for c in run.manifest().own_code] == [{"rows.csv": sha256(table)}]
    code, _, err = ask("resume", run.path, "--quiet")
    assert code == 2
    assert str(table) in err
    assert ask("resume", run.path, "--quiet", "--from", lab.folder)[0] == 0
    run.manifest_path.write_text(run.manifest_path.read_text().replace('"replay": "100"', f'"replay": "{trace}"'))
    table.write_text(table.read_text().replace("0.5", "0.7"))
    code, _, err = ask("resume", unfinished(run).path, "--quiet", "--from", lab.folder)
    assert code == 2
    assert "rows.csv has changed" in err


def test_a_models_folder_is_recorded_and_other_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bert"
    (folder / ".git").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", ".git/HEAD"):
        (folder / name).write_text(name)
    energy = {"goal": "minimize", "phase": "inference", "domains": ["cpu"], "basis": "gross"}
    task = Task(
        name="bert",
        title="A model's folder",
        workload="model",
        options={"model": "hf:fill-mask:bert", "input": [4]},
        parameters={"batch_size": {"type": "fixed", "value": 4}},
        objectives={"j_per_sample": energy},
        stages={"default": {"method": "default", "repeats": 1}},
    )
    (code,) = recorded(task)
    assert code.name == "bert"
    assert code.files == {n: hashlib.sha256(n.encode()).hexdigest() for n in ("config.json", "model.safetensors")}
    monkeypatch.setattr("joulebench.runner.own_code.MAX_BYTES", 20)  # as one that is too large to hold
    (large,) = recorded(task)
    assert large.files == code.files
    run = RunBuilder(task).write(tmp_path / "run", own_code=(code,))
    assert list(find_recorded_code(run, Sources())) == []
    (folder / "model.safetensors").write_text("other weights")
    ((said, other),) = find_recorded_code(run, Sources())
    assert other == "model.safetensors"
    assert said.endswith("bert (model.safetensors has changed)")


def test_changed_compares_what_both_record():
    def code(**files):
        return (OwnCode(name="m:f", files={f"{n}.py": digit * 64 for n, digit in files.items()}),)

    assert changed(code(a="1", b="2"), code(a="1", c="3")) is None
    assert changed(code(a="1", b="2"), code(b="3")) == ("b.py", "2" * 64, "3" * 64)
    assert changed(None, code(a="1")) is None


# -- comparing and repeating


def test_runs_with_other_code_have_another_digest_and_a_comparison_says_so(lab, ask):
    first, same = ran(ask, lab.task), ran(ask, lab.task)
    lab.forget()
    (lab.folder / f"{lab.helper}.py").write_text("VALUE = 0.6\n")
    other = ran(ask, lab.task)
    digests = [f.manifest().run_digest for f in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert first.manifest().digest == other.manifest().digest
    runs = [(str(f.path), Run.of(f)) for f in (first, other)]
    assert f"code of {lab.name}:f" in dict(confounders(join(labelled(runs))))
    runs = [(str(f.path), Run.of(f)) for f in (first, same)]
    assert f"code of {lab.name}:f" not in dict(confounders(join(labelled(runs))))


def command_of(run: RunFolder) -> tuple[list[str], str]:
    """The report's command without `joulebench`, RUN replaced by the folder, and the report."""
    text = (run.path / "report.md").read_text()
    (line,) = re.findall(r"^joulebench (run .*)$", text, flags=re.M)
    return [str(run.path) if word == "RUN" else word for word in shlex.split(line)], text


def repeated(run: RunFolder, ask, folder: Path) -> RunFolder:
    code, _, err = ask(*command_of(run)[0], "--quiet", "--out", folder)
    assert code == 0, err
    (found,) = folder.glob("*/*/*")
    return RunFolder.open(found)


def assert_same(run: RunFolder, again: RunFolder) -> None:
    assert again.manifest().run_digest == run.manifest().run_digest
    assert again.manifest().budget == run.manifest().budget
    assert timeless(again.trials()) == timeless(run.trials())


def test_the_command_of_a_catalogue_run_repeats_it(lab, ask, tmp_path):
    options = ("--set", "optimizer=adam", "--budget", "quick", "--seed", "7", "--hardware", "generic_cpu")
    more = ("--force-hardware", "--max-energy", "200kJ", "--grid-intensity", "321.5", "--allow-busy")
    run = ran(ask, "table_zeus", *options, *more)
    words = command_of(run)[0]
    assert words[:2] == ["run", "table_zeus"]
    again = repeated(run, ask, tmp_path / "again")
    assert again.manifest().hardware == run.manifest().hardware
    assert_same(run, again)


def test_the_command_of_a_run_of_ones_own_repeats_it_and_says_what_it_needs(lab, ask, tmp_path, monkeypatch):
    spaced = Lab(tmp_path / "my own lab")
    trace = spaced.folder / "my trace.csv"
    trace.write_text("t_s,cpu\n0,50\n1000000,50\n")
    out = tmp_path / "runs with spaces"
    options = ("--replay", trace, "--set", "kind=b", "--seed", "3", "--out", out, "--quiet")
    assert ask("run", spaced.task, *options)[0] == 0
    (run,) = map(RunFolder.open, out.glob("*/*/*"))
    words, text = command_of(run)
    assert words[:2] == ["run", str(run.path)]
    for needed in (spaced.module.name, f"{spaced.helper}.py", trace.name):
        assert needed in text
    spaced.task.unlink()  # the records hold the task
    spaced.forget()
    code, _, err = ask(*words, "--quiet", "--out", tmp_path / "no")
    assert code == 2
    assert f"{spaced.name}:f" in err
    monkeypatch.chdir(spaced.folder)
    again = repeated(run, ask, tmp_path / "again")
    assert_same(run, again)
    assert_same(run, repeated(again, ask, tmp_path / "and again"))


def test_a_profile_and_a_task_that_no_catalogue_has_are_taken_from_the_records(lab, ask, tmp_path):
    profile = lab.folder / "my_box.toml"
    profile.write_text('name = "my_box"\ntitle = "My box"\n[match]\n')
    run = ran(ask, lab.task, "--hardware", profile, "--force-hardware")
    words, _ = command_of(run)
    assert words.count(str(run.path)) == 2
    profile.unlink()
    lab.task.unlink()
    again = repeated(run, ask, tmp_path / "again")
    assert again.manifest().hardware == run.manifest().hardware
    assert_same(run, again)


def test_a_recorded_run_has_its_budget_merged(tmp_path):
    run = str(full_run(trials=3).write(tmp_path / "run", budget="quick").path)
    assert plan(run).budget == plan(run, budget="quick").budget == "quick"
    with pytest.raises(InputError, match=r"--budget: .* ran with budget quick"):
        plan(run, budget="standard")


@pytest.mark.parametrize("name", task_files())
def test_the_records_hold_the_whole_task(name):
    task = find_task(name)
    for budget in (None, *task.budgets):
        merged = task.with_budget(budget)
        assert type(task).model_validate_json(merged.model_dump_json()).digest == merged.digest


def test_a_missing_source_is_named(lab):
    with pytest.raises(InputError, match="no folder or file '/no/such'"):
        plan("table_zeus", sources=["/no/such"])


def test_texts_and_questions_of_a_language_model_are_files_of_ones_own(tmp_path, monkeypatch):
    """What its quality is asked of: a run whose text or questions changed must not go on as if they had not."""
    monkeypatch.chdir(tmp_path)
    for name in ("asked.yaml", "prose.txt"):
        (tmp_path / name).write_text("a: 1\nb: 2\n")
    task = find_task("transformer_size")
    options = {"text": "prose.txt", "questions": ["asked.yaml", "arc_easy"], "tokenizer": "none/such"}
    found = own_files(task.model_copy(update={"options": options}))
    assert {name: path.name for name, path in found.items()} == {n: n for n in ("asked.yaml", "prose.txt")}

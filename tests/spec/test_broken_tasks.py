"""Malformed task files: each is refused in one line with file, field and what is allowed; exit code 2."""

from __future__ import annotations

import pytest

from joulebench.commands.main import main
from joulebench.errors import InputError
from joulebench.spec.task import load_task

GOOD = """
name = "t"
title = "A task"
workload = "cnn"
[dataset]
name = "digits"
validation = 100
[parameters]
width = { type = "int", low = 1, high = 8, default = 2 }
pool = { type = "choice", values = [true, false], default = true }
[objectives.val_accuracy]
goal = "maximize"
reference = 0.1
[objectives.samples_per_j]
goal = "maximize"
phase = "inference"
domains = ["cpu"]
basis = "gross"
[stages.default]
method = "default"
repeats = 3
[stages.init]
method = "sobol"
trials = 4
[protocol]
window_s = 1.0
[budgets.quick]
stages.init.trials = 2
"""

# (what is wrong, text to replace, its replacement, words the message must hold)
BROKEN = [
    ("no name", 'name = "t"\n', "", ["name", "required"]),
    ("name is a number", 'name = "t"\n', "name = 3\n", ["name", "string"]),
    ("name with spaces", 'name = "t"\n', 'name = "my task"\n', ["name", "pattern", "'my task'"]),
    ("no title", 'title = "A task"', "", ["title", "required"]),
    ("empty title", '"A task"', '""', ["title", "at least 1"]),
    ("no workload", 'workload = "cnn"', "", ["workload", "required"]),
    ("workload is code", '"cnn"', "\"__import__('os')\"", ["workload", "pattern"]),
    ("unknown top key", "[dataset]", "objektives = 1\n[dataset]", ["objektives", "did you mean 'objectives'"]),
    ("unknown data set", '"digits"', '"cifar11"', ["dataset.name", "digits", "'cifar11'", "did you mean 'cifar10'"]),
    ("validation of 0", "validation = 100", "validation = 0", ["dataset.validation", "greater than or equal to 1"]),
    ("validation is text", "validation = 100", 'validation = "100"', ["dataset.validation", "integer", "'100'"]),
    ("unknown data key", "validation = 100", "validaton = 100", ["dataset.validaton", "did you mean 'validation'"]),
    ("synthetic not described", 'name = "digits"', 'name = "synthetic"', ["dataset", "shape, n and classes"]),
    ("no parameters", "[parameters]\nwidth", "[parameterz]\nwidth", ["parameterz", "did you mean 'parameters'"]),
    ("unknown parameter type", '"int"', '"integer"', ["parameters.width", "'int'", "'choice'"]),
    ("no parameter type", 'type = "int", ', "", ["parameters.width", "type"]),
    ("inverted bounds", "low = 1, high = 8", "low = 9, high = 8", ["parameters.width", "low must be below high"]),
    ("default outside", "default = 2", "default = 20", ["parameters.width", "default must lie within", "20"]),
    ("no default", ", default = 2", "", ["parameters.width.default", "required"]),
    ("bound is text", "low = 1", 'low = "1"', ["parameters.width.low", "integer"]),
    ("bound is a float", "high = 8", "high = 8.5", ["parameters.width.high", "integer", "8.5"]),
    ("bound is a bool", "low = 1", "low = true", ["parameters.width.low", "integer"]),
    ("huge bound", "high = 8", "high = 99999999999999999999999", ["parameters.width.high", "less than or equal to 9007199254740992"]),
    ("infinite bound", 'type = "int", low = 1, high = 8', 'type = "float", low = 1, high = inf', ["width", "finite"]),
    ("log scale from 0", "low = 1, high = 8", 'low = 0, high = 8, scale = "log"', ["width", "low > 0"]),
    ("unknown scale", "low = 1,", 'low = 1, scale = "lgo",', ["parameters.width.scale", "'log'"]),
    ("unknown parameter key", "low = 1", "lo = 1", ["parameters.width.lo", "did you mean 'low'"]),
    ("one choice", "[true, false]", "[true]", ["parameters.pool.values", "at least 2"]),
    ("choices repeat", "[true, false]", "[true, true]", ["parameters.pool", "differ"]),
    ("default no choice", "default = true", 'default = "yes"', ["parameters.pool", "one of values"]),
    ("parameter is a number", "pool = {", "depth = 3\npool = {", ["parameters.depth"]),
    ("parameter name", "pool = {", '"no good" = {', ["parameters.no good", "pattern"]),
    ("no objective", "[objectives.val_accuracy]", "[x]", ["x", "allowed"]),
    ("unknown goal", 'goal = "maximize"\nreference', 'goal = "maximise"\nreference',
     ["objectives.val_accuracy.goal", "did you mean 'maximize'"]),
    ("energy half said", 'basis = "gross"', "", ["objectives.samples_per_j", "basis"]),
    ("energy misnamed", "[objectives.samples_per_j]", "[objectives.efficiency]", ["efficiency", "<unit>s_per_j"]),
    ("unknown domain", '["cpu"]', '["tpu"]', ["objectives.samples_per_j.domains.0", "'gpu', 'cpu' or 'ram'"]),
    ("no domain", '["cpu"]', "[]", ["objectives.samples_per_j.domains", "at least 1"]),
    ("reference is NaN", "reference = 0.1", "reference = nan", ["objectives.val_accuracy.reference", "finite"]),
    ("log scale without a reference", 'goal = "maximize"\nphase', 'goal = "maximize"\nscale = "log"\nphase',
     ["objectives.samples_per_j.scale", "needs a reference above 0", "none is stated", "'log'"]),
    ("log scale from a reference of 0", "reference = 0.1", 'reference = 0.0\nscale = "log"',
     ["objectives.val_accuracy.scale", "needs a reference above 0", "it is 0"]),
    ("log scale from a negative reference", "reference = 0.1", 'scale = "log"\nreference = -2',
     ["objectives.val_accuracy.scale", "needs a reference above 0", "it is -2"]),
    ("unknown scale of an objective", "reference = 0.1", 'reference = 0.1\nscale = "lgo"',
     ["objectives.val_accuracy.scale", "'linear' or 'log'", "did you mean 'log'"]),
    ("scale of a constraint", "[protocol]", '[constraints]\nval_loss = { at_most = 1, scale = "log" }\n[protocol]',
     ["constraints.val_loss.scale", "unknown key"]),
    ("zero on a log scale", 'workload = "cnn"', 'workload = "cnn"\non_oom = "zero"\n[objectives.gain]\ngoal = "maximize"\nreference = 1.0\nscale = "log"\n', ["on_oom", "linear"]),
    ("unknown method", '"sobol"', '"sobl"', ["stages.init.method", "did you mean 'sobol'"]),
    ("stage without trials", "trials = 4", "", ["stages.init", "needs trials"]),
    ("trials of a default", "repeats = 3", "repeats = 3\ntrials = 3", ["stages.default", "does not take trials"]),
    ("negative trials", "trials = 4", "trials = -4", ["stages.init.trials", "greater than or equal to 0"]),
    ("too many trials", "trials = 4", "trials = 999999999", ["stages.init.trials", "less than or equal to 100000"]),
    ("vary an unknown", "trials = 4", 'trials = 4\nvary = ["widht"]', ["stages.init.vary", "did you mean 'width'"]),
    ("point outside", 'method = "sobol"\ntrials = 4', 'method = "points"\npoints = [{ width = 99 }]',
     ["stages.init.points[0].width", "99"]),
    ("window of 0", "window_s = 1.0", "window_s = 0", ["protocol.window_s", "greater than 0"]),
    ("window is text", "window_s = 1.0", 'window_s = "long"', ["protocol.window_s", "number", "'long'"]),
    ("repeats above max", "window_s = 1.0", "repeats = 20", ["protocol", "max_repeats"]),
    ("cooled for longer than the longest", "window_s = 1.0", "cooldown_s = 5\nmax_cooldown_s = 2", ["protocol", "max_cooldown_s"]),
    ("unknown protocol key", "window_s = 1.0", "windows = 1.0", ["protocol.windows", "did you mean 'window_s'"]),
    ("broken budget", "stages.init.trials = 2", "stages.init.trials = -2", ["budget 'quick'", "stages.init.trials"]),
    ("budget's unknown key", "stages.init.trials = 2", "stagez.x = 2", ["budget 'quick'", "did you mean 'stages'"]),
    ("budget is a number", "[budgets.quick]\nstages.init.trials = 2", "[budgets]\nquick = 3", ["budgets.quick"]),
    ("constraint is no condition", "[protocol]", '[constraints]\na = "width +"\n[protocol]', ["constraints.a", "'width +'"]),
    ("constraint runs code", "[protocol]", "[constraints]\na = \"__import__('os') == width\"\n[protocol]", ["constraints.a", "__import__"]),
    ("constraint on an unknown", "[protocol]", '[constraints]\na = "widht < 5"\n[protocol]', ["constraints.a", "did you mean 'width'"]),
    ("default breaks a constraint", "[protocol]", '[constraints]\na = "width > 5"\n[protocol]', ["constraints.a"]),
    ("constraint without a bound", "[protocol]", "[constraints]\nparameters = {}\n[protocol]", ["constraints.parameters", "at_most or at_least"]),
    ("constraint with both bounds", "[protocol]", "[constraints]\nparameters = { at_most = 1, at_least = 0 }\n[protocol]", ["constraints.parameters", "either"]),
    ("latency misnamed", "[protocol]", '[constraints]\nlatency = { at_most = 1, phase = "inference", quantile = 0.9 }\n[protocol]', ["constraints.latency", "must end in _s"]),
    ("quantile of 1", "[protocol]", '[constraints]\na_s = { at_most = 1, phase = "inference", quantile = 1.0 }\n[protocol]', ["constraints.a_s", "quantile", "less than 1"]),
    ("quantile without a phase", "[protocol]", "[constraints]\na_s = { at_most = 1, quantile = 0.5 }\n[protocol]", ["constraints.a_s", "phase and quantile"]),
    ("condition of a parameter", "default = true }", 'default = true, only_if = "depth > 1" }', ["parameters.pool.only_if", "no parameter 'depth'"]),
    ("on_oom unknown", 'workload = "cnn"', 'workload = "cnn"\non_oom = "zer"', ["on_oom", "did you mean 'zero'"]),
    ("zero of what is minimised", 'workload = "cnn"', 'workload = "cnn"\non_oom = "zero"\n[objectives.val_loss]\ngoal = "minimize"\n', ["on_oom"]),
    ("negative energy budget", "[protocol]", "[stopping]\nmax_energy_j = -1\n[protocol]", ["stopping.max_energy_j", "greater than 0"]),
    ("doubling two parameters", 'method = "sobol"\ntrials = 4', 'method = "doubling"\nvary = ["width", "pool"]', ["stages.init", "varies one parameter"]),
    ("memory limit of a byte", "window_s = 1.0", "memory_limit_bytes = 1", ["protocol.memory_limit_bytes", "1048576"]),
    ("duplicate table", "[protocol]", "[dataset]\n[protocol]", ["not TOML", "dataset"]),
    ("duplicate key", 'title = "A task"', 'title = "A"\ntitle = "B"', ["not TOML", "overwrite"]),
    ("unclosed string", '"A task"', '"A task', ["not TOML", "line"]),
    ("a date", "window_s = 1.0", "window_s = 2020-01-01", ["dates"]),
    ("unknown published proxy", "[dataset]", '[published]\npearson = { flop = 0.2 }\nsample = "s"\nsource = "p"\n[dataset]', ["published.pearson.flop", "did you mean 'flops'"]),
    ("published beyond 1", "[dataset]", '[published]\npearson = { flops = 2.6 }\nsample = "s"\nsource = "p"\n[dataset]', ["published.pearson.flops", "less than or equal to 1", "2.6"]),
]  # fmt: skip


@pytest.mark.parametrize(("_", "old", "new", "words"), BROKEN, ids=[b[0].replace(" ", "-") for b in BROKEN])
def test_one_clear_line(tmp_path, _, old, new, words):
    assert GOOD.count(old) >= 1, "the case must change the file"
    path = tmp_path / "t.toml"
    path.write_text(GOOD.replace(old, new, 1))
    _assert_refused(path, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01\xff\xfe", ["not UTF-8"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(128)), ["not UTF-8"]),
        (b"", ["name", "required"]),
        (b"{'name': 'json'}", ["not TOML"]),
        (b"a = " + b"[" * 5000, ["not TOML"]),
        (b"x = 1\n" * 300_000, ["larger than"]),
    ],
    ids=["bytes", "png", "empty", "json", "deep", "huge"],
)
def test_not_a_task_file_at_all(tmp_path, content, words):
    path = tmp_path / "t.toml"
    path.write_bytes(content)
    _assert_refused(path, words)


def test_the_good_one_is_good(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(GOOD)
    assert load_task(path).name == "t"


def test_a_folder_or_nothing_is_refused(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_task(path)


@pytest.mark.parametrize("case", [BROKEN[7], BROKEN[39]], ids=lambda c: c[0])
def test_the_command_exits_with_2_and_no_traceback(tmp_path, monkeypatch, capsys, case):
    path = tmp_path / "t.toml"
    path.write_text(GOOD.replace(case[1], case[2], 1))
    monkeypatch.setattr("sys.argv", ["joulebench", "run", str(path)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert str(path) in captured.err


def _assert_refused(path, words):
    with pytest.raises(InputError) as caught:
        load_task(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert message.startswith(str(path))
    for word in words:
        assert word in message, message

"""What is fuzzed: for each kind of input, files of the repository or made-up ones, mutated, and the command."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

from joulebench.presentation import pages
from joulebench.publishing.copying import publish, publish_comparison
from joulebench.reporting import render
from tests import gate_records
from tests.conftest import REPOSITORY
from tests.fuzz.mutations import (
    TWICE,
    UNKNOWN,
    changed_bytes,
    changed_csv,
    changed_lines,
    changed_tree,
    json_bytes,
    misspelt,
    toml_bytes,
    word,
)
from tests.fuzz.sandbox import Case, _no_still
from tests.run_factory import full_run

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENVIRONMENT = {
    "python": "3.11.9", "device": "cpu", "packages": {"joulebench": "0.1.0", "torch": "2.9"}, "torch": {"threads": 2},
    "code": {}, "host": {"cpu": "Example CPU", "logical_cpus": 64, "os": "Linux", "accelerators": []},
}  # fmt: skip
TABLE = b"lr,loss,time_s\n1,0.5,3\n2,0.4,4\n3,0.6,2\n"
TABLE_TASK = b"""name = "tt"
title = "T"
workload = "table"
options = { csv = "rows.csv", metrics = ["loss", "time_s"] }
[parameters]
lr = { type = "choice", values = [1, 2, 3], default = 1, ordered = true }
[objectives.loss]
goal = "minimize"
[objectives.time_s]
goal = "minimize"
[stages.g]
method = "grid"
[confirm]
repeats = 0
[protocol]
idle_s = 0.0
"""
ANY_CPU = (
    b'name = "anycpu"\ntitle = "Any CPU"\n[match]\ncpu = "*"\n[pue]\nvalue = 1.2\nsource = "me"\ndate = "2026"\n'
)
_TRACES = (
    b"t_s,cpu\n0,10\n1,20\n5,5\n",
    b"t_s,cpu,ram,gpu:0\n0.0,50.5,20,100\n0.5,60,20,300.25\n1.0,55,20,250\n10,55,20,50\n",
    b"t_s,gpu:0,gpu:1\n-1,1,2\n0,3,4\n",
)
_SIGNERS = (
    b'me@example.org namespaces="joulebench" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9\n'
)
#: Tables of a task or profile whose keys the user chooses; `options` is the workload's.
_FREE = {"parameters", "objectives", "constraints", "stages", "budgets", "options"}


@dataclass(frozen=True)
class World:
    """Files to mutate, made once."""

    run: Mapping[str, bytes]
    other: Mapping[str, bytes]
    real: Mapping[str, bytes]  # a run of the repository
    reports: Mapping[str, bytes]  # two published sets and their comparison
    wall: bytes
    baseline: bytes
    current: bytes
    benchmark: bytes


def _files(folder: Path, below: str) -> dict[str, bytes]:
    return {
        f"{below}/{p.relative_to(folder).as_posix()}": p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@lru_cache(maxsize=1)
def world(base: Path) -> World:
    """Build the files, in a folder that is left to its owner."""

    def write(name: str, hardware: str) -> Path:
        run = full_run(trials=3)
        for at, trial in enumerate(run.trials):
            run.trials[at] = trial.model_copy(update={"windows": tuple(map(_timed, trial.windows))})
        for at, entry in enumerate(run.entries):
            run.entries[at] = entry.model_copy(update={"windows": tuple(map(_timed, entry.windows))})
        given = {"name": hardware, "title": hardware, "match": {"cpu": "*"}}
        data = {"name": "digits", "fingerprint": "0123abcd"}
        return run.write(base / "tmp" / name, environment=ENVIRONMENT, data=data, hardware=given).path

    run, other = write("one", "generic_cpu"), write("two", "other_cpu")
    reports = base / "tmp" / "reports"
    with mock.patch.object(render, "still", _no_still), mock.patch.object(pages, "still", _no_still):
        placed = [publish(folder, reports) for folder in (run, other)]
        publish_comparison(placed, reports)
    seconds = [BEGAN + timedelta(seconds=s) for s in range(-30, 120)]
    wall = "utc,watts\n" + "".join(f"{t.isoformat()},{110 + t.second % 3}\n" for t in seconds)
    gate = [
        b"".join(
            gate_records.replicate(gate_records.measurement("a", j=j * (1 + n / 500)), session=f"s{n % 5}")
            .model_dump_json()
            .encode()
            + b"\n"
            for n in range(10)
        )
        for j in (1.0, 1.05)
    ]
    first = json.loads(gate[1].splitlines()[0])
    extras = [{"name": "a", "extra_info": {"joulebench": m}} for m in first.pop("measurements")]
    return World(
        run=_files(run, "run"),
        other=_files(other, "other"),
        real={
            name: content
            for name, content in _files(
                REPOSITORY / "reports/training_inference/cloud_xeon_vm/2026-11-28", "run"
            ).items()
            if name.endswith((".jsonl", "manifest.json"))
        },
        reports=_files(reports, "reports"),
        wall=wall.encode(),
        baseline=gate[0],
        current=gate[1],
        benchmark=json_bytes({"joulebench": first, "benchmarks": extras}),
    )


def warmed(base: Path) -> World:
    """The files, after what the interpreter and its libraries do once: caches, and questions to the host."""
    from matplotlib import font_manager

    from joulebench.meters.codecarbon import grid_intensity_g_per_kwh
    from joulebench.meters.select import availability
    from joulebench.spec.catalog import find_profile
    from joulebench.spec.hardware import detect_host

    availability(detect_host(), find_profile("generic_cpu"))
    grid_intensity_g_per_kwh("FRA")
    font_manager.findfont("DejaVu Sans")
    return world(base)


def _timed(window: Any) -> Any:
    began = BEGAN + timedelta(seconds=window.start_s)
    return window.model_copy(update={"start_utc": began.isoformat().replace("+00:00", "Z")})


@lru_cache(maxsize=256)
def _repository(folder: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((p.name, p.read_bytes()) for p in sorted((REPOSITORY / folder).glob("*.toml")))


def _definition(name: str, content: bytes, rng: random.Random) -> tuple[bytes, int | None]:
    """A mutated TOML file, and the exit code where it is known."""
    kind = rng.random()
    if kind < 0.25:
        return changed_bytes(content, rng, (ANY_CPU, TABLE_TASK)), None
    tree = tomllib.loads(content.decode())
    if kind < 0.35:
        _table_with_fixed_keys(tree, rng)[UNKNOWN] = rng.choice((1, "a", {}))
        return toml_bytes(tree), 2
    if kind < 0.4:
        table = _table_with_fixed_keys(tree, rng)
        if table:
            key = rng.choice(list(table))
            table[f"{TWICE}{key}"] = table[key]
            return toml_bytes(tree), 2
    changed_tree(tree, rng)
    return toml_bytes(tree), None


def _table_with_fixed_keys(tree: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A table whose keys are joulebench's, so that no other may be accepted."""
    tables = [tree]
    for name, value in tree.items():
        if name in ("parameters", "objectives", "stages"):
            tables += [v for v in value.values() if isinstance(v, dict)]
        elif isinstance(value, dict) and name not in _FREE and name != "peak_flops":
            tables.append(value)
    return rng.choice(tables)


def task(rng: random.Random, _: World) -> Case:
    name, content = rng.choice((*_repository("tasks"), ("tt.toml", TABLE_TASK)))
    mutated, expect = _definition(name, content, rng)
    argv = ("check", name)
    if rng.random() < 0.1:
        argv = ("run", name, "--hardware", "anycpu.toml", "--force-hardware", "--replay", "50")
        argv = (*argv[:1], f"./{name}", *argv[2:])
        expect = None
    if rng.random() < 0.05:
        return Case(
            "task", {"t.toml": content}, ("check", rng.choice(("/dev/zero", "/dev/null", "/dev/stdin", ".")))
        )
    return Case("task", {name: mutated, "anycpu.toml": ANY_CPU, "rows.csv": TABLE}, argv, (name,), expect)


def profile(rng: random.Random, _: World) -> Case:
    name, content = rng.choice((*_repository("hardware_profiles"), ("anycpu.toml", ANY_CPU)))
    mutated, expect = _definition(name, content, rng)
    kind, files = rng.random(), {name: mutated, "tt.toml": TABLE_TASK, "rows.csv": TABLE}
    if kind < 0.85:
        if b"match" not in mutated:
            return Case("profile", files, ("hardware", f"./{name}"), (name,), expect)
        return Case("profile", files, ("check", name), (name,), expect)
    if kind < 0.93:
        return Case("profile", files, ("hardware", f"./{name}"), (name,), expect)
    argv = ("run", "./tt.toml", "--hardware", f"./{name}", "--force-hardware", "--replay", "50", "--quiet")
    return Case("profile", files, argv, (name, "--force-hardware"), expect)


def trace(rng: random.Random, _: World) -> Case:
    content = rng.choice(_TRACES)
    mutated = changed_csv(content, rng) if rng.random() < 0.7 else changed_bytes(content, rng, _TRACES)
    named = rng.choice(("trace.csv",) * 40 + ("/dev/zero", "/dev/null", "."))
    files = {"trace.csv": mutated, "tt.toml": TABLE_TASK, "rows.csv": TABLE, "anycpu.toml": ANY_CPU}
    argv = ("run", "./tt.toml", "--hardware", "./anycpu.toml", "--force-hardware", "--replay", named, "--quiet")
    return Case("trace", files, argv, (named,))


def wall_log(rng: random.Random, of: World) -> Case:
    mutated = changed_csv(of.wall, rng) if rng.random() < 0.7 else changed_bytes(of.wall, rng, _TRACES)
    named = rng.choice(("log.csv",) * 40 + ("/dev/zero", "/dev/null", "."))
    more = ("--allow-below",) if rng.random() < 0.3 else ()
    return Case("wall log", {**of.run, "log.csv": mutated}, ("wall", "run", named, *more), (named,))


def _record(rng: random.Random, of: World, target: str, file: str) -> Case:
    """A run with one of its files mutated, and a command that reads it."""
    files = dict(of.real if rng.random() < 0.05 and f"run/{file}" in of.real else of.run)
    name = f"run/{file}"
    content, expect, kind = files[name], None, rng.random()
    if kind < 0.15:
        files[name] = changed_bytes(content, rng, tuple(of.run.values()))
    elif kind < 0.23:
        lines = [json.loads(line) for line in content.splitlines()] if file.endswith("l") else [json.loads(content)]
        tables = [rng.choice(lines)]
        tables += [w for w in tables[0].get("windows") or () if isinstance(w, dict)][:3]
        tables += [r for w in tables[1:] for r in w["readings"]][:2]
        rng.choice(tables)[UNKNOWN] = 1
        files[name], expect = b"".join(json_bytes(line) + b"\n" for line in lines), 2
    elif file.endswith(".jsonl"):
        files[name] = changed_lines(content, rng)
    else:
        tree = json.loads(content)
        changed_tree(tree, rng)
        files[name] = json_bytes(tree)
    if rng.random() < 0.05:  # the same as the reference run beside another
        files = {**of.run, **{n.replace("run/", "run/overlay/"): c for n, c in files.items()}}
    stills = False
    match rng.random():
        case share if share < 0.62:
            argv: tuple[str, ...] = ("export", "run")
        case share if share < 0.82:
            argv, stills = ("report", "run"), share > 0.815
        case share if share < 0.92:
            argv = ("card", "run", "--format", rng.choice(("hf", "boamps", "sci", "eu")))
        case share if share < 0.96:
            argv, files = ("compare", "run", "other", "--out", "compared"), {**files, **of.other}
        case _:
            argv = ("publish", "run", "--dry-run")
    return Case(target, files, argv, ("run/", "run:", "run ", "--"), expect, records=True, stills=stills)


def trials(rng: random.Random, of: World) -> Case:
    return _record(rng, of, "trials", "trials.jsonl")


def ledger(rng: random.Random, of: World) -> Case:
    return _record(rng, of, "ledger", "ledger.jsonl")


def scores(rng: random.Random, of: World) -> Case:
    return _record(rng, of, "scores", "scores.jsonl")


def manifest(rng: random.Random, of: World) -> Case:
    case = _record(rng, of, "manifest", "manifest.json")
    if rng.random() < 0.1:
        expect = None if "run/overlay/manifest.json" in case.files else case.expect  # it is not resumed
        return replace(case, argv=("resume", "run"), expect=expect, records=False)
    return case


def baseline(rng: random.Random, of: World) -> Case:
    files = {"base.jsonl": of.baseline, "now.jsonl": of.current, "now.json": of.benchmark}
    name = rng.choice(("base.jsonl", "base.jsonl", "now.jsonl", "now.json"))
    expect = None
    if rng.random() < 0.2:
        files[name] = changed_bytes(files[name], rng, (of.benchmark, *_TRACES))
    elif name.endswith(".jsonl"):
        files[name] = changed_lines(files[name], rng)
    else:
        tree = json.loads(files[name])
        changed_tree(tree, rng)
        files[name] = json_bytes(tree)
    now = name if name.startswith("now") else "now.jsonl"
    base = rng.choice(("base.jsonl",) * 60 + ("/dev/zero", "/dev/null", "/dev/stdin"))
    more = rng.choice(((), (), ("--metric", "energy"), ("--metric", "time"), ("--require-energy",), ("--strict",)))
    files = {n: c for n, c in files.items() if n in ("base.jsonl", now)}
    if rng.random() < 0.2:
        more = (*more, "--json", "out.json", "--summary", "summary.md")
    return Case("baseline", files, ("gate", base, now, *more), (name, base), expect)


def seal(rng: random.Random, of: World) -> Case:
    at = "reports/digits_nas/generic_cpu/2026-01-02"
    files = {name: content for name, content in of.reports.items() if name.startswith(f"{at}/")}
    name = rng.choice((f"{at}/SHA256SUMS",) * 6 + (f"{at}/published.json",))
    content = files.get(name, b'{"allow_busy": true}\n')
    lines = content.splitlines(keepends=True)
    kind, part = rng.random(), rng.randrange(len(lines))
    if kind < 0.4:
        lines[part] = changed_bytes(lines[part], rng)
    elif kind < 0.6:
        digest, _, file = lines[part].decode().strip().partition("  ")
        lines[part] = f"{digest}  {rng.choice((word(rng), misspelt(file, rng), file.upper()))}\n".encode(
            "utf-8", "surrogatepass"
        )
    elif kind < 0.7:
        lines.insert(part, lines[-1])
    else:
        lines = [changed_bytes(content, rng)]
    files[name] = b"".join(lines)
    if name.endswith("published.json") and rng.random() < 0.5:
        tree = json.loads(content)
        changed_tree(tree, rng)
        files[name] = json_bytes(tree)
    return Case("seal", files, ("verify", "reports"), records=True)


def runs_json(rng: random.Random, of: World) -> Case:
    at = next(name for name in of.reports if name.endswith("runs.json"))
    content = of.reports[at]
    tree = json.loads(content)
    if rng.random() < 0.3:
        mutated = changed_bytes(content, rng)
    else:
        if rng.random() < 0.5:
            tree[rng.randrange(len(tree))] = rng.choice((word(rng), f"{tree[0]}/../{word(rng)}"))
        else:
            changed_tree(tree, rng)
        mutated = json_bytes(tree)
    records = ("manifest.json", ".jsonl", "SHA256SUMS", "published.json")
    files = {n: c for n, c in of.reports.items() if n.endswith(records) or n.startswith(at[: at.rindex("/")])}
    return Case("runs.json", {**files, at: mutated}, ("verify", at[: at.rindex("/")]), records=True)


def signers(rng: random.Random, of: World) -> Case:
    at = "reports/digits_nas/generic_cpu/2026-01-02"
    files = {name: content for name, content in of.reports.items() if name.startswith(f"{at}/")}
    armour = b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAg\n-----END SSH SIGNATURE-----\n"
    files[f"{at}/SHA256SUMS.sig"] = changed_bytes(armour, rng)
    named = rng.choice(("signers",) * 8 + ("/dev/null", ".", "missing"))
    return Case(
        "signers",
        {**files, "signers": changed_bytes(_SIGNERS, rng)},
        ("verify", "reports", "--signers", named),
        (named, "signers"),
        records=True,
    )


_RUN = ("run", "./tt.toml", "--hardware", "./anycpu.toml", "--force-hardware")
#: Command lines whose every value is mutated; of a path that is written, only into the case's own folder.
_COMMANDS: tuple[tuple[str, ...], ...] = (
    (*_RUN, "--set", "lr=2", "--seed", "3", "--pue", "1.2", "--grid-intensity", "50"),
    (*_RUN, "--replay", "50", "--max-energy", "500kJ", "--inferences", "1e6"),
    (*_RUN, "--budget", "quick", "--country", "FRA"),
    (*_RUN, "--meter", "rapl", "--data", "rows.csv", "--trials-from", "run"),
    (*_RUN, "--out", "runs"),
    ("run", "digits", "--hardware", "generic_cpu", "--force-hardware", "--set", "width=8", "--budget", "quick"),
    ("resume", "run", "--data", "rows.csv"),
    ("report", "run", "--pue", "1.1", "--grid-intensity", "30", "--study", "repeatability"),
    ("report", "run", "--overlay", "other"),
    ("compare", "run", "other", "--out", "compared"),
    ("card", "run", "--trial", "1", "--format", "hf", "--set", "name=x", "--pue", "1.3"),
    ("card", "run", "--format", "boamps", "--set", "base_model=a/b", "--out", "card.json", "--force"),
    ("card", "run", "--format", "sci", "--grid-intensity", "400", "--out", "card.md"),
    ("card", "run", "--format", "eu", "--set", "name=x"),
    ("export", "run", "--out", "rows2.csv", "--force"),
    ("publish", "run", "--reports", "reports", "--dry-run"),
    ("publish", "run", "other", "--reports", "published", "--sign", "key"),
    ("publish", "reports", "--refresh"),
    ("verify", "reports", "--signers", "signers"),
    ("wall", "run", "log.csv", "--allow-below"),
    ("check", "tt.toml", "anycpu.toml"),
    ("hardware", "./anycpu.toml"),
    ("tasks",),
    ("gate", "base.jsonl", "now.jsonl", "--threshold", "0.03", "--metric", "energy", "--rerun", "now.jsonl"),
    ("gate", "base.jsonl", "now.jsonl", "--summary", "summary.md", "--json", "out.json", "--strict"),
    ("gate", "--against", "main", "--minutes", "0.1", "--form", "quick", "--tests", "tests", "--out", "kept"),
    ("gate", "base.jsonl", "--update-baseline", "--sessions", "2", "--hardware", "anycpu", "--replay", "50"),
    ("--version",),
)
_WRITTEN = ("--out", "--summary", "--json", "--reports")
_HERE = (
    "", ".", "new", "new/deeper/x", "/dev/null", "/dev/full", "/dev/zero", "/dev/stdin", "run", "run/manifest.json",
    "run/trials.jsonl", "missing", "tt.toml", "x" * 300, "\udcff", "a\nb", "a\x1b[31mb", "a\u202eb", "é", "~", "x\x7fy",
)  # fmt: skip
_VALUES = (
    "", " ", "-1", "0", "-0", "1", "0.5", "nan", "inf", "-inf", "1e308", "1e999", "1e-400", "9" * 400, "1_0", "١٢", "0x10",
    "True", "null", "[1,2]", "{}", "a=b", "=", "a=", "=b", "lr=", "lr=nan", "lr=NaN", "lr=[1]", "lr=1e999", "lr=2.0",
    "lr=-0", "lr=true", "lr=" + "9" * 400, "lr=9" * 3, "name=NaN", "name=\x1b[31m", "5kJ", "1e400kJ", "1e308GWh", "0J",
    "nanJ", "1..2J", "kJ", "FRA", "fra", "ZZZ", "F\u202eA", "rapl", "raplx", "os:system", "a.b:C", "a:b:c", "x" * 5000,
    "--help", "--", "-h", "--quiet", "\x1b]0;t\x07", "\udcff", "\u202e", "名", "key", "quick", "run",
)  # fmt: skip


def command(rng: random.Random, of: World) -> Case:
    argv = list(rng.choice(_COMMANDS))
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(argv))
        previous = argv[at - 1] if at else ""
        kind = rng.random()
        if previous in _WRITTEN or argv[0] == "publish":
            argv[at] = rng.choice(_HERE) if previous in _WRITTEN or kind < 0.7 else misspelt(argv[at], rng)
        elif kind < 0.55:
            argv[at] = rng.choice((rng.choice(_VALUES), rng.choice(_HERE), rng.choice(_HERE)))
        elif kind < 0.65:
            argv[at] = misspelt(argv[at], rng)
        elif kind < 0.75:
            name, separator, _ = argv[at].partition("=")
            argv[at] = f"{name}={rng.choice(_VALUES)}" if separator else argv[at] + rng.choice(_VALUES[:20])
        elif kind < 0.85:
            del argv[at]
        elif kind < 0.93:
            argv.insert(at, argv[at])
        else:
            argv.insert(rng.randint(0, len(argv)), rng.choice(_VALUES))
        if not argv:
            argv = [rng.choice(_VALUES)]
    return called(of, tuple(word.replace("\x00", "") for word in argv))


def called(of: World, argv: tuple[str, ...], expect: int | None = None) -> Case:
    files = {
        **of.run, "tt.toml": TABLE_TASK, "rows.csv": TABLE, "anycpu.toml": ANY_CPU, "base.jsonl": of.baseline,
        "now.jsonl": of.current, "log.csv": of.wall, "key": b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "signers": _SIGNERS,
    }  # fmt: skip
    if argv and argv[0] in ("compare", "report", "publish"):
        files |= of.other
    if argv and argv[0] in ("verify", "publish"):
        files |= {n: c for n, c in of.reports.items() if n.startswith("reports/digits_nas/generic_cpu")}
    return Case("command line", files, argv, (), expect)


#: Options that this use of the command would not read: refused, never ignored.
UNUSED: tuple[tuple[str, ...], ...] = (
    ("gate", "base.jsonl", "now.jsonl", "--minutes", "0.1"),
    ("gate", "base.jsonl", "now.jsonl", "--form", "quick"),
    ("gate", "base.jsonl", "now.jsonl", "--tests", "x"),
    ("gate", "base.jsonl", "now.jsonl", "--hardware", "anycpu"),
    ("gate", "base.jsonl", "now.jsonl", "--replay", "50"),
    ("gate", "base.jsonl", "now.jsonl", "--sessions", "2"),
    ("gate", "base.jsonl", "now.jsonl", "--replace"),
    ("gate", "base.jsonl", "now.jsonl", "--out", "x"),
    ("gate", "base.jsonl", "--rerun", "now.jsonl"),
    ("gate", "base.jsonl", "--minutes", "0.1"),
    ("gate", "--against", "main", "--sessions", "2"),
    ("gate", "--against", "main", "--replace"),
    ("gate", "--against", "main", "--rerun", "now.jsonl"),
    ("gate", "--update-baseline", "--minutes", "0.1"),
    ("gate", "--update-baseline", "--summary", "x.md"),
    ("gate", "--update-baseline", "--json", "x.json"),
    ("gate", "--update-baseline", "--out", "x"),
    ("gate", "--update-baseline", "--strict"),
    ("gate", "--update-baseline", "--rerun", "now.jsonl"),
    ("export", "run", "--force"),
    ("card", "run", "--force"),
    ("hardware", "./anycpu.toml", "--all"),
    ("publish", "run", "--dry-run", "--sign", "key"),
    ("publish", "reports", "--refresh", "--dry-run"),
    (*_RUN, "--replay", "50", "--meter", "rapl"),
    (*_RUN, "--data", "rows.csv"),
)


def unused(rng: random.Random, of: World) -> Case:
    return replace(called(of, rng.choice(UNUSED), 2), target="unused options")


def expression_in_task(rng: random.Random, _: World) -> Case:
    """A task whose conditions are mutated."""
    from tests.fuzz.expressions import any_text

    tree = tomllib.loads(TABLE_TASK.decode())
    text = any_text(rng).replace("width", "lr")
    if rng.random() < 0.5:
        tree["constraints"] = {"a": text}
    else:
        tree["parameters"]["other"] = {"type": "int", "low": 1, "high": 4, "default": 1, "only_if": text}
    return Case("condition", {"tt.toml": toml_bytes(tree)}, ("check", "tt.toml"), ("tt.toml",))


#: By name: how many of a hundred inputs, and what makes one.
TARGETS: dict[str, tuple[float, Callable[[random.Random, World], Case]]] = {
    "task": (20, task),
    "profile": (11, profile),
    "trace": (11, trace),
    "wall log": (7, wall_log),
    "trials": (9, trials),
    "ledger": (6, ledger),
    "scores": (3, scores),
    "manifest": (7, manifest),
    "baseline": (9, baseline),
    "seal": (3, seal),
    "runs.json": (2, runs_json),
    "signers": (1, signers),
    "command line": (8, command),
    "unused options": (1, unused),
    "condition": (2, expression_in_task),
}


def make(target: str, seed: int, number: int, of: World) -> Case:
    """The case of that number: the same again for the same seed."""
    return TARGETS[target][1](random.Random(f"{seed}/{target}/{number}"), of)

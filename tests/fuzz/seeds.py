"""The smallest input of each kind of fault that fuzzing has found, and what is right; `test_seeds` replays them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fuzz.sandbox import Case
from tests.fuzz.targets import TABLE_TASK, UNUSED, World, called

_REPLAY = ("run", "./tt.toml", "--hardware", "./anycpu.toml", "--force-hardware", "--replay")


@dataclass(frozen=True)
class Seed:
    """Changes to files of the world, and the exit code that is right.

    Attributes:
        edits: by file: a text that occurs in it, and what to put into its first place; or the whole content.
    """

    what: str
    argv: tuple[str, ...]
    expect: int
    edits: Mapping[str, tuple[bytes, bytes] | bytes] = field(default_factory=dict)

    def case(self, of: World) -> Case:
        files = dict(called(of, self.argv).files) | {
            n: c for n, c in of.reports.items() if self.argv[0] == "verify" and n.startswith("reports/")
        }
        for name, edit in self.edits.items():
            if isinstance(edit, bytes):
                files[name] = edit
                continue
            assert edit[0] in files[name], f"{self.what}: {edit[0]!r} is not in {name}"
            files[name] = files[name].replace(*edit, 1)
        records = self.argv[0] in ("verify", "export", "report", "compare")
        names = tuple(n for n in self.edits if self.argv[0] != "verify" and not n.startswith("run/"))
        return Case(self.what, files, self.argv, names if self.expect == 2 else (), self.expect, records=records)


def _condition(text: bytes) -> dict[str, tuple[bytes, bytes] | bytes]:
    return {"tt.toml": TABLE_TASK + b"[constraints]\na = " + text + b"\n"}


_CHECK = ("check", "tt.toml")
_COMPARISON = "reports/digits_nas/comparison/generic_cpu_vs_other_cpu"
SEEDS: tuple[Seed, ...] = (
    Seed("an integer too large for a float", _CHECK, 2, _condition(b'"lr / 2 * ' + b"9" * 400 + b' > 0.5"')),
    Seed("operators that nest deeper than the stack", _CHECK, 2, _condition(b'"' + b"-" * 480 + b'lr < 1"')),
    Seed("a condition that Python warns of", _CHECK, 2, _condition(b'"1or lr"')),
    Seed("an escape that Python warns of", _CHECK, 2, _condition(rb"""'lr < 9 or lr == "\w"'""")),
    Seed("a comparison that is decided before its last part", _CHECK, 0, _condition(b'"not 5 < lr < 1 / 0"')),
    Seed("text ordered against a number by another value", _CHECK, 2, {
        "tt.toml": TABLE_TASK.replace(b"[1, 2, 3]", b'[1, 2, "x"]').replace(b", ordered = true", b"")
        + b'[constraints]\na = "lr < 3"\n',
    }),
    Seed("an endless task file", ("check", "/dev/zero"), 2),
    Seed("an endless baseline", ("gate", "/dev/zero", "now.jsonl"), 2),
    Seed("an endless trace", (*_REPLAY, "/dev/zero"), 2),
    Seed("an endless log", ("wall", "run", "/dev/zero"), 2),
    Seed("JSON nested deeper than the stack", ("gate", "base.json", "now.jsonl"), 2, {"base.json": b"[" * 100_000}),
    Seed("baselines that do not compare are named", ("gate", "base.jsonl", "now.jsonl"), 2, {
        "base.jsonl": (b'"device":"cuda:0"', b'"device":0'),
    }),
    Seed("a message as long as a value", ("export", "run"), 2, {
        "run/trials.jsonl": (b'"params":{"width"', b'"params":{"' + b"x" * 200_000 + b'"'),
    }),
    Seed("an option as long as a message", ("run", "x" * 5000), 2),
    Seed("joules of a trace that overflow", (*_REPLAY, "trace.csv"), 2, {"trace.csv": b"t_s,cpu\n0,1\n1,1e308\n2,1e308\n"}),
    Seed("times of a trace that all but touch", (*_REPLAY, "trace.csv"), 0, {
        "trace.csv": b"t_s,cpu\n0,10\n5e-324,20\n5,5\n",
    }),
    Seed("watts that overflow", (*_REPLAY, "1e308"), 2),
    Seed("watts of a log that overflow", ("wall", "run", "log.csv"), 2, {"log.csv": (b",112\n", b",1e302\n")}),
    Seed("a manifest with a number that is none", ("export", "run"), 2, {
        "run/manifest.json": (b'"code": {}', b'"code": -Infinity'),
    }),
    Seed("a path with a NUL", ("resume", "run"), 2, {
        "run/manifest.json": (b'"task_file": null', b'"task_file": "a\\u0000b"'),
    }),
    Seed("an option of a workload that is no number", _CHECK, 2, {"tt.toml": (b"options = {", b"options = { x = [nan],")}),
    Seed("a name in runs.json that no file can have", ("verify", _COMPARISON), 1, {
        f"{_COMPARISON}/runs.json": b'["\\ud800", "a"]',
    }),
    Seed("a name of scores that a terminal would obey", ("report", "run"), 0, {
        "run/scores.jsonl": (b'"accuracy"', b'"accuracy\\u009b"'),
    }),
    Seed("a folder that only a record names", ("report", "run"), 0, {
        "run/manifest.json": (b'"options": {}', b'"options": {"overlay": "../../secret"}'),
    }),
    Seed("a title that a terminal would obey", ("check", "anycpu.toml"), 0, {"anycpu.toml": (b"Any CPU", b"\\u001b[31m")}),
    Seed("a source that a terminal would obey", ("hardware", "./anycpu.toml"), 0, {"anycpu.toml": (b'"me"', b'"\\u001b[2J"')}),
    Seed("a folder that a terminal would obey", ("publish", "run", "--reports", "x\x7fy", "--dry-run"), 0),
    *(Seed(f"not read: {' '.join(argv)}", argv, 2) for argv in UNUSED),
)  # fmt: skip

#: Conditions, and values where they were read otherwise than Python reads them.
CONDITIONS: tuple[str, ...] = (
    "kind == depth or not pool < kind == (1 / 0)",
    "2 > depth >= kind // kind",
    "(pool and width) != kind <= width",
    "width * " + "9" * 400 + " > 0.5 * rate",
    "-" * 480 + "width < 1",
    "not " * 100 + "pool",
    "1or width",
    "width == '\\w'",
    "width < 1e999 - 1e999",
)

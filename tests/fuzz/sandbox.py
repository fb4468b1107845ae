"""A command run in this process on files of a folder of its own, and the oracles that judge what came of it.

An input is refused in one line or used: there is no traceback, no nonsense (NaN, infinities, control characters) in
what is printed or written, nothing outside of the folder is written, and time and memory are bounded.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import typer

from joulebench.commands import main as command_line
from joulebench.commands.streams import _Visible
from joulebench.text import CONTROL, visible

#: Of a message on standard error.
MAX_MESSAGE = 2000
#: Processor time of one input.
MAX_CPU_S = 15.0
#: What one input may add to the largest resident set, and to the address space.
MAX_MEMORY_BYTES, MAX_ADDRESS_BYTES = 300 * 2**20, 2**30
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = ("/dev/null", "/dev/full", "/dev/tty", "/dev/zero")
_PROGRAMS = ("git", "ssh-keygen")
#: What describes the host starts.
_PROBES = ("nvidia-smi", "rocm-smi", "uname", "file", "fc-list", "lscpu", Path(sys.executable).name)
#: Events of the interpreter that change the file that they name first.
_CHANGES = {"os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_NONSENSE = re.compile(r"(?<![\w.'\"/-])-?(?:nan|inf|NaN|Infinity)(?![\w'\"/-])")
#: A finding says so where a record holds no number.
_SAYS_SO = re.compile(r" (?:= |reads |got )-?(?:nan|inf)(?= (?:lies outside|is no value|J in))")
_ACTIVE = "<i onload=x>"
_PNG = b"\x89PNG\r\n\x1a\nIEND\xaeB`\x82"


@dataclass(frozen=True)
class Case:
    """An input: files, and the command line that reads them from their folder.

    Attributes:
        names: what a refusal names, any one: the files that are mutated, or an option.
        expect: the exit code, where it is known.
        records: whether the input is somebody else's, so that nothing outside of the folder is read for it.
        stills: whether figures are drawn; else they are replaced by a constant, for speed.
    """

    target: str
    files: Mapping[str, bytes]
    argv: tuple[str, ...]
    names: tuple[str, ...] = ()
    expect: int | None = None
    records: bool = False
    stills: bool = False


@dataclass
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str
    written: list[Path]
    faults: list[str] = field(default_factory=list)


class _Slow(BaseException):
    """An input has taken its processor time."""


class _ForbiddenError(PermissionError):
    """Something that no input may bring about."""


class _Guard:
    """Hook of the interpreter's audit events; a hook cannot be taken away, so it is made once and switched."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.folder = ""
        self.records = False
        self.faults: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root is None:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            self._open(os.fsdecode(arguments[0]), arguments[2] or 0)
        elif event in _CHANGES and isinstance(arguments[0], str | bytes | os.PathLike):
            self._write(os.fsdecode(arguments[0]), event)
            if event in ("os.rename", "os.link"):
                self._write(os.fsdecode(arguments[1]), event)
        elif event == "subprocess.Popen":
            if Path(str(arguments[0])).name not in (_PROGRAMS if self.records else (*_PROGRAMS, *_PROBES)):
                self._refuse(f"starts {arguments[0]!r}")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "socket.connect", "os.fork"):
            self._refuse(f"{event} {arguments[:1]!r}"[:200])

    def _open(self, path: str, flags: int) -> None:
        where = os.path.realpath(path)
        if flags & _WRITES:
            self._write(path, "open")
        elif self.records and (where.startswith(f"{self.root}/secret") or where == "/etc/passwd"):
            self._refuse(f"reads {path} outside of the folder")

    def _write(self, path: str, event: str) -> None:
        where = os.path.realpath(path)
        inside = where.startswith((f"{self.folder}/", f"{self.root}/tmp/"))
        if (
            not inside
            and where not in (self.folder, f"{self.root}/tmp", *_HARMLESS)
            and not (
                where.startswith("/dev/shm/sem.") or path.startswith(("/dev/full/", "/dev/std"))
            )  # no folders: they fail
        ):
            self._refuse(f"{event}: writes {path} outside of the folder")

    def _refuse(self, what: str) -> None:
        self.faults.append(what)
        raise _ForbiddenError(what)


_guard: _Guard | None = None


@contextmanager
def sandbox() -> Iterator[Path]:
    """A folder, in memory where there is such a file system, beside which lies what nobody may read."""
    global _guard
    _guard = _guard or _Guard()
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="joulebench-fuzz-", dir=memory if memory.is_dir() else None)).resolve()
    before = {name: os.environ.get(name) for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")}
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        (base / "tmp").mkdir()
        (base / "secret").mkdir()
        (base / "secret" / "manifest.json").write_text("{}")
        os.environ.update(HOME=str(base / "tmp"), TMPDIR=str(base / "tmp"), MPLCONFIGDIR=str(base / "tmp"))
        tempfile.tempdir = None
        yield base
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir, sys.dont_write_bytecode = None, bytecode
        shutil.rmtree(base, ignore_errors=True)


def judged(case: Case, base: Path) -> tuple[int, list[str]]:
    """Run a case; its exit code, and what is wrong with what came of it."""
    folder = base / "a" / "case"
    shutil.rmtree(folder.parent, ignore_errors=True)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    before = _listing(base)
    memory = _resident()
    outcome = _run(case, base, folder)
    found = [*outcome.faults, *_judge(case, outcome, folder)]
    if (grown := _resident() - memory) > MAX_MEMORY_BYTES:
        found.append(f"takes {grown / 2**20:.0f} MiB of memory")
    if changed := _listing(base) ^ before:
        found.append(f"changes {sorted(changed)[0][0]} outside of the folder")
    return outcome.code, found


def _listing(base: Path) -> set[tuple[str, int]]:
    """Files beside the folder of the case, and their sizes."""
    top = [p for p in base.iterdir() if p.name != "tmp"]
    files = [p for p in (*top, *(base / "a").iterdir(), *(base / "secret").iterdir()) if p.name != "case"]
    return {(str(p.relative_to(base)), p.stat().st_size if p.is_file() else 0) for p in files}


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _run(case: Case, base: Path, folder: Path) -> Outcome:
    assert _guard is not None
    out, err = (
        _Visible(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2)
    )  # as `main` wraps a terminal
    paths, cwd = list(sys.path), Path.cwd()
    faults: list[str] = []
    code: object = 0
    previous = signal.signal(signal.SIGPROF, _slow)
    with mock.patch.multiple(sys, argv=["joulebench", *case.argv], stdout=out, stderr=err), _replaced(case):
        os.chdir(folder)
        _guard.root, _guard.folder, _guard.records, _guard.faults = str(base), str(folder), case.records, faults
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MAX_ADDRESS_BYTES, limits[1]))
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
        try:
            command_line.main()
        except SystemExit as stop:
            code = stop.code or 0
        except _Slow:
            faults.append(f"takes more than {MAX_CPU_S:g} s of processor time")
        except BaseException:
            faults.append(f"raises {traceback.format_exc()[-300:]}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, limits)
            signal.signal(signal.SIGPROF, previous)
            _guard.root = None
            os.chdir(cwd)
            sys.path[:] = paths
    inside = [n for n, m in list(sys.modules.items()) if str(getattr(m, "__file__", "")).startswith(str(base))]
    for name in inside:
        faults.append(f"imports {name} from the folder")
        del sys.modules[name]
    out.flush()
    err.flush()
    texts = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]  # type: ignore[attr-defined]
    kept = {folder / name for name in case.files}
    written = [p for p in folder.rglob("*") if p.is_file() and p not in kept]
    return Outcome(code if type(code) is int else -1, *texts, written, faults)


def _slow(_: int, frame: FrameType | None) -> None:
    raise _Slow


@contextmanager
def _replaced(case: Case) -> Iterator[None]:
    """Nothing is measured: what would be ends with exit code 0 where everything that was given has been read."""
    from joulebench.gate import workflow
    from joulebench.presentation import pages
    from joulebench.reporting import render
    from joulebench.runner import local

    def stop(*_: Any, **__: Any) -> Any:
        raise typer.Exit(0)

    def prepared(chosen: Any, *_: Any, **__: Any) -> Any:
        if chosen.replay is not None:
            _integrate(chosen.replay)
        raise typer.Exit(0)

    replaced: list[tuple[Any, str, Any]] = [
        (command_line, "app", _built()),
        (local._Session, "prepare", prepared),
        *((workflow, name, stop) for name in ("against", "against_baseline", "add_to_baseline")),
    ]
    if not case.stills:
        replaced += [(module, "still", _no_still) for module in (render, pages)]
    patches = [mock.patch.object(where, name, value) for where, name, value in replaced]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


@lru_cache(maxsize=1)
def _built() -> Any:
    """The command line; typer builds it anew in every call, which takes as long as an input."""
    return typer.main.get_command(command_line.app)


def _no_still(plots: Any, title: str, file_format: str) -> bytes:
    return _PNG if file_format == "png" else b"<svg/>"


def _integrate(replay: str) -> None:
    """Read a trace as a meter does; joules are finite and do not fall."""
    from joulebench.host.clock import VirtualClock
    from joulebench.meters.replay import ReplayMeter, load_traces

    clock = VirtualClock()
    meter = ReplayMeter(load_traces(replay), clock, replay)
    meter.start()
    before = [0.0] * len(meter.read())
    for _ in range(6):
        now = [counter.energy_j for counter in meter.read()]
        assert all(math.isfinite(j) for j in now), f"{replay} gives {now} J"
        assert all(b >= a - 1e-9 * abs(a) for a, b in zip(before, now, strict=True)), f"{replay}: joules fall"
        before = now
        clock.sleep(1.5 + 10 * clock.now_s())
    assert all(math.isfinite(value) for value in meter.integrals().values())


def _judge(case: Case, outcome: Outcome, folder: Path) -> Iterator[str]:
    code, err = outcome.code, outcome.err
    if "Traceback" in err:
        lines = [line for line in err.splitlines() if line.strip()]
        places = [line.strip() for line in lines if line.startswith("  File") and "/joulebench/" in line]
        yield f"traceback: {lines[-1][-160:]} ({places[-1].split('/joulebench/')[-1] if places else ''})"
        return
    if code not in (0, 1, 2, 3):
        yield f"exit code {code}"
    if case.expect is not None and code != case.expect:
        yield f"exit code {code} where {case.expect} is right: {(outcome.out + err)[-200:]!r}"
    if "Warning" in err:
        yield f"a warning of Python's: {err[-200:]!r}"
    for name, text in (("standard output", outcome.out), ("standard error", err)):
        if odd := sorted({c for c in text if visible(c) != c}):
            yield f"{name} holds {odd[0]!r}"
    if code == 2:
        yield from _message(case, err)
    elif code == 0:
        if found := _NONSENSE.search(outcome.out):
            at = outcome.out[max(0, found.start() - 60) : found.end() + 20]
            yield f"prints nonsense: {at!r}"
        for path in outcome.written:
            yield from (f"{path.relative_to(folder).name}: {problem}" for problem in _nonsense(path))


def _message(case: Case, err: str) -> Iterator[str]:
    lines = err.splitlines()
    most = len(case.argv) - 1 if case.argv[:1] == ("check",) else 1  # a line for each file
    if not 1 <= len(lines) <= most or not all(line.startswith("joulebench: ") for line in lines):
        yield f"refused in {len(lines)} lines: {err[:200]!r}"
    if len(err) > MAX_MESSAGE:
        yield f"a message of {len(err)} characters: {err[:80]!r} …"
    elif case.names and not any(name in err for name in case.names):
        yield f"the message names none of {', '.join(case.names)}: {err[:200]!r}"


def _nonsense(path: Path) -> Iterator[str]:
    """What is wrong with a file that was written."""
    content = path.read_bytes()
    if path.suffix in (".png", ".pt", ".sig"):
        return
    try:
        text = content.decode()
    except UnicodeDecodeError:
        yield "is not UTF-8"
        return
    if (odd := CONTROL.search(text)) and path.suffix not in (".jsonl",):
        yield f"holds {odd[0]!r}"
    if path.suffix == ".json":
        try:
            _finite(json.loads(text, parse_constant=_no_number))
        except ValueError as error:
            yield f"is no strict JSON: {error}"
    elif path.suffix in (".md", ".html", ".csv", ".svg"):
        visible = re.sub(r"(?s)<script.*?</script>|<style.*?</style>|base64,[\w+/=]*", "", _SAYS_SO.sub("", text))
        if found := _NONSENSE.search(visible):
            yield f"nonsense: {visible[max(0, found.start() - 60) : found.end() + 20]!r}"
        if path.suffix in (".html", ".svg", ".md") and _ACTIVE in text and not _in_code(path, text):
            yield "holds a tag of the input's"
    if path.suffix == ".svg":
        try:
            ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            yield f"is no XML: {error}"
    if path.suffix == ".csv":
        before = csv.field_size_limit(2**20)
        lengths = {len(row) for row in csv.reader(io.StringIO(text, newline=""))}
        csv.field_size_limit(before)  # the package's own readers rely on it
        if len(lengths) > 1:
            yield "has rows of several lengths"


def _in_code(path: Path, text: str) -> bool:
    """Whether the tag stands in code of Markdown alone, where it is text."""
    return path.suffix == ".md" and _ACTIVE not in re.sub(r"(?s)```.*?```|(`+)(?!`).*?(?<!`)\1(?!`)", "", text)


def _no_number(name: str) -> float:
    raise ValueError(f"holds {name}")


def _finite(tree: Any) -> None:
    if isinstance(tree, float) and not math.isfinite(tree):
        raise ValueError("holds a number too large")
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        _finite(part)

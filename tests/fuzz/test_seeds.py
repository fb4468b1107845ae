"""What fuzzing has found stays mended, and a short session of it finds nothing."""

from __future__ import annotations

import itertools
import os
import random

import pytest

from tests.fuzz import expressions
from tests.fuzz.sandbox import Case, judged, sandbox
from tests.fuzz.seeds import CONDITIONS, SEEDS
from tests.fuzz.targets import ANY_CPU, TABLE, TABLE_TASK, TARGETS, make, warmed

INPUTS, EXPRESSIONS = 300, 2000


@pytest.fixture(scope="module")
def base():
    stdin = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with sandbox() as folder:
        yield folder
    os.dup2(stdin, 0)


@pytest.fixture(scope="module")
def files(base):
    return warmed(base)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.what.replace(" ", "-"))
def test_what_was_found_stays_mended(base, files, seed):
    assert judged(seed.case(files), base) == (seed.expect, [])


@pytest.mark.parametrize("text", CONDITIONS, ids=lambda text: text[:30])
def test_a_condition_is_refused_or_what_python_says(text):
    for width, kind, pool, depth in itertools.product((0, 3, 1e308), ("deep", 2), (True, False), (1, -0.0)):
        values = {"width": width, "kind": kind, "pool": pool, "depth": depth, "rate": 0.1}
        assert expressions.judge(text, values) == []


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_inputs_are_used_or_refused(base, files, target):
    found = {}
    for number in range(max(1, round(INPUTS * TARGETS[target][0] / 100))):
        if wrong := judged(make(target, 0, number, files), base)[1]:
            found[number] = wrong
    assert found == {}, f"python -m tests.fuzz --only '{target}' --number N shows one"


def test_random_conditions_are_what_python_says():
    found = {}
    for number in range(EXPRESSIONS):
        text, wrong = expressions.failures(random.Random(f"0/expression/{number}"))
        if wrong:
            found[text] = wrong
    assert found == {}


def test_the_oracles_notice(base, monkeypatch):
    """A command that prints nonsense, writes elsewhere or fails with a traceback is found out."""
    from joulebench.commands import hardware

    files = {"tt.toml": TABLE_TASK, "rows.csv": TABLE, "anycpu.toml": ANY_CPU}
    argv = ("hardware", "./anycpu.toml")
    assert judged(Case("", files, argv), base) == (0, [])
    assert judged(Case("", files, argv, expect=2), base)[1][0].startswith("exit code 0 where 2")
    for behaviour, told in (
        (lambda *_: [f"{float('nan')} W"], "prints nonsense"),
        (lambda *_: ["\x1b[31m"], ""),  # made harmless by what prints it
        (lambda *_: [][1], "traceback: joulebench: failed unexpectedly: IndexError"),
        (lambda *_: (base / "Z").write_text("") and [], "open: writes"),
        (lambda *_: [str(bytearray(2**31))], "traceback: joulebench: failed unexpectedly: MemoryError"),
        (lambda *_: os.system("true") and [], "os.system"),
    ):
        monkeypatch.setattr(hardware, "profile_lines", behaviour)
        found = judged(Case("", files, argv), base)[1]
        assert (found[0].startswith(told)) if told else found == []
    assert not (base / "Z").exists()

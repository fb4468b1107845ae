"""One number from the answer of a meter: by a path into JSON, a Prometheus metric, or the words before it. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from joulebench.meters.wall_log import unix_s
from joulebench.text import short

#: More of them are a mistake, or hostile.
MAX_STEPS = 50

_STEP = re.compile(r"""\.?([^.\[\]"]+)|\[(0|[1-9]\d{0,8})\]|\["((?:[^"\\]|\\.)*)"\]""", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_METRIC = re.compile(r"[A-Za-z_:][\w:]*", re.ASCII)
_LABEL = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*', re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class ValueMissingError(Exception):
    """An answer without the value asked for; the message says why, and nothing of the answer but names."""


class Value(NamedTuple):
    """Number from an answer, in the meter's unit, and when it is from by the meter's clock (Unix seconds)."""

    number: float
    at_unix_s: float | None = None


Extract = Callable[[str], Value]


def parse_path(text: str) -> tuple[str | int, ...]:
    """Parse a path into JSON: keys after dots, indices in brackets, any other key in brackets and quotes.

    `PowerControl[0].PowerConsumedWatts`, `["switch:0"].apower`, `switch:0.apower`.

    Raises:
        ValueError: it is none.
    """
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        dotted = match is not None and match[0].startswith(".")
        # a key that is not the first follows a dot, an index or a quoted key does not
        if match is None or (match[1] is not None and dotted != bool(steps)):
            raise ValueError(f"no path into JSON from '{short(text[at:], 40)}' on; such as meters[0].power")
        key, index, quoted = match[1], match[2], match[3]
        steps.append(int(index) if index is not None else key if key is not None else _unescaped(quoted))
        at = match.end()
    if not 0 < len(steps) <= MAX_STEPS:
        raise ValueError(f"a path has 1 to {MAX_STEPS} steps (got {len(steps)})")
    return tuple(steps)


def by_path(path: str, time_path: str | None = None) -> Extract:
    """Take the number at a path into JSON, and its time at another.

    Raises:
        ValueError: one is no path.
    """
    steps, time_steps = parse_path(path), parse_path(time_path) if time_path is not None else None

    def extract(text: str) -> Value:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueMissingError("its answer is no JSON") from None
        number = _number(_at(tree, steps, path), path)
        if time_steps is None:
            return Value(number)
        moment = _at(tree, time_steps, str(time_path))
        try:
            return Value(number, unix_s(str(moment)))
        except (ValueError, OverflowError):
            raise ValueMissingError(f"'{time_path}' is no time: Unix seconds, or ISO 8601 with a zone") from None

    return extract


def _at(tree: Any, steps: Sequence[str | int], path: str) -> Any:
    for step in steps:
        inside = isinstance(tree, Sequence) and not isinstance(tree, str)
        fits = inside and step < len(tree) if isinstance(step, int) else isinstance(tree, Mapping) and step in tree
        if not fits:
            raise ValueMissingError(f"there is no '{path}' in its answer (at {step!r})")
        tree = tree[step]
    return tree


def _number(value: Any, name: str) -> float:
    """The number, which may stand as text; booleans and numbers that are none are refused."""
    text = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not _NUMBER.fullmatch(text):
        raise ValueMissingError(f"'{name}' is no number in its answer")
    if not math.isfinite(number := float(text)):
        raise ValueMissingError(f"'{name}' is no finite number in its answer")
    return number


class Series(NamedTuple):
    """One time series of a Prometheus text: name, labels and what follows them."""

    name: str
    labels: dict[str, str]
    rest: str


def parse_series(line: str) -> Series:
    """Parse `name{label="value", …} rest`.

    Raises:
        ValueError: it is none.
    """
    name = _METRIC.match(line)
    if name is None:
        raise ValueError('no metric, such as DCGM_FI_DEV_POWER_USAGE{gpu="0"}')
    at, labels = name.end(), dict[str, str]()
    opening = re.compile(r"\s*\{").match(line, at)
    if opening is None:
        return Series(name[0], labels, line[at:])
    at = opening.end()
    while not (closing := re.compile(r"\s*\}").match(line, at)):
        label = _LABEL.match(line, at)
        if label is None or label[1] in labels:
            raise ValueError(f'no labels in {name[0]}{{…}}: each reads name="value", once, with commas between')
        labels[label[1]] = _unescaped(label[2])
        at = label.end()
        if line.startswith(",", at):
            at += 1
        elif not line.startswith("}", at):
            raise ValueError(f"no comma or }} after label {label[1]} of {name[0]}")
    return Series(name[0], labels, line[closing.end() :])


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)


def by_metric(selector: str) -> Extract:
    """Take the one series of a Prometheus or OpenMetrics text that has a name and, among others, some labels.

    Raises:
        ValueError: it is no selector.
    """
    wanted = parse_series(selector.strip())
    if wanted.rest.strip():
        raise ValueError(f"more than one metric: '{short(wanted.rest, 40)}' follows it")

    def extract(text: str) -> Value:
        found = list(_matching(text, wanted))
        if not found:
            raise ValueMissingError(f"there is no {selector.strip()} in its answer")
        if len(found) > 1:
            told = {k for s in found for k in s.labels if len({o.labels.get(k) for o in found}) > 1}
            by = f"; they differ by {', '.join(sorted(told))}" if told else ""
            raise ValueMissingError(f"{selector.strip()} stands for {len(found)} series{by}")
        # an OpenMetrics text ends in this line, has times in seconds, and may have exemplars behind them
        is_open = text.rstrip().endswith("# EOF")
        words = found[0].rest.partition(" # ")[0].split()
        number = _number(words[0] if words else None, wanted.name)
        try:
            at_s = float(words[1]) / (1.0 if is_open else 1000.0) if len(words) > 1 else None
        except ValueError:
            at_s = None
        return Value(number, at_s if at_s is not None and math.isfinite(at_s) else None)

    return extract


def _matching(text: str, wanted: Series) -> Iterator[Series]:
    for line in text.split("\n"):
        if not line.lstrip().startswith(wanted.name):
            continue
        try:
            series = parse_series(line.strip())
        except ValueError:
            continue
        if series.name == wanted.name and wanted.labels.items() <= series.labels.items():
            yield series


def after_words(words: str) -> Extract:
    """Take the first number after some words, as of `Instantaneous power reading:   220 Watts`."""
    pattern = re.compile(rf"{re.escape(words)}[\s:=]*({_NUMBER.pattern})", re.ASCII)

    def extract(text: str) -> Value:
        match = pattern.search(text)
        if match is None:
            raise ValueMissingError(f"there is no number after '{words}' in its answer")
        return Value(_number(match[1], words))

    return extract

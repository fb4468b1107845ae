"""Numbers out of answers: paths into JSON, series of Prometheus, words. Any answer gives one, or says why not."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.meters.live_values import (
    ValueMissingError,
    after_words,
    by_metric,
    by_path,
    parse_path,
    parse_series,
)

PLAIN = st.text(st.characters(exclude_characters='.[]"', exclude_categories=("Cs",)), min_size=1, max_size=8)
ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(10**12), 10**12)
LABEL = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
METRIC = st.from_regex(r"[A-Za-z_:][A-Za-z0-9_:]{0,10}", fullmatch=True)


def quoted(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@st.composite
def answers(draw):
    """A JSON tree with a number in it, and the path to it in one of its spellings."""
    number = draw(NUMBERS)
    tree, path = draw(st.sampled_from([number, str(number)])), ""
    for step in reversed(draw(st.lists(PLAIN | ANY.map(lambda t: ("quoted", t)) | st.integers(0, 3), min_size=1))):
        if isinstance(step, int):
            tree, part = [None] * step + [tree, {}], f"[{step}]"
        elif isinstance(step, tuple):
            tree, part = {step[1]: tree, step[1] + "x": 1}, f'["{quoted(step[1])}"]'
        else:
            tree, part = {step + "x": 1, step: tree}, f".{step}"
        path = part + path
    return json.dumps(tree), path.removeprefix("."), number


@given(answers())
def test_a_path_finds_its_number(answer):
    text, path, number = answer
    assert by_path(path)(text).number == number


@given(ANY, ANY)
def test_any_path_into_any_text_gives_a_number_or_says_why(path, text):
    try:
        extract = by_path(path)
    except ValueError:
        return
    with pytest.raises(ValueMissingError):
        extract(text)


@settings(max_examples=50)
@given(st.recursive(st.none() | st.booleans() | NUMBERS | ANY, lambda t: st.lists(t) | st.dictionaries(ANY, t)))
def test_any_tree_gives_a_finite_number_or_says_why(tree):
    for path in ("a", "[0]", "[0].a", '["a.b"][1]'):
        try:
            assert math.isfinite(by_path(path)(json.dumps(tree)).number)
        except ValueMissingError:
            continue


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("apower", ("apower",)),
        ("meters[0].power", ("meters", 0, "power")),
        ("switch:0.apower", ("switch:0", "apower")),
        ('["a.b"].c', ("a.b", "c")),
        ('x["say \\"q\\""][2][3]', ("x", 'say "q"', 2, 3)),
        ("[1].a b", (1, "a b")),
    ],
)
def test_paths(path, steps):
    assert parse_path(path) == steps


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[01]", "[0]a", 'a"b', "a]"]
)
def test_no_paths(path):
    with pytest.raises(ValueError):
        parse_path(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "no 'a.b' in its answer"),
        ('{"a": [1]}', "no 'a.b' in its answer"),
        ('{"a": {"b": true}}', "'a.b' is no number"),
        ('{"a": {"b": null}}', "'a.b' is no number"),
        ('{"a": {"b": "12 W"}}', "'a.b' is no number"),
        ('{"a": {"b": "1_000"}}', "'a.b' is no number"),
        ('{"a": {"b": NaN}}', "'a.b' is no number"),
        ('{"a": {"b": 1e999}}', "'a.b' is no number"),
        ('{"a": {"b": "1e999"}}', "'a.b' is no finite number"),
    ],
)
def test_answers_without_the_number(text, said):
    with pytest.raises(ValueMissingError, match=said):
        by_path("a.b")(text)


@pytest.mark.parametrize(
    ("moment", "unix_s"),
    [("1700000000.5", 1700000000.5), ('"2023-11-14T22:13:20.5Z"', 1700000000.5), ("1700000000", 1700000000.0)],
)
def test_times(moment, unix_s):
    assert by_path("w", "at")(f'{{"w": 5, "at": {moment}}}') == (5.0, unix_s)


@pytest.mark.parametrize("moment", ["1700000000000", '"12:30"', '"2023-11-14T22:13:20"', "null", "[]"])
def test_times_that_are_none(moment):
    with pytest.raises(ValueMissingError, match="'at' is no time"):
        by_path("w", "at")(f'{{"w": 5, "at": {moment}}}')


@st.composite
def pages(draw):
    """A Prometheus text of several series of one name, and a selector of one of them with its number and time."""
    name, key = draw(METRIC), draw(LABEL)
    values = draw(st.lists(ANY, min_size=1, max_size=5, unique=True))
    more = draw(st.dictionaries(LABEL.filter(lambda k: k != key), ANY, max_size=2))
    lines, chosen = [], draw(st.integers(0, len(values) - 1))
    numbers = [draw(NUMBERS) for _ in values]
    times = [draw(st.none() | st.integers(0, 2 * 10**12)) for _ in values]
    for value, number, at_ms in zip(values, numbers, times, strict=True):
        labels = ",".join(f'{k}="{quoted(v)}"' for k, v in {**more, key: value}.items())
        lines.append(
            f"{name}{{{labels}{draw(st.sampled_from(['', ',']))}}} {number}"
            + ("" if at_ms is None else f" {at_ms}")
        )
    page = "\n".join(["# HELP x", *lines, f"{name}_more 5", f"other_{name} 6", ""])
    selector = f'{name}{{{key}="{quoted(values[chosen])}"}}'
    return page, selector, float(numbers[chosen]), times[chosen], len(values), name


@settings(max_examples=40)
@given(pages())
def test_a_selector_finds_its_series(page):
    text, selector, number, at_ms, count, name = page
    value = by_metric(selector)(text)
    assert value.number == number
    assert value.at_unix_s == (None if at_ms is None else at_ms / 1000)
    if count > 1:
        with pytest.raises(ValueMissingError, match=f"stands for {count} series; they differ by"):
            by_metric(name)(text)


@given(ANY, ANY)
def test_any_selector_of_any_text_gives_a_number_or_says_why(selector, text):
    try:
        extract = by_metric(selector)
    except ValueError:
        return
    with pytest.raises(ValueMissingError):
        extract(text)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "x", ""])
def test_what_is_no_number_in_a_series(value):
    with pytest.raises(ValueMissingError):
        by_metric("a")(f"a {value}\n")


def test_open_metrics():
    text = '# TYPE a counter\na_total{x="1"} 17.5 1700000000.25 # {trace="1 2"} 0.5 1\n# EOF\n'
    assert by_metric("a_total")(text) == (17.5, 1700000000.25)


@pytest.mark.parametrize(
    "selector", ["", "1a", "{a}", "a{", "a{b}", "a{b=c}", 'a{b="c"', 'a{b="c" d="e"}', 'a{b="c",b="c"}', "a b"]
)
def test_no_selectors(selector):
    with pytest.raises(ValueError):
        by_metric(selector)
    with pytest.raises(ValueError):
        by_metric(selector + "{")


def test_a_series_in_parts():
    assert parse_series('a{b="}\\"\\\\\\n", c = "" , } 5 6') == ("a", {"b": '}"\\\n', "c": ""}, " 5 6")


@pytest.mark.parametrize(
    ("words", "text", "number"),
    [
        ("power:", "power:  220 Watts", 220.0),
        ("power", "x power = -1.5e3W", -1500.0),
        ("", "37000000\n", 37e6),
        ("a.b*", "a.b* .5", 0.5),
        ("power", "no power here, power 7", 7.0),
    ],
)
def test_a_number_after_words(words, text, number):
    assert after_words(words)(text).number == number


@given(ANY, NUMBERS, ANY)
def test_words_before_a_number(words, number, rest):
    assert after_words(f"{words}:")(f"{words}: {number} {rest}").number == number


def test_no_number_after_words():
    with pytest.raises(ValueMissingError, match="no number after 'power'"):
        after_words("power")("the power is out")

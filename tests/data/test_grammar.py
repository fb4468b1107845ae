"""Generated text: the same everywhere, well formed, and its entropy what the generator says."""

from __future__ import annotations

import lzma
import re
from collections import Counter
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.data import grammar, load_arrays
from joulebench.data.grammar import generate
from joulebench.spec.task import Dataset
from tests.data_sources import refused

N = 300_000


@pytest.fixture(scope="module")
def text() -> str:
    return generate(N, seed=0)[0].decode("ascii")


@given(shorter=st.integers(1, 3000), more=st.integers(0, 3000), seed=st.integers(0, 1_000_000))
def test_a_seed_is_one_text_of_any_length(shorter: int, more: int, seed: int) -> None:
    long = generate(shorter + more, seed)[0]
    assert len(long) == shorter + more
    assert generate(shorter, seed)[0] == long[:shorter]


def test_the_text_is_fixed_for_good() -> None:
    arrays = load_arrays(Dataset(name="grammar", n=10_000, validation=1_000, seed=7))
    assert (arrays.content.dtype, arrays.content.shape) == (np.uint8, (10_000,))
    assert arrays.fingerprint == "f2f198eb51171305"
    assert arrays.source == "grammar, seed 7"
    assert arrays.content.tobytes().startswith(b"bo has 82 cups . gus has 19 farmers . some nuts that see the")
    assert generate(10_000, 8)[0] != arrays.content.tobytes()


def test_numbers_agree_with_what_was_said_and_reckoned(text: str) -> None:
    paragraphs = text.split("\n")[:-1]
    for paragraph in paragraphs:
        facts = re.findall(r"(?:^|\. )(\w+ has \d+ \w+)", paragraph)
        recalled = re.search(r" so (\w+ has \d+ \w+) \.$", paragraph)
        assert 1 <= len(facts) <= 3
        assert recalled[1] in facts
    sums = re.findall(r"([\d+()-]+)=(-?\d+) \.", text)
    assert len(sums) > len(paragraphs)
    assert any("((" in left for left, _ in sums)
    assert all(eval(left) == int(right) for left, right in sums[:500])


def test_subjects_and_verbs_agree(text: str) -> None:
    """In the plainest clauses: determiner, noun, verb."""
    verbs = "|".join(f"{verb}s?" for verb in grammar.INTRANSITIVE)
    clauses = re.findall(rf"\. (?:the|a|every|some|many) (\w+) ({verbs}) \.", text)
    assert len(clauses) > 100
    assert all(noun.endswith("s") != verb.endswith("s") for noun, verb in clauses)


def test_no_text_has_two_derivations() -> None:
    """Then the probability of its one derivation is its own, and the entropy is exact: no word has two roles."""
    words = [word for members in grammar._MEMBERS.values() for word in members]
    words += [*grammar.NAMES, "the", "a", "every", "some", "many", "that", "so", "has"]
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_the_floor_lies_below_every_compressor_and_is_steady(text: str) -> None:
    floors = [generate(N, seed)[1] for seed in range(3)]
    assert max(floors) - min(floors) < 0.02 * min(floors)
    packed = len(lzma.compress(text.encode(), preset=9)) * 8 * log(2) / N
    assert 0.4 < floors[0] < packed


def test_choices_tell_what_their_probabilities_say() -> None:
    """Of many draws: frequencies as the weights, and -ln of the probability counted for each."""
    options = grammar._Options.of([6, 3, 1], ["a", "b", "c"])
    writer = grammar._Writer(grammar._random(0))
    seen = Counter(writer.choose(options) for _ in range(20_000))
    assert [seen[thing] / 20_000 for thing in "abc"] == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    assert writer.nats == pytest.approx(seen["a"] * log(1 / 0.6) + seen["b"] * log(1 / 0.3) + seen["c"] * log(10))


def test_a_grammar_without_its_length_is_refused() -> None:
    bare = Dataset(name="grammar", n=10, validation=1).model_copy(update={"n": None})
    refused(lambda: load_arrays(bare), "grammar", "need n")

"""Text made by a small probabilistic grammar: the same bytes everywhere, and an entropy that is known.

A paragraph states facts, goes on with sentences and sums, and recalls one of the facts:

    ana has 17 nuts . bo has 4 keys . the dog that some cats see runs . (3+4)-2=5 . so bo has 4 keys .

Spelling and words can be learnt from a few bytes of context, agreement and brackets from a clause or more, the
recalled fact only from what stands a hundred bytes before it, and a sum only by reckoning: larger models with
longer contexts do get a lower loss.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import log

import numpy as np

from joulebench.data.arrays import GRAMMAR

NAMES = ("ana", "bo", "carla", "dov", "emil", "fay", "gus", "hana", "igor", "juno", "kim", "lea")
NOUNS = (
    "dog", "cat", "bird", "nut", "key", "cup", "tree", "stone", "river", "boat", "farmer", "king",
    "song", "road", "lamp", "cloud", "book", "door", "garden", "horse", "bridge", "island", "letter", "window",
)  # fmt: skip
ADJECTIVES = ("old", "small", "red", "quiet", "tall", "happy", "green", "strange", "cold", "bright", "heavy")
ADVERBS = ("today", "slowly", "again", "often", "here", "alone")
TRANSITIVE = ("see", "like", "find", "follow", "hold", "hear", "want", "paint", "need", "remember")
INTRANSITIVE = ("run", "sleep", "sing", "wait", "fall", "laugh", "turn", "dream")

# Rules as (weight, what stands in its place); # is the number, 1 or N, in which subject and verb agree. Every text
# has one derivation only, so that its probability is the product of the choices that made it.
_RULES: dict[str, list[tuple[int, str]]] = {
    "clause": [(3, "np1 vp1"), (2, "npN vpN")],
    "np#": [(5, "det# noun#"), (3, "det# adjective noun#"), (4, "det# noun# that relative#")],
    "relative#": [(2, "vp#"), (1, "np1 transitive1"), (1, "npN transitiveN")],
    "vp#": [(3, "intransitive#"), (1, "intransitive# adverb"), (3, "transitive# np1"), (2, "transitive# npN")],
    "det1": [(4, "the"), (3, "a"), (1, "every")],
    "detN": [(4, "the"), (2, "some"), (1, "many")],
}
_MEMBERS = {
    "noun1": NOUNS,
    "nounN": [f"{noun}s" for noun in NOUNS],
    "transitive1": [f"{verb}s" for verb in TRANSITIVE],
    "transitiveN": TRANSITIVE,
    "intransitive1": [f"{verb}s" for verb in INTRANSITIVE],
    "intransitiveN": INTRANSITIVE,
    "adjective": ADJECTIVES,
    "adverb": ADVERBS,
}
MAX_DEPTH = 3  # of brackets


@dataclass(frozen=True)
class _Options:
    """Things to choose among, with whole-number weights."""

    things: Sequence[str]
    bounds: Sequence[int]  # running sums of the weights
    nats: Sequence[float]  # what each choice tells: -ln of its probability

    @classmethod
    def of(cls, weights: Sequence[int], things: Sequence[str]) -> _Options:
        total = sum(weights)
        return cls(things, tuple(accumulate(weights)), tuple(log(total / weight) for weight in weights))

    @classmethod
    def even(cls, things: Sequence[str]) -> _Options:
        return cls.of([1] * len(things), things)

    @classmethod
    def ranked(cls, things: Sequence[str]) -> _Options:
        """The first is the most frequent and the k-th has 1/k of its share, as words have (Zipf's law)."""
        return cls.of([120 // rank for rank in range(1, len(things) + 1)], things)


def _tables() -> dict[str, _Options]:
    tables = {name: _Options.ranked(words) for name, words in _MEMBERS.items()}
    for name, rules in _RULES.items():
        weights = [weight for weight, _ in rules]
        for number in "1N" if "#" in name else "1":
            tables[name.replace("#", number)] = _Options.of(weights, [r.replace("#", number) for _, r in rules])
    return tables


_TABLES = _tables()
_FACTS = _Options.of([1, 2, 1], ["1", "2", "3"])
_NUMBERS = _Options.even([str(number) for number in range(2, 100)])
_NEXT = _Options.of([6, 3, 2], ["clause", "sum", "recall"])  # five sentences or so before the recall
_TERM = _Options.of([3, 1], ["digit", "bracket"])
_DIGITS = _Options.even("0123456789")
_SIGNS = _Options.even("+-")


@dataclass
class _Writer:
    """Writes paragraphs and keeps count of what its choices told."""

    random: Iterator[int]
    nats: float = 0.0
    words: list[str] = field(default_factory=list)

    def choose(self, options: _Options) -> str:
        # the remainder favours small values by less than one part in 10^15
        index = bisect(options.bounds, next(self.random) % options.bounds[-1])
        self.nats += options.nats[index]
        return options.things[index]

    def paragraph(self) -> str:
        self.words = []
        facts = self._facts()
        while (kind := self.choose(_NEXT)) != "recall":
            if kind == "clause":
                self._clause()
            else:
                self.words += [self._sum(), "."]
        name = self.choose(_Options.even(list(facts)))
        self.words += ["so", name, *facts[name]]
        return " ".join(self.words) + "\n"

    def _facts(self) -> dict[str, list[str]]:
        facts: dict[str, list[str]] = {}
        for _ in range(int(self.choose(_FACTS))):
            name = self.choose(_Options.even([name for name in NAMES if name not in facts]))
            facts[name] = ["has", self.choose(_NUMBERS), self.choose(_TABLES["nounN"]), "."]
            self.words += [name, *facts[name]]
        return facts

    def _clause(self) -> None:
        waiting = ["clause"]
        while waiting:
            symbol = waiting.pop()
            if (options := _TABLES.get(symbol)) is None:
                self.words.append(symbol)
            else:
                waiting += reversed(self.choose(options).split())
        self.words.append(".")

    def _sum(self) -> str:
        text, value = self._pair(depth=0)
        return f"{text}={value}"

    def _pair(self, depth: int) -> tuple[str, int]:
        left, a = self._term(depth)
        sign = self.choose(_SIGNS)
        right, b = self._term(depth)
        return f"{left}{sign}{right}", a + b if sign == "+" else a - b

    def _term(self, depth: int) -> tuple[str, int]:
        if depth < MAX_DEPTH and self.choose(_TERM) == "bracket":
            text, value = self._pair(depth + 1)
            return f"({text})", value
        digit = self.choose(_DIGITS)
        return digit, int(digit)


def _random(seed: int) -> Iterator[int]:
    """PCG64's raw stream, which numpy promises never to change."""
    bits = np.random.PCG64([seed, GRAMMAR])
    while True:
        yield from bits.random_raw(4096).tolist()


def generate(n: int, seed: int) -> tuple[bytes, float]:
    """`n` bytes of ASCII text, and the nats per byte that its choices told: no model's mean loss can be lower.

    More exactly, no model's loss on fresh text is lower on average. The last paragraph is cut at `n`; a longer text
    of the same seed begins with the shorter one.
    """
    writer = _Writer(_random(seed))
    paragraphs: list[str] = []
    length = 0
    while length < n:
        paragraphs.append(writer.paragraph())
        length += len(paragraphs[-1])
    return "".join(paragraphs).encode("ascii")[:n], writer.nats / length

"""Correlation coefficients in sentences, cells and matrices with weak ones masked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from joulebench.presentation.numbers import ABSENT, number
from joulebench.presentation.table import Cell, Table, worded_cell
from joulebench.stats.correlation import MIN_FOR_INTERVAL, RESAMPLES, Correlation, Method

Row = TypeVar("Row")
Key = TypeVar("Key")

MASKED = "·"
SYMBOLS: dict[Method, str] = {
    "pearson": "Pearson r",
    "pearson_log": "Pearson r of logarithms",
    "spearman": "Spearman ρ",
}

HOW = (
    f"Intervals of coefficients are 95 % percentile bootstraps over configurations ({RESAMPLES} seeded draws): how "
    "much a coefficient depends on which configurations there are, not how well each was measured. Fewer than "
    f"{MIN_FOR_INTERVAL} configurations give no interval. The largest values dominate Pearson's r, but not "
    "Pearson's r of logarithms or Spearman's ρ (of ranks)."
)


def coefficient(correlation: Correlation) -> str:
    """`Pearson r 0.93, 95 % interval 0.81 to 0.98`."""
    ends = ""
    if correlation.low is not None and correlation.high is not None:
        ends = f", 95 % interval {rounded(correlation.low)} to {rounded(correlation.high)}"
    return f"{SYMBOLS[correlation.method]} {rounded(correlation.value)}{ends}"


def rounded(value: float) -> str:
    """Two decimals, three near ±1, which is not reached by rounding."""
    if abs(value) < 0.995:
        text = f"{value:.2f}"
    else:
        text = "1" if value == 1 else "-1" if value == -1 else f"{max(-0.999, min(0.999, value)):.3f}"
    return text.replace("-", "−")


def cell(correlation: Correlation | None, mask: float = 0.0) -> Cell:
    """A coefficient with its interval and n; a dot where its size is below `mask`."""
    if correlation is None:
        return Cell(ABSENT)
    if abs(correlation.value) < mask:
        return Cell(MASKED)
    return worded_cell(rounded, correlation.value, correlation.low, correlation.high, (f"n = {correlation.n}",))


def matrix(
    caption: str,
    rows: Sequence[tuple[Row, str]],
    columns: Sequence[tuple[Key, str]],
    read: Callable[[Row, Key], Correlation | None],
    mask: float,
) -> Table:
    """Coefficients of every row with every column, both given as (key, words); weak ones are masked."""
    masked = f"{MASKED} where the coefficient is within ±{number(mask)}, {ABSENT} where there is none"
    lines = tuple((Cell(words), *(cell(read(row, column), mask) for column, _ in columns)) for row, words in rows)
    return Table.of(f"{caption} ({masked})", ("", *(words for _, words in columns)), lines)

"""Numbers as text: 3–4 significant digits with a unit; a missing number is never 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from joulebench.stats.constants import JOULES_PER_KWH

if TYPE_CHECKING:
    from joulebench.stats.dispersion import Rsd
    from joulebench.stats.estimate import Estimate


NOT_MEASURED = "not measured"
ABSENT = "—"

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


#: Digits of decimals in CSV and JSON: the last bits of a sum or quantile differ between machines, these do not.
SIGNIFICANT = 6


def significant(value: float) -> float:
    """`value` to six significant digits, without negative zero; NaN and infinities as they are."""
    return float(f"{value:.{SIGNIFICANT}g}") + 0.0


def number(value: float | None, digits: int = 4) -> str:
    """`value` to `digits` significant digits, thousands apart: `5 812`, `0.9714`, `1.2e-07`."""
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4 or size >= 1e9:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return _minus(f"{_trim(mantissa)}e{int(exponent)}")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    if decimals == 0:
        return _minus(f"{round(value):,}".replace(",", " "))
    return _minus(_trim(f"{value:,.{decimals}f}").replace(",", " "))


def _trim(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: int | None) -> str:
    """A whole number in full: `119 248`."""
    return NOT_MEASURED if value is None else _minus(f"{value:,}".replace(",", " "))


def prefix(size: float) -> tuple[float, str]:
    """The SI prefix that brings `size` to 1 … 1000: its factor and its letter."""
    size = abs(size)
    if size == 0 or not math.isfinite(size):
        return 1.0, ""
    # a hair below, so that 999.96 rounds into the next prefix and not to "1 000 mJ"
    return next(((f, p) for f, p in _PREFIXES if size >= 0.9995 * f), _PREFIXES[-1])


def si(value: float | None, unit: str, digits: int = 3) -> str:
    """`value` with an SI prefix: `12.3 mJ`, `4.2 kJ`."""
    if value is None:
        return NOT_MEASURED
    factor, letter = prefix(value)
    return f"{number(value / factor, digits)} {letter}{unit}".rstrip()


def joules(value: float | None) -> str:
    return si(value, "J", 4)


def kilowatt_hours(energy_j: float | None) -> str:
    return NOT_MEASURED if energy_j is None else f"{number(energy_j / JOULES_PER_KWH, 3)} kWh"


def watts(value: float | None) -> str:
    return si(value, "W", 4)


def seconds(value: float | None) -> str:
    """`12.3 ms`, `183 s`, `16.2 min`, `2.05 h`."""
    if value is None:
        return NOT_MEASURED
    if abs(value) < 1:
        return si(value, "s")
    if abs(value) < 600:
        return f"{number(value, 3)} s"
    if abs(value) < 7200:
        return f"{number(value / 60, 3)} min"
    return f"{number(value / 3600, 3)} h"


def octets(value: int | None) -> str:
    """Memory in binary units: `212 MiB`."""
    if value is None:
        return NOT_MEASURED
    factor, unit = binary_prefix(value)
    return f"{number(value / factor, 3)} {unit}"


def binary_prefix(size: float) -> tuple[float, str]:
    """The binary unit that brings `size` to 1 … 1024: its bytes and its name."""
    for factor, unit in ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")):
        if abs(size) >= factor:
            return factor, unit
    return 1.0, "B"


def percent(share: float | None) -> str:
    """`62 %`; small shares keep their digits, and only an exact 0 or 1 is shown as 0 % or 100 %."""
    if share is None:
        return NOT_MEASURED
    if 0.999 < share < 1:
        return "> 99.9 %"
    if 0 < share < 0.0005:
        return "< 0.05 %"
    return f"{number(100 * share, 3)} %"


def ratio_percent(ratio: float | None) -> str:
    """`100.5 %`: a ratio that may lie on either side of 1, to four digits."""
    return NOT_MEASURED if ratio is None else f"{number(100 * ratio)} %"


def grams(value: float) -> str:
    return f"{number(value / 1000, 3)} kg" if value >= 1000 else f"{number(value, 3)} g"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def interval(value: Estimate, factor: float = 1.0) -> str | None:
    """`[0.9702, 0.9741]`; None for a single value that has none."""
    if value.low is None and value.high is None:
        return "[no end]" if value.n > 1 else None
    low = "−∞" if value.low is None else number(value.low / factor)
    high = "∞" if value.high is None else number(value.high / factor)
    return f"[{low}, {high}]"


def sample_size(value: Estimate) -> str:
    """`n = 5 windows within a run`; `single run`."""
    return value.varied if value.n < 2 else f"n = {value.n} {value.varied}"


def rsd_words(rsd: Rsd) -> str:
    """`0.42 % (95 % interval 0.29 % to 0.77 %)`."""
    return f"{percent(rsd.value)} (95 % interval {percent(rsd.low)} to {percent(rsd.high)})"


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """One bar for each value, from the lowest to the highest; bars of middle height where all are equal."""
    low, high = min(values), max(values)
    if not high > low:
        return _BARS[len(_BARS) // 2 - 1] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, int(len(_BARS) * (v - low) / (high - low)))] for v in values)

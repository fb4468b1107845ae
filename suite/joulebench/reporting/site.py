"""Report of a run for another PUE or grid intensity. Pure."""

from __future__ import annotations

import math
from typing import Any

from joulebench.errors import InputError
from joulebench.records.model import Manifest


def at_site(
    manifest: Manifest, *, pue: float | None = None, grid_intensity_g_per_kwh: float | None = None
) -> Manifest:
    """The manifest with another PUE or grid intensity (g CO2/kWh); unchanged where neither is given.

    Nothing is written back: records hold joules at the meters, and these factors are applied once, in the report.

    Raises:
        InputError: a PUE below 1, or an intensity below 0.
    """
    changes: dict[str, Any] = {}
    if pue is not None:
        changes["pue"] = _fact(pue, 1.0, "--pue")
    if grid_intensity_g_per_kwh is not None:
        changes["grid_intensity_g_per_kwh"] = _fact(grid_intensity_g_per_kwh, 0.0, "--grid-intensity")
    return manifest.model_copy(update={"hardware": {**manifest.hardware, **changes}}) if changes else manifest


def _fact(value: float, least: float, option: str) -> dict[str, object]:
    if not math.isfinite(value) or value < least:
        raise InputError(f"{option}: must be at least {least:g} (got {value:g})")
    return {"value": value, "source": f"given with {option} for the report"}

"""Efficiency: achieved FLOP/s, FLOP/J and the fraction of the hardware's peak. Pure.

Achieved FLOP/s = FLOPs of a unit of work / seconds of a unit; FLOP/J = FLOPs of a unit / joules of a unit. FLOPs
are counted (`joulebench.workloads.flops`: 2 a multiply-accumulate), not observed, so operators that could not be
counted make both too low. The ridge point, peak / bandwidth, is the roofline model's (Williams, Waterman, Patterson
2009): work that does fewer FLOPs a byte of memory traffic cannot reach the peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulebench.spec.hardware import Dtype, HardwareProfile
from joulebench.spec.parameters import Params
from joulebench.stats.estimate import Estimate, reciprocal
from joulebench.stats.intervals import scaled

#: As parameters name a data type -> as profiles do.
_NAMES: dict[str, Dtype] = {
    "float64": "fp64", "double": "fp64", "fp64": "fp64",
    "float32": "fp32", "float": "fp32", "fp32": "fp32", "single": "fp32",
    "tf32": "tf32",
    "float16": "fp16", "half": "fp16", "fp16": "fp16",
    "bfloat16": "bf16", "bf16": "bf16",
    "float8": "fp8", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "fp8": "fp8",
    "fp4": "fp4", "int8": "int8", "int4": "int4",
}  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """The dense peak of one data type. `ridge_flop_per_byte` is absent where the bandwidth is not known."""

    dtype: Dtype
    flops_per_s: float
    source: str
    ridge_flop_per_byte: float | None = None


@dataclass(frozen=True)
class Efficiency:
    """Achieved rates and the fraction of `peak`; `flops_per_j` is None where joules are unknown or not positive."""

    flops_per_s: Estimate
    flops_per_j: Estimate | None
    fraction: Estimate
    peak: Peak


def run_dtype(params: Params, environment: Mapping[str, Any], profile: HardwareProfile) -> Dtype | None:
    """Data type whose peak limits a run: parameter `dtype`, else fp32; None for one that no profile knows.

    Single precision is tf32 where torch may use it for matrix products and the device has it. torch's default,
    tf32 in convolutions alone, is fp32 here; see `convolutions_may_use_tf32`.
    """
    given = params.get("dtype")
    dtype = "fp32" if given is None else _NAMES.get(str(given).lower().removeprefix("torch."))
    allowed = _torch(environment).get("tf32_matmul") is True
    return "tf32" if dtype == "fp32" and allowed and _has_tf32(environment, profile) else dtype


def convolutions_may_use_tf32(environment: Mapping[str, Any], profile: HardwareProfile) -> bool:
    """Whether convolutions in fp32 may have run faster than fp32's peak: torch's default on GPUs that have tf32."""
    return _has_tf32(environment, profile) and _torch(environment).get("tf32_conv") is not False


def _has_tf32(environment: Mapping[str, Any], profile: HardwareProfile) -> bool:
    return "tf32" in profile.peak_flops and str(environment.get("device", "")).startswith("cuda")


def _torch(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = environment.get("torch")
    return settings if isinstance(settings, Mapping) else {}


def peak_of(profile: HardwareProfile, dtype: Dtype | None) -> Peak | None:
    """The profile's peak for a data type; None where it states none."""
    fact = profile.peak_flops.get(dtype) if dtype is not None else None
    if dtype is None or fact is None:
        return None
    bandwidth = profile.memory_bandwidth_bytes_per_s
    return Peak(dtype, fact.value, fact.source, fact.value / bandwidth.value if bandwidth else None)


def efficiency(
    flops_per_unit: float | None, unit_s: Estimate | None, j_per_unit: Estimate | None, peak: Peak | None
) -> Efficiency | None:
    """Achieved rates of a phase over its valid windows, with the intervals of time and joules a unit.

    Args:
        flops_per_unit: counted FLOPs of one unit of the phase.
        unit_s: seconds a unit.
        j_per_unit: gross joules a unit, over the domains of the objective.

    None where FLOPs, time or peak are not known.
    """
    if not flops_per_unit or unit_s is None or peak is None:
        return None
    units_per_s = reciprocal(unit_s)
    if units_per_s is None:
        return None
    units_per_j = reciprocal(j_per_unit) if j_per_unit is not None else None
    return Efficiency(
        flops_per_s=scaled(units_per_s, flops_per_unit),
        flops_per_j=scaled(units_per_j, flops_per_unit) if units_per_j is not None else None,
        fraction=scaled(units_per_s, flops_per_unit / peak.flops_per_s),
        peak=peak,
    )

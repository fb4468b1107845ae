"""Findings: what a reader should know of the numbers, and the mark of an interval that is too wide. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from joulebench.spec.task import Protocol
    from joulebench.stats.estimate import Estimate


#: What stands beside a value whose interval is wider than the protocol asks for.
WIDE = "wide interval"


@dataclass(frozen=True)
class Diagnosis:
    """One finding. `warning` touches what the numbers mean; `note` is for information."""

    level: Literal["warning", "note"]
    title: str
    text: str


def is_wide(value: Estimate, protocol: Protocol) -> bool:
    """Whether an interval is wider than the protocol asks for, or has no end; a single value has none to judge."""
    if value.n < 2 and value.low is None and value.high is None:
        return False
    half = value.rel_half_width
    return half is None or half > protocol.target_rel_ci


def wide_flag(value: Estimate, protocol: Protocol) -> str:
    """`, wide interval` behind a value that has one; else nothing."""
    return f", {WIDE}" if is_wide(value, protocol) else ""

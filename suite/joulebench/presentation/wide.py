"""Flag for confidence intervals that are wider than the protocol's target. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joulebench.spec.task import Protocol
    from joulebench.stats.estimate import Estimate


#: Flag beside a value whose interval is wider than the protocol's target.
WIDE = "wide interval"


def is_wide(value: Estimate, protocol: Protocol) -> bool:
    """Whether an interval is wider than the protocol's target, or has no end; False for a single value."""
    if value.n < 2 and value.low is None and value.high is None:
        return False
    if value.low is not None and value.low == value.high:
        return False  # of zeros, too, which have no relative width
    half = value.rel_half_width
    return half is None or half > protocol.target_rel_ci


def wide_flag(value: Estimate, protocol: Protocol) -> str:
    """`, wide interval` behind a value that has one; else nothing."""
    return f", {WIDE}" if is_wide(value, protocol) else ""

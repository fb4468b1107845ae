"""What generating text costs: a request whole, and its prefill and decode apart, for every configuration. Pure.

A step of `prefill` is one batch's prompts, at whose end each sequence has its first token; a step of `decode` makes
the others; a step of `request` is both, as a user sees it. Energy is gross unless called net, over the domains that
the task's energy objectives name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from joulebench.records.model import Costs, Kind, TrialRecord, Window, combined
from joulebench.results.outcome import Configuration, configurations, idle_windows
from joulebench.results.phase_cost import (
    PhaseCost,
    counted,
    families,
    flops_per_unit,
    phase_cost,
    step_mean,
    step_quantile,
    varied,
)
from joulebench.spec.parameters import Params, is_number
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, reciprocal
from joulebench.stats.intervals import plus, ratio, scaled

PREFILL, DECODE, REQUEST = "prefill", "decode", "request"
PHASES = (REQUEST, PREFILL, DECODE)
BATCH = "batch_size"
#: The share of decode's time that goes to putting the cache back as it was after the prompt.
RESTORE_SHARE = "decode_restore_share"
#: From here on that share is flagged: decode looks dearer than it is.
MAX_RESTORE_SHARE = 0.01
#: Prefill and decode that add up to the request within this share agree, whatever their intervals.
CLOSURE_TOLERANCE = 0.05
_APART = "phases measured apart"


@dataclass(frozen=True)
class Part:
    """One phase of one configuration; `mean_s`, `p50_s` and `p95_s` are of a step, None where it is not timed."""

    cost: PhaseCost
    flops_per_unit: float | None
    mean_s: Estimate | None
    p50_s: Estimate | None
    p95_s: Estimate | None

    @property
    def step_j(self) -> Estimate | None:
        return scaled(self.cost.gross, self.cost.step_units) if self.cost.step_units else None

    @property
    def flops_per_j(self) -> Estimate | None:
        per_j = self.cost.units_per_j
        return scaled(per_j, self.flops_per_unit) if per_j is not None and self.flops_per_unit else None


@dataclass(frozen=True)
class Generator:
    """One configuration with what was measured of it; what was not is absent."""

    params: Params
    trials: tuple[int, ...]
    batch: float | None
    parts: Mapping[str, Part]
    memory_bytes: int | None
    memory_limit_bytes: int | None
    restore_share: float | None

    @property
    def memory_share(self) -> float | None:
        if self.memory_bytes is None or not self.memory_limit_bytes:
            return None
        return self.memory_bytes / self.memory_limit_bytes

    @property
    def requests_per_s(self) -> Estimate | None:
        """Sequences completed a second: the batch over a request's mean seconds."""
        request = self.parts.get(REQUEST)
        each = reciprocal(request.mean_s) if request is not None and request.mean_s is not None else None
        return scaled(each, self.batch) if each is not None and self.batch else None

    @property
    def tokens_per_sequence(self) -> float | None:
        """Tokens of a sequence that a decode step makes: N − 1."""
        decode = self.parts.get(DECODE)
        if decode is None or not decode.cost.step_units or not self.batch:
            return None
        return decode.cost.step_units / self.batch

    def per_token_s(self, read: Callable[[Part], Estimate | None]) -> Estimate | None:
        """Time per output token: a decode step's seconds over the tokens each sequence got in it."""
        decode, tokens = self.parts.get(DECODE), self.tokens_per_sequence
        step_s = read(decode) if decode is not None else None
        return scaled(step_s, 1 / tokens) if step_s is not None and tokens else None

    def share(self, phase: str) -> Estimate | None:
        """Joules of a phase's step over a whole request's; None where they count different domains."""
        part, request = self.parts.get(phase), self.parts.get(REQUEST)
        if part is None or request is None or part.cost.domains != request.cost.domains:
            return None
        own, whole = part.step_j, request.step_j
        return ratio(own, whole, _APART) if own is not None and whole is not None else None

    @property
    def closure(self) -> Estimate | None:
        """(Prefill + decode) / request, each measured in windows of its own: 1 if nothing is lost between them."""
        found = [self.parts.get(name) for name in PHASES]
        joules = [p.step_j for p in found if p is not None]
        if len(joules) < len(PHASES) or len({p.cost.domains for p in found if p is not None}) > 1:
            return None
        request, prefill, decode = joules
        if request is None or prefill is None or decode is None:
            return None
        return ratio(plus(prefill, decode, _APART), request, _APART)

    @property
    def closes(self) -> bool | None:
        """Whether the parts add up to the request, within the tolerance or the interval; None if not known."""
        closure = self.closure
        if closure is None:
            return None
        if abs(closure.mean - 1) <= CLOSURE_TOLERANCE:
            return True
        if closure.low is None or closure.high is None:
            return None
        return closure.low <= 1 <= closure.high


@dataclass(frozen=True)
class Generation:
    """All configurations of a run that have a measured phase, in the order of their parameters."""

    names: tuple[str, ...]  # of the parameters that differ between them
    points: tuple[Generator, ...]
    domains: tuple[str, ...]
    kind: Kind | None
    lost: Mapping[str, int]  # trials without a value, by status

    @property
    def best(self) -> Generator | None:
        """The configuration with the fewest joules per token of a request, or of decode where none has one."""
        for phase in (REQUEST, DECODE):
            known = [p for p in self.points if phase in p.parts]
            if known:
                return min(known, key=lambda p: p.parts[phase].cost.gross.mean)
        return None


def generation(task: Task, trials: Sequence[TrialRecord]) -> Generation | None:
    """Of a run's records; None where no trial has a prefill, decode or request phase."""
    idle, counted_domains = idle_windows(trials), families(task)
    measured = [_generator(task, c, counted_domains, idle) for c in configurations(task, trials)]
    points = [p for p in measured if p.parts]
    if not points:
        return None
    names = varied(task, [p.params for p in points])
    costs = [part.cost for p in points for part in p.parts.values()]
    lost = {s: n for s in ("oom", "failed", "invalid", "infeasible") if (n := sum(t.status == s for t in trials))}
    return Generation(
        names=tuple(names),
        points=tuple(sorted(points, key=lambda p: [_order(p.params[n]) for n in names])),
        domains=tuple(sorted({d for c in costs for d in c.domains})),
        kind=combined(c.kind for c in costs),
        lost=lost,
    )


def _order(value: object) -> tuple[bool, float, str]:
    """Numbers by size, then text."""
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value))


def _generator(task: Task, found: Configuration, domains: Sequence[str], idle: Sequence[Window]) -> Generator:
    usable = [t for t in found.trials if t.status == "ok"]
    batch = found.params.get(BATCH)
    shares = [t.metrics[RESTORE_SHARE] for t in usable if RESTORE_SHARE in t.metrics]
    parts = {name: part for name in PHASES if (part := _part(task, usable, name, domains, idle)) is not None}
    peaks = [t.costs.peak_memory_bytes for t in usable if t.costs.peak_memory_bytes is not None]
    limit = counted(usable, lambda c: c.memory_limit_bytes)
    return Generator(
        params=found.params,
        trials=tuple(t.trial for t in usable),
        batch=float(batch) if is_number(batch) else None,
        parts=parts,
        memory_bytes=max(peaks, default=None),
        memory_limit_bytes=None if limit is None else int(limit),
        restore_share=fmean(shares) if shares else None,
    )


def _part(
    task: Task, trials: Sequence[TrialRecord], phase: str, domains: Sequence[str], idle: Sequence[Window]
) -> Part | None:
    cost = phase_cost(task.protocol, trials, phase, domains, idle)
    if cost is None:
        return None

    def flops(costs: Costs) -> float | None:
        return flops_per_unit(costs, phase, cost.unit)

    return Part(
        cost=cost,
        flops_per_unit=counted(trials, flops),
        mean_s=step_mean(task.protocol, trials, phase),
        p50_s=step_quantile(task.protocol, trials, phase, 0.5),
        p95_s=step_quantile(task.protocol, trials, phase, 0.95),
    )

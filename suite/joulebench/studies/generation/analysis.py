"""Text generation: energy and latency of a whole request, its prefill and its decode, by configuration. Pure.

A step of `prefill` processes the prompts of one batch and gives each sequence its first token; a step of `decode`
generates the other tokens; a step of `request` is both. Energy is gross unless called net, over the domains that
the task's energy objectives name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from joulebench.records.model import Kind, combined
from joulebench.results.confirmation import optimum, searching
from joulebench.results.energy import Energy
from joulebench.results.phase_runs import PhaseRuns, varied
from joulebench.results.run import Run
from joulebench.spec.parameters import is_number
from joulebench.stats.estimate import Estimate, reciprocal
from joulebench.stats.intervals import differ, scaled
from joulebench.studies.configured import Configured

PREFILL, DECODE, REQUEST = "prefill", "decode", "request"
PHASES = (REQUEST, PREFILL, DECODE)
BATCH = "batch_size"
#: Metric: share of decode's time spent on restoring the KV cache to its state after the prompt.
RESTORE_SHARE = "decode_restore_share"
#: Metrics of a file's prompts: share of their positions that are padding, and of prompts that are cut.
PADDING, CUT = "prompts_padding_share", "prompts_cut_share"
#: A larger share is flagged, as it inflates decode's energy.
MAX_RESTORE_SHARE = 0.01
#: Prefill and decode add up to the request if their sum is within this share of it.
CLOSURE_TOLERANCE = 0.05
_SEPARATELY = "phases measured separately"


class Generator(Configured):
    """Configuration with its measured phases; what was not measured is absent."""

    @cached_property
    def parts(self) -> dict[str, PhaseRuns]:
        """Measured phases by name."""
        trials = self.configuration.usable
        return {name: part for name in PHASES if (part := self.run.phase(trials, name)) is not None}

    def searched_j(self, phase: str) -> float:
        """Gross joules per token by the runs before confirmation, or by all where there is none."""
        before = (
            self.run.phase(searching(self.configuration.trials), phase) if self.configuration.confirmed else None
        )
        return (self.parts[phase] if before is None else before).gross.mean

    @property
    def batch(self) -> float | None:
        size = self.params.get(BATCH)
        return float(size) if is_number(size) else None

    @property
    def restore_share(self) -> float | None:
        """Mean share of decode's time spent on restoring the KV cache."""
        shares = [t.metrics[RESTORE_SHARE] for t in self.configuration.usable if RESTORE_SHARE in t.metrics]
        return fmean(shares) if shares else None

    @property
    def requests_per_s(self) -> Estimate | None:
        """Sequences completed per second: batch size / mean request latency."""
        request = self.parts.get(REQUEST)
        each = reciprocal(request.step_mean) if request is not None and request.step_mean is not None else None
        return scaled(each, self.batch) if each is not None and self.batch else None

    @property
    def tokens_per_sequence(self) -> float | None:
        """Tokens per sequence that a decode step generates: new tokens − 1."""
        decode = self.parts.get(DECODE)
        if decode is None or not decode.step_units or not self.batch:
            return None
        return decode.step_units / self.batch

    def per_token_s(self, read: Callable[[PhaseRuns], Estimate | None]) -> Estimate | None:
        """Seconds per output token: decode step / tokens per sequence; `read` picks the step's statistic."""
        decode, tokens = self.parts.get(DECODE), self.tokens_per_sequence
        step_s = read(decode) if decode is not None else None
        return scaled(step_s, 1 / tokens) if step_s is not None and tokens else None

    def share(self, phase: str) -> Estimate | None:
        """Energy of a phase's step / that of a whole request; None if unknown or over different domains."""
        joules = self._step_j(phase, REQUEST)
        return None if joules is None else _ratio(joules[0], joules[1])

    @property
    def closure(self) -> Estimate | None:
        """(Prefill + decode) / request, each measured in its own windows; ideally 1."""
        joules = self._step_j(PREFILL, DECODE, REQUEST)
        return None if joules is None else _ratio(joules[0] + joules[1], joules[2])

    def _step_j(self, *phases: str) -> list[Energy] | None:
        """Gross joules per step of each phase; None if one is unknown or their domains differ."""
        parts = [part for name in phases if (part := self.parts.get(name)) is not None and part.step_units]
        if len(parts) < len(phases) or len({part.domains for part in parts}) > 1:
            return None
        return [(part.gross * (part.step_units or 0.0)).each(1, "step") for part in parts]

    @property
    def closes(self) -> bool | None:
        """Whether closure is 1, within the tolerance or the interval; None if unknown."""
        closure = self.closure
        if closure is None:
            return None
        if abs(closure.mean - 1) <= CLOSURE_TOLERANCE:
            return True
        if closure.low is None or closure.high is None:
            return None
        return closure.low <= 1 <= closure.high


def _ratio(phase: Energy, other: Energy) -> Estimate | None:
    value = phase / other
    return None if value is None else replace(value, varied=_SEPARATELY)


@dataclass(frozen=True, eq=False)
class Generation:
    """Configurations of a run that have a measured phase."""

    run: Run
    measured: tuple[Generator, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameters that differ between the configurations."""
        return tuple(varied(self.run.task, [p.params for p in self.measured]))

    @cached_property
    def points(self) -> tuple[Generator, ...]:
        """Configurations in the order of their parameters."""
        return tuple(sorted(self.measured, key=lambda p: [_order(p.params[n]) for n in self.names]))

    @property
    def _phases(self) -> list[PhaseRuns]:
        return [part for point in self.measured for part in point.parts.values()]

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({d for part in self._phases for d in part.domains}))

    @property
    def kind(self) -> Kind:
        return combined(part.kind for part in self._phases)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Trials without a value, by status."""
        counts = Counter(t.status for t in self.run.trials)
        return {s: counts[s] for s in ("oom", "failed", "invalid", "infeasible") if counts[s]}

    @property
    def best(self) -> Generator | None:
        """Configuration with the least energy per token of a request, else of decode."""
        return self._best(REQUEST) or self._best(DECODE)

    def _best(self, phase: str) -> Generator | None:
        return optimum(
            [p for p in self.points if phase in p.parts],
            confirmed=lambda p: p.configuration.confirmed,
            before=lambda p: p.searched_j(phase),
            now=lambda p: p.parts[phase].gross.mean,
            differ=lambda p, q: differ(p.parts[phase].gross, q.parts[phase].gross),
        )


def generation(run: Run) -> Generation | None:
    """Read the text generation of a run; None if no trial has a prefill, decode or request phase."""
    measured = tuple(p for c in run.configurations if (p := Generator(run, c)).parts)
    return Generation(run, measured) if measured else None


def _order(value: object) -> tuple[bool, float, str]:
    """Sort key: numbers by size, then text."""
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value))

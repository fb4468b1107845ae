"""Configuration of a run with what several studies read of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench.results.outcome import Configuration
from joulebench.results.run import Run
from joulebench.spec.parameters import Params


@dataclass(frozen=True, eq=False)
class Configured:
    """Configuration of a run; a study derives its own class and adds what it reads."""

    run: Run
    configuration: Configuration

    @property
    def params(self) -> Params:
        return self.configuration.params

    @property
    def trials(self) -> tuple[int, ...]:
        """Numbers of the usable trials."""
        return tuple(t.trial for t in self.configuration.usable)

    @property
    def parameters(self) -> int | None:
        return self.configuration.costs.parameters

    @property
    def macs(self) -> int | None:
        return self.configuration.costs.macs

    @property
    def memory_bytes(self) -> int | None:
        """Highest peak memory of the trials."""
        return self.configuration.costs.peak_memory_bytes

    @property
    def memory_limit_bytes(self) -> int | None:
        return self.configuration.costs.memory_limit_bytes

    @property
    def memory_share(self) -> float | None:
        """Peak memory / memory limit."""
        if self.memory_bytes is None or not self.memory_limit_bytes:
            return None
        return self.memory_bytes / self.memory_limit_bytes

    def metric(self, name: str) -> float | None:
        """Read a metric that is equal in all trials; None if no usable trial has it."""
        return next((t.metrics[name] for t in self.configuration.usable if name in t.metrics), None)

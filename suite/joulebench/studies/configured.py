"""A configuration of a run as studies show it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench.results.outcome import Configuration
from joulebench.results.run import Run
from joulebench.spec.parameters import Params


@dataclass(frozen=True, eq=False)
class Configured:
    """A configuration of a run; each study's own kind adds what the study asks of it."""

    run: Run
    configuration: Configuration

    @property
    def params(self) -> Params:
        return self.configuration.params

    @property
    def trials(self) -> tuple[int, ...]:
        """Numbers of its usable trials."""
        return tuple(t.trial for t in self.configuration.usable)

    @property
    def parameters(self) -> int | None:
        return self.configuration.costs.parameters

    @property
    def macs(self) -> int | None:
        return self.configuration.costs.macs

    @property
    def memory_bytes(self) -> int | None:
        """The highest peak of its trials."""
        return self.configuration.costs.peak_memory_bytes

    @property
    def memory_limit_bytes(self) -> int | None:
        return self.configuration.costs.memory_limit_bytes

    @property
    def memory_share(self) -> float | None:
        """Peak memory of what the device had."""
        if self.memory_bytes is None or not self.memory_limit_bytes:
            return None
        return self.memory_bytes / self.memory_limit_bytes

    def metric(self, name: str) -> float | None:
        """A metric that does not change between trials, from the first that has it."""
        return next((t.metrics[name] for t in self.configuration.usable if name in t.metrics), None)

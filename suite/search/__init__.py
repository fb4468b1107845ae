"""What to try next: pure proposals from a task, its records and a seed. The only code that knows Ax and BoTorch."""

from suite.search.samplers import Proposal
from suite.search.stages import planned_trials, prepare, propose

__all__ = ["Proposal", "planned_trials", "prepare", "propose"]

"""What to try next: pure proposals from a task, its records and a seed. The only code that knows Ax and BoTorch."""

from suite.search.samplers import Proposal
from suite.search.stages import known_and_pending, planned_trials, prepare, propose

__all__ = ["Proposal", "known_and_pending", "planned_trials", "prepare", "propose"]

"""Search: pure proposals from a task, its records and a seed. The only room that imports Ax and BoTorch."""

from joulebench.search.samplers import Proposal, shuffled
from joulebench.search.stages import known_and_pending, planned_trials, prepare, propose

__all__ = ["Proposal", "known_and_pending", "planned_trials", "prepare", "propose", "shuffled"]

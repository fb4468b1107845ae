"""Workload `block`: what a program measured where it stands, by `joulebench.measure` and its kin, as a record.

Nothing can be run from such a record: the work is in somebody's program.
"""

from __future__ import annotations

from typing import NoReturn

from joulebench.errors import InputError
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import Phase, Workload


class Block(Workload):
    """Workload `block`: recorded, and never run."""

    needs_data = False
    OPTIONS = ()

    @classmethod
    def check_task(cls, task: Task) -> None:  # noqa: ARG003
        _refuse()

    def build(self, params: Params) -> None:  # noqa: ARG002
        _refuse()

    def phases(self) -> dict[str, Phase]:
        return {}


def _refuse() -> NoReturn:
    raise InputError("workload: a program measured these blocks where they stand; run that program again")

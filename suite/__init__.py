"""joulebench: the energy and the quality of machine-learning models, measured the same way everywhere.

`import suite` loads no torch; what measures is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.errors import InputError

if TYPE_CHECKING:
    from suite.study import run
    from suite.task import Task
    from suite.workloads.base import Context, Epoch, Phase, Workload

__all__ = ["Context", "Epoch", "InputError", "Phase", "Task", "Workload", "run"]

_LAZY = {
    "run": "suite.study",
    "Task": "suite.task",
    "Context": "suite.workloads.base",
    "Epoch": "suite.workloads.base",
    "Phase": "suite.workloads.base",
    "Workload": "suite.workloads.base",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'suite' has no attribute '{name}'")

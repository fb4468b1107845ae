"""joulebench: the energy and the quality of machine-learning models, measured the same way everywhere.

`import joulebench` loads no torch; what measures is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulebench.api import Results, load, resume, run
    from joulebench.errors import InputError
    from joulebench.inline.blocks import measure
    from joulebench.inline.compare import compare
    from joulebench.inline.trainer import lightning_callback, trainer_callback
    from joulebench.spec.task import Task
    from joulebench.workloads.base import Context, Epoch, Phase, Workload

__all__ = [
    "Context", "Epoch", "InputError", "Phase", "Results", "Task", "Workload", "compare", "lightning_callback",
    "load", "measure", "resume", "run", "trainer_callback",
]  # fmt: skip

_LAZY = {
    "InputError": "joulebench.errors",
    "compare": "joulebench.inline.compare",
    "measure": "joulebench.inline.blocks",
    "lightning_callback": "joulebench.inline.trainer",
    "trainer_callback": "joulebench.inline.trainer",
    "load": "joulebench.api",
    "resume": "joulebench.api",
    "run": "joulebench.api",
    "Results": "joulebench.api",
    "Task": "joulebench.spec.task",
    "Context": "joulebench.workloads.base",
    "Epoch": "joulebench.workloads.base",
    "Phase": "joulebench.workloads.base",
    "Workload": "joulebench.workloads.base",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("joulebench")
    if name in _LAZY:
        import importlib

        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module 'joulebench' has no attribute '{name}'")

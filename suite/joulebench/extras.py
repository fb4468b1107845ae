"""Extras of the installation: packages that the core does without, and the line of one that is not there.

The core reads records, measures programs and functions, and writes every report; what trains, searches or speaks to
another service needs one of these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from joulebench.errors import InputError

#: Modules of each extra that joulebench imports. Of a module of several extras, the first is named.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "vision": ("torch", "torchvision", "fvcore", "sklearn"),
    "llm": ("torch", "transformers", "fvcore"),
    "search": ("torch", "ax", "botorch", "gpytorch", "pymoo"),
    "ray": ("ray",),
    "mlflow": ("mlflow",),  # the other two are for some of its stores
    "tables": ("pyarrow",),
    "models": ("onnx", "onnxruntime", "sentence_transformers", "timm", "torchao"),
    "questions": ("lm_eval", "accelerate", "peft"),
    "gate": ("pytest", "pytest_benchmark"),
    "zeus": ("zeus",),
}


class MissingExtraError(InputError):
    """Packages that are not installed; the message says how to install them."""


def installed(module: str) -> bool:
    """Whether a top-level module can be imported; it is not. A folder of its name without code is no module."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return (spec := find_spec(module)) is not None and spec.origin is not None
    except (ImportError, ValueError):
        return False


def require(where: str, *extras: str) -> None:
    """Refuse what needs extras that are not installed, in one line for all of them.

    Raises:
        MissingExtraError: one of their modules is not there.
    """
    lacking = [extra for extra in dict.fromkeys(extras) if not all(map(installed, EXTRAS[extra]))]
    if lacking:
        raise _missing(where, lacking)


def missing(error: BaseException, where: str = "") -> MissingExtraError | None:
    """The error to show in place of a failed import; None if it is not that of a package of an extra."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return None if extra is None or installed(module) else _missing(where, [extra], module)


def _missing(where: str, extras: Iterable[str], module: str = "") -> MissingExtraError:
    names = ",".join(extras)
    plural = "s" if "," in names else ""
    lacks = f" (there is no module '{module}')" if module else ""
    return MissingExtraError(
        f"{f'{where}: ' if where else ''}this needs the extra{plural} [{names}]: "
        f"pip install 'joulebench[{names}]'{lacks}"
    )

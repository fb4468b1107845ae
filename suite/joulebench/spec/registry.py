"""Registries: what a task, a card or a run may name, by a short name or as `package.module:Class`.

A short name is one that ships with joulebench, or an entry point of an installed package in the registry's group.
Names are checked without importing anything; what stands behind a name is imported when it is first used.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from joulebench.errors import InputError, described, did_you_mean

#: `package.module:Class`, or a short name.
PATTERN = r"^[a-z][a-z0-9_]*$|^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


@dataclass(frozen=True)
class Registry:
    """What a field may name, by a short name or as `package.module:name`."""

    kind: str  # in messages: "workload"
    group: str  # of entry points: "joulebench.workloads"
    form: Literal["Class", "function"]  # what stands behind a name
    shipped: Mapping[str, str]  # short name -> package.module:name

    def target(self, name: str, field: str | None = None) -> str:
        """The `package.module:name` behind a name; nothing is imported.

        Args:
            field: where the name was given, for messages.

        Raises:
            InputError: no such name; says the nearest and what is allowed.
        """
        if is_own(name) and re.search(PATTERN, name):
            return name
        if name in self.shipped:
            return self.shipped[name]
        installed = {point.name: point.value for point in metadata.entry_points(group=self.group)}
        if name in installed:
            return installed[name]
        known = [*self.shipped, *installed]
        raise InputError(
            f"{field or self.kind}: no {self.kind} '{name}'{did_you_mean(name, known)} "
            f"(allowed: {', '.join(known)}, or package.module:{self.form})"
        )

    def load(self, name: str, field: str | None = None, base: type | None = None) -> Any:
        """What stands behind a name, imported now: a subclass of `base`, or a function.

        Raises:
            InputError: no such name, module or object, or it is nothing of that form.
        """
        target = self.target(name, field)
        found = import_object(target, field or self.kind, own=is_own(name))
        if base is not None and not (isinstance(found, type) and issubclass(found, base)):
            raise InputError(f"{field or self.kind}: '{name}' is not a subclass of joulebench's {base.__name__}")
        if not callable(found):
            raise InputError(f"{field or self.kind}: '{name}' is no {self.form} (but a {type(found).__name__})")
        return found


def is_own(name: str) -> bool:
    """Whether a name is `package.module:Class`: code of the user's own."""
    return ":" in name


def importable(task_file: str | None) -> None:
    """Let modules in the current folder and beside a task's file be imported: a command has neither on its path."""
    folders = [Path.cwd(), *([Path(task_file).resolve().parent] if task_file else [])]
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def import_object(path: str, field_name: str, own: bool = True) -> Any:
    """The object named `package.module:name`.

    Args:
        own: the user named it, so it may lie in the current folder. For code that ships or is installed the folder
            stays off the import path: a library's optional import would find whatever lies there.

    Raises:
        InputError: the path has another form, or there is no such module or name.
    """
    module_name, separator, attribute = path.partition(":")
    if not separator:
        raise InputError(f"{field_name}: '{path}' must read package.module:name")
    if own:
        importable(None)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{field_name}: no module '{error.name}' (for '{path}') here, beside the task file or on PYTHONPATH"
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a user's module raises while it is read
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise InputError(
            f"{field_name}: module '{module_name}' cannot be imported{where}: {described(error)}"
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{field_name}: module '{module_name}' has no '{attribute}'")
        found = getattr(found, part)
    return found


def _studies() -> dict[str, str]:
    """A study that ships is a folder of `joulebench/studies`; its class is named like it, in CamelCase."""
    folders = (Path(__file__).parents[1] / "studies").iterdir()
    names = sorted(folder.name for folder in folders if (folder / "section.py").is_file())
    return {n: f"joulebench.studies.{n}.section:{n.title().replace('_', '')}Study" for n in names}


WORKLOADS = Registry(
    "workload",
    "joulebench.workloads",
    "Class",
    {
        "cnn": "joulebench.workloads.cnn:CNN",
        "families": "joulebench.workloads.families:Families",
        "function": "joulebench.workloads.function:Function",
        "language_model": "joulebench.workloads.language_model:LanguageModel",
        "mlp": "joulebench.workloads.mlp:MLP",
        "recurrent": "joulebench.workloads.recurrent:Recurrent",
        "search": "joulebench.studies.search_quality.workload:SearchQuality",
        "table": "joulebench.workloads.table:Table",
        "transformer": "joulebench.workloads.transformer:Transformer",
        "zoo": "joulebench.workloads.zoo:Zoo",
    },
)
STUDIES = Registry("study", "joulebench.studies", "Class", _studies())
DATASETS = Registry(
    "data set",
    "joulebench.datasets",
    "function",
    {
        name: f"joulebench.data.sources:{name}"
        for name in ("digits", "mnist", "cifar10", "synthetic", "grammar", "text")
    },
)
METERS = Registry(
    "meter",
    "joulebench.meters",
    "function",
    {
        "rapl": "joulebench.meters.rapl:offer",
        "codecarbon": "joulebench.meters.codecarbon:offer",
        "nvml": "joulebench.meters.nvml:offer",
    },  # in this order: the first that can read a domain does
)
CARDS = Registry(
    "card",
    "joulebench.cards",
    "function",
    {
        "hf": "joulebench.cards.hub:hub_card",
        "boamps": "joulebench.cards.boamps:boamps_card",
        "sci": "joulebench.cards.sci:sci_card",
        "eu": "joulebench.cards.eu:eu_card",
    },
)

"""Registries that resolve names of workloads, studies, data sets, meters and cards.

A name is a short name that ships with joulebench, an entry point of an installed package in the registry's group,
or `package.module:Class`. Names are checked without importing anything; the object is imported at first use.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from joulebench import extras
from joulebench.errors import InputError, described, did_you_mean

#: First parts of names that are a library's objects by name, as `torchvision:MNIST`, and no code of the user's.
FAMILIES = ("torchvision",)
#: `package.module:name`, code of the user's.
OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
#: `package.module:Class`, or a short name.
PATTERN = r"^[a-z][a-z0-9_]*$|^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


@dataclass(frozen=True)
class Registry:
    """Objects of one kind by short name or `package.module:name`."""

    kind: str  # in messages: "workload"
    group: str  # of entry points: "joulebench.workloads"
    form: Literal["Class", "function"]  # of the object behind a name
    shipped: Mapping[str, str]  # short name -> package.module:name
    extras: Mapping[str, str] = field(default_factory=dict)  # short name -> extra of the installation that it needs

    def target(self, name: str, field: str | None = None, beside: Sequence[str] = ()) -> str:
        """Resolve a name to `package.module:name` without importing it.

        Args:
            field: where the name was given, for messages.
            beside: names that may stand there too, for messages.

        Raises:
            InputError: no such name.
        """
        if is_own(name) and re.search(PATTERN, name):
            return name
        if (shipped := self.shipped.get(_key(name))) is not None:
            return shipped
        installed = {point.name: point.value for point in metadata.entry_points(group=self.group)}
        if name in installed:
            return installed[name]
        known = [*beside, *self.shipped, *installed]
        raise InputError(
            f"{field or self.kind}: no {self.kind} '{name}'{did_you_mean(name, known)} "
            f"(allowed: {', '.join(known)}, or package.module:{self.form})"
        )

    def needs(self, name: str) -> tuple[str, ...]:
        """Extras of the installation without which a shipped name cannot be loaded."""
        return (self.extras[key],) if (key := _key(name)) in self.extras else ()

    def load(self, name: str, field: str | None = None, base: type | None = None) -> Any:
        """Import the object behind a name: a subclass of `base`, or a function.

        Raises:
            InputError: no such name, module or object, an object of another form, or an extra is not installed.
        """
        target = self.target(name, field)
        extras.require(f"{field or self.kind}: '{name}'", *self.needs(name))
        loaded = import_object(target, field or self.kind, own=is_own(name))
        if base is not None and not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise InputError(f"{field or self.kind}: '{name}' is not a subclass of joulebench's {base.__name__}")
        if not callable(loaded):
            raise InputError(f"{field or self.kind}: '{name}' must be a {self.form} (got {type(loaded).__name__})")
        return loaded


def _key(name: str) -> str:
    """What a shipped name is listed under: itself, or its library and a colon."""
    library, colon, rest = name.partition(":")
    return name if not colon else library + colon if rest else ""


def is_own(name: str) -> bool:
    """Whether a name is `package.module:Class`, user code, rather than a short name."""
    return ":" in name and name.partition(":")[0] not in FAMILIES


def named_by_model(text: str) -> str:
    """The path or `package.module:name` that the option `model` of the workload `model` names; "" where neither.

    Before its first colon stands a kind; without one, all of it is a user's own `package.module:name`.
    """
    kind, _, name = text.partition(":")
    if kind in ("torchvision", "timm"):
        return ""  # the library's own name
    if kind == "hf":
        return name.partition(":")[2]
    return name if kind in ("sentence-transformers", "onnx", "sklearn") else text


def add_import_folders(*more: Path) -> None:
    """Add the current folder and `more` to the import path, which a command lacks."""
    for folder in (Path.cwd(), *(folder.resolve() for folder in more)):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def import_object(path: str, field_name: str, own: bool = True) -> Any:
    """Import the object named `package.module:name`.

    Args:
        own: user code, which may be in the current folder. For shipped or installed code the folder stays off the
            import path: a library's optional import would find whatever is there.

    Raises:
        InputError: the path has another form, there is no such module or name, or it is of the standard library,
            whose functions a task could make do anything.
    """
    module_name, separator, attribute = path.partition(":")
    # Python imports what no program can name, such as a folder `2-b`; what is looked for in records is of this form
    if not separator or (own and not OBJECT.fullmatch(path)):
        raise InputError(f"{field_name}: '{path}' must read package.module:name")
    if own:
        add_import_folders()
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{field_name}: '{path}' is Python's own, no code of yours")
    try:
        imported: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (needed := extras.missing(error, f"{field_name}: '{path}'")) is not None:
            raise needed from None
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
        if not hasattr(imported, part):
            raise InputError(f"{field_name}: module '{module_name}' has no '{attribute}'")
        imported = getattr(imported, part)
    return imported


def _studies() -> dict[str, str]:
    """Shipped studies: the folders of `joulebench/studies`; a study's class has its name in CamelCase."""
    folders = (Path(__file__).parents[1] / "studies").iterdir()
    names = sorted(folder.name for folder in folders if (folder / "section.py").is_file())
    return {n: f"joulebench.studies.{n}.section:{n.title().replace('_', '')}Study" for n in names}


#: The workload whose trials are programs of the user's.
COMMAND = "command"
#: The workload whose option `model` names a model of one of several kinds.
ANY_MODEL = "model"
#: The workload of what a program measured itself; it is recorded, and never run.
BLOCK = "block"
WORKLOADS = Registry(
    "workload",
    "joulebench.workloads",
    "Class",
    {
        "block": "joulebench.workloads.block:Block",
        "cnn": "joulebench.workloads.cnn:CNN",
        "command": "joulebench.workloads.command:Command",
        "families": "joulebench.workloads.families:Families",
        "function": "joulebench.workloads.function:Function",
        "language_model": "joulebench.workloads.language_model:LanguageModel",
        "mlp": "joulebench.workloads.families:MLP",
        "model": "joulebench.workloads.model:Model",
        "recurrent": "joulebench.workloads.families:Recurrent",
        "search": "joulebench.studies.search_quality.workload:SearchQuality",
        "table": "joulebench.workloads.table:Table",
        "transformer": "joulebench.workloads.transformer:Transformer",
        "zoo": "joulebench.workloads.zoo:Zoo",
    },
    extras={
        **dict.fromkeys(("cnn", "families", "mlp", "model", "recurrent", "zoo"), "vision"),
        **dict.fromkeys(("language_model", "transformer"), "llm"),
        "search": "search",
    },
)
STUDIES = Registry("study", "joulebench.studies", "Class", _studies())
#: Studies that a report shows though no task names them, where `Study.fits` says so and there is a result.
FITTING = ("life_cycle", "utilisation")
#: The same of the one that such a report begins with.
LEADING = "variants"
DATASETS = Registry(
    "data set",
    "joulebench.datasets",
    "function",
    {
        name: f"joulebench.data.sources:{name}"
        for name in ("digits", "mnist", "cifar10", "synthetic", "grammar", "text", "images", "arrays", "table")
    }
    | {"torchvision:": "joulebench.data.sources:torchvision_set"},  # and a name of torchvision's
    extras=dict.fromkeys(("digits", "mnist", "cifar10", "torchvision:"), "vision"),
)
METERS = Registry(
    "meter",
    "joulebench.meters",
    "function",
    {
        "rapl": "joulebench.meters.rapl:offer",
        "codecarbon": "joulebench.meters.codecarbon:offer",
        "nvml": "joulebench.meters.nvml:offer",
        "zeus": "joulebench.meters.zeus_devices:offer",  # by its name only: it needs an optional library
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

"""Code and files of the user's own that a run takes: found without importing them, and recorded by content.

A task file is the user's, and so is what it names. A record may come from anybody: what it names is taken only from
where the user is or points to, after a line that says so.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from joulebench.errors import InputError
from joulebench.host.files import expanded
from joulebench.host.git import uncommitted
from joulebench.meters.live_settings import is_settings
from joulebench.records.folder import RunFolder
from joulebench.records.model import MAX_FILES, OwnCode
from joulebench.runner.program_code import (
    PROGRAM,
    defined,
    difference,
    digest_of,
    is_programs,
    program_file,
    program_folder,
    program_label,
    source_of,
)
from joulebench.spec.reading import read_file
from joulebench.spec.registry import (
    ANY_MODEL,
    COMMAND,
    DATASETS,
    METERS,
    OBJECT,
    STUDIES,
    WORKLOADS,
    Registry,
    add_import_folders,
    is_own,
    named_by_model,
)
from joulebench.spec.task import FRONTIER, MODEL, Task

_PACKAGE = Path(__file__).parents[1].name


@dataclass(frozen=True)
class Sources:
    """Where code and files may be taken from that a record names: the current folder, and these.

    Attributes:
        folders: searched after the current one.
        packages: top-level packages that are installed.
    """

    folders: tuple[Path, ...] = ()
    packages: frozenset[str] = frozenset()

    @classmethod
    def of(cls, given: Sequence[str | Path]) -> Sources:
        """Parse the options `--from`: folders, files (for the folder they lie in), or names of packages.

        Raises:
            InputError: one is none of these.
        """
        folders, packages = [], set()
        for text in map(str, given):
            path = Path(text)
            if path.exists():
                folders.append((path if path.is_dir() else path.parent).resolve())
            elif text.isidentifier():
                packages.add(text)
            else:
                raise InputError(f"--from: no folder or file '{text}'")
        return cls(tuple(folders), frozenset(packages))

    def hold(self, path: Path) -> bool:
        """Whether a path lies in the current folder or in one of these."""
        return any(path.resolve().is_relative_to(folder) for folder in (Path.cwd().resolve(), *self.folders))


def own_names(task: Task, meters: Sequence[str] = ()) -> dict[str, Registry | None]:
    """Names in a task and of `--meter` that stand for no code of joulebench's; None: a function in the options,
    or a model."""
    named: list[tuple[str, Registry]] = [(task.workload, WORKLOADS)]
    named += [(task.dataset.name, DATASETS)] if task.dataset is not None else []
    named += [(name, STUDIES) for name in task.analyses if name != FRONTIER]
    named += [(name, METERS) for name in meters if not is_settings(name)]
    found: dict[str, Registry | None] = {
        name: registry
        for name, registry in named
        # a class of joulebench's own is checked to be what it stands for; a function is only called
        if name not in registry.shipped and not (registry.form == "Class" and name.startswith(f"{_PACKAGE}."))
    }
    texts = (*(text for text in _option_texts(task) if OBJECT.fullmatch(text)), *own_models(task))
    return found | {text: None for text in texts if text not in found}


def own_models(task: Task) -> list[str]:
    """Values of the parameter `model` that name code of the user's own, `package.module:name`."""
    model = task.parameters.get(MODEL)
    values = model.model_dump(mode="json", include={"values", "value"}) if model is not None else ()
    return [text for text in _texts(values) if OBJECT.fullmatch(text)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _option_texts(task: Task) -> Iterator[str]:
    """Texts of a task's options, of a model of some kind what it is loaded from."""
    options = dict(task.options)
    if _takes_any_model(task) and isinstance(model := options.get("model"), str):
        options["model"] = named_by_model(model)
    return _texts(options)


def _takes_any_model(task: Task) -> bool:
    return WORKLOADS.target(task.workload, "workload") == WORKLOADS.shipped[ANY_MODEL]


def own_files(task: Task) -> dict[str, Path]:
    """Files that texts of a task's options name, in the current folder or, with a suffix, on the import path."""
    found = {}
    for text in _option_texts(task):
        if text and "\0" not in text:
            with suppress(OSError, InputError):  # too long for a path; nobody's home folder
                elsewhere = sys.path if Path(text).suffix else ()
                places = (folder / expanded(Path(text)) for folder in (Path.cwd(), *map(Path, elsewhere)))
                if (file := next((path for path in places if path.is_file()), None)) is not None:
                    found[text] = file
    return found


def _target(name: str, registry: Registry | None) -> str:
    return name if registry is None else registry.target(name)


def recorded(task: Task, meters: Sequence[str] = ()) -> tuple[OwnCode, ...]:
    """Describe what the task names of the user's own, as far as it is imported by now, and files of its options.

    git is asked about the folders that the code was imported from: whoever sets their settings wrote the code too.
    """
    found = []
    for name, registry in own_names(task, meters).items():
        module = sys.modules.get(_target(name, registry).partition(":")[0])
        if is_programs(name):
            found.append(_of_program(name))
        elif module is not None:
            found.append(_of_module(name, module, registry))
    found += [_described(Path(text).name, file.parent, {file.name: file}) for text, file in own_files(task).items()]
    return tuple({code.name: code for code in found}.values())


def _of_module(name: str, module: ModuleType, registry: Registry | None) -> OwnCode:
    place = _place(module.__name__, module)
    if place is None:
        return OwnCode(name=name)
    file, root = place
    top = module.__name__.partition(".")[0]
    files = {}
    for key, other in list(sys.modules.items()):
        if other is not module and (key == "__main__" or (_is_installed(root) and key.partition(".")[0] != top)):
            continue
        if (found := _place(key, other)) is not None and found[1] == root:
            files[found[0].relative_to(root).as_posix()] = found[0]
    return _described(name, root, files, _distribution(name, top, file, registry))


def _of_program(name: str) -> OwnCode:
    """What the running program defines: its kept source in place of its file, and its own modules."""
    if not (source := source_of(name)):
        return OwnCode(name=name)
    root, label = program_folder(), program_label()
    files = {} if (script := program_file()) is None else {label: script}
    for key, other in list(sys.modules.items()):
        if key != PROGRAM and not _is_installed(root) and (place := _place(key, other)) and place[1] == root:
            files[place[0].relative_to(root).as_posix()] = place[0]
    code = _described(name, root, files)
    kept = {**code.files, label: digest_of(source)}
    uncommitted = code.uncommitted if script is not None else (label, *code.uncommitted)
    return code.model_copy(update={"files": kept, "source": source, "uncommitted": uncommitted})


def _place(name: str, module: object) -> tuple[Path, Path] | None:
    """A module's file, and the folder of the import path that it was found in; None if it has no file."""
    parts = getattr(module, "__dict__", {})
    name = getattr(parts.get("__spec__"), "name", None) or name
    if not isinstance(text := parts.get("__file__"), str) or not (file := Path(text).absolute()).is_file():
        return None
    depth = name.count(".") + (file.stem == "__init__")
    return (file, file.parents[depth]) if depth < len(file.parents) else None


def _is_installed(root: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(root.parts))


def _distribution(name: str, top: str, file: Path, registry: Registry | None) -> metadata.Distribution | None:
    """The installed distribution that a module's file belongs to, or whose entry point the name is."""
    if registry is not None and ":" not in name:
        points = metadata.entry_points(group=registry.group, name=name)
        return next((point.dist for point in points), None)
    if not _is_installed(file):
        return None
    known = [metadata.distribution(found) for found in metadata.packages_distributions().get(top, ())]
    return next((dist for dist in known if file in _hashes(dist)), None)


def _hashes(dist: metadata.Distribution) -> dict[Path, str]:
    """SHA-256 of a distribution's files, as its RECORD states them."""
    return {
        Path(str(dist.locate_file(part))): base64.urlsafe_b64decode(f"{part.hash.value}=").hex()
        for part in dist.files or ()
        if part.hash is not None and part.hash.mode == "sha256"
    }


def _described(
    name: str, root: Path, files: Mapping[str, Path], dist: metadata.Distribution | None = None
) -> OwnCode:
    chosen = sorted(files)[:MAX_FILES]
    contents = {}
    for path in chosen:
        with suppress(InputError):
            contents[path] = read_file(files[path], follow=True)
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    stated = _hashes(dist) if dist is not None else {}
    unlike = [path for path, value in hashes.items() if stated.get(root / path) != value]
    commit = None
    if unlike and not _is_installed(root):
        with suppress(OSError, subprocess.SubprocessError):
            commit, unlike = uncommitted(root, contents)
    return OwnCode(
        name=name,
        files=hashes,
        left_out=len(files) - len(hashes),
        commit=commit,
        distribution=None if dist is None else f"{dist.name} {dist.version}",
        uncommitted=tuple(unlike),
    )


def changed(before: Sequence[OwnCode] | None, now: Sequence[OwnCode] | None) -> tuple[str, str, str] | None:
    """Find the first file that both record with other content, and its SHA-256 in each.

    A file that only one of them imported is no difference: a program may import more than the command does.
    """
    files = {code.name: code.files for code in now or ()}
    for code in before or ():
        for path, old in code.files.items():
            new = files.get(code.name, {}).get(path)
            if new is not None and new != old:
                return path, old, new
    return None


def find_recorded_code(
    folder: RunFolder, sources: Sources, trace: str | None = None
) -> Iterator[tuple[str, str | None]]:
    """Check where what a recorded run names would be taken from, before anything of it is imported.

    The current folder and those of `sources` are put on the import path.

    Args:
        trace: recorded power trace that will be replayed.

    Yields:
        A line for each name that will be imported, and the recorded file whose content is another now.

    Raises:
        InputError: code that the user has not pointed to, or a file elsewhere.
    """
    add_import_folders(*sources.folders)
    manifest, task = folder.manifest(), folder.task()
    if WORKLOADS.target(task.workload, "workload") == WORKLOADS.shipped[COMMAND]:
        raise _commands_refused(folder)
    for text in (*_paths(task), *([trace] if trace else [])):
        path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's own raises where there is no such user)
        if (path.is_absolute() or ".." in path.parts) and exists(path) and not sources.hold(path):
            raise InputError(
                f"{folder.path}: its records name the file '{text}', which is outside of the current folder; "
                "if it is to be read, name its folder with --from"
            )
    began = {code.name: code for code in manifest.own_code or ()}
    for name, registry in own_names(task, manifest.own_meters).items():
        if is_programs(name):
            yield _programs_code(name, began.get(name), folder)
            continue
        module = _target(name, registry).partition(":")[0]
        file = located(module)
        if file is None:
            where = f" (it began with {Path(manifest.task_file).name})" if manifest.task_file else ""
            raise InputError(
                f"{folder.path}: needs {name}, which is neither in the current folder nor on PYTHONPATH{where}; "
                "name the folder of its code with --from FOLDER"
            )
        _refuse_within(folder, file, name, sources)
        top = module.partition(".")[0]
        is_entry_point = registry is not None and ":" not in name
        if (_is_foreign(file) or top == _PACKAGE) and not (is_entry_point or top in sources.packages):
            raise InputError(
                f"{folder.path}: names {name}, code of the installed package {top}; records may come from anybody: "
                f"if this run is to use it, say --from {top}"
            )
        root = file.parents[module.count(".") + (file.stem == "__init__")]
        other = _unlike(began[name], root) if name in began else None
        state = (
            "its code was not recorded" if name not in began else f"{other} has changed" if other else "unchanged"
        )
        yield f"imports {name} from {file}, as the records name it ({state})", other
    for text, file in own_files(task).items():
        code = began.get(Path(text).name)
        other = None if code is None else _unlike(code, file.parent)
        if _takes_any_model(task) and task.options.get("model") == f"sklearn:{text}":
            _refuse_within(folder, file, text, sources)
            state = "which was not recorded" if code is None else "has changed" if other else "unchanged"
            yield f"loads {file}, a pickle, which runs code, as the records name it ({state})", other
        elif other is not None:
            yield f"reads {file} ({other} has changed)", other
    if is_own(task.workload):  # which may be the workload by another name, or a class made from it
        bases = getattr(WORKLOADS.load(task.workload, "workload"), "__mro__", ())
        if WORKLOADS.shipped[COMMAND] in [f"{base.__module__}:{base.__qualname__}" for base in bases]:
            raise _commands_refused(folder)


def _refuse_within(folder: RunFolder, file: Path, name: str, sources: Sources) -> None:
    """Refuse code and pickles that came with the records, which may lie in the current folder.

    Raises:
        InputError: the file lies in the run folder, and no option `--from` points there.
    """
    own = file.resolve()
    if own.is_relative_to(folder.path.resolve()) and not any(map(own.is_relative_to, sources.folders)):
        raise InputError(
            f"{folder.path}: names {name}, which lies within the run folder itself; records may come from anybody: "
            "if this run is to use it, name its folder with --from"
        )


def _programs_code(name: str, code: OwnCode | None, folder: RunFolder) -> tuple[str, str | None]:
    """The line for a name of the program that began the run, which has to be the one that runs now.

    Raises:
        InputError: it is another: nothing that is kept in a record is executed.
    """
    files = {} if code is None else code.files
    label = next((path for path, sha in files.items() if code and sha == digest_of(code.source)), None)
    if defined(name) is None:
        what = name.partition(":")[2]
        raise InputError(
            f"{folder.path}: its {what} was defined in {label or 'a script or notebook'}, not in the program that "
            f"runs now, and code that records keep is never executed: where {what} is defined, call "
            f"joulebench.resume('{folder.path}')"
        )
    if code is None or not code.source:
        return f"takes {name} from this program, as the records name it (its code was not recorded)", None
    modules = {path: sha for path, sha in files.items() if path != label}
    other = difference(name, code.source)
    other = other or _unlike(code.model_copy(update={"files": modules}), program_folder())
    state = "unchanged" if other is None else f"{other} has changed"
    return f"takes {name} from this program, as the records name it ({state})", other


def _commands_refused(folder: RunFolder) -> InputError:
    return InputError(
        f"{folder.path}: its trials are programs that its records name; records may come from anybody, so they "
        "are not run. Give the commands to `joulebench measure` yourself"
    )


def exists(path: Path) -> bool:
    """Whether a path that a record names exists; also of text that could be none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _paths(task: Task) -> Iterator[str]:
    """Texts of a task that a workload may open as files."""
    yield from _option_texts(task)
    for parameter in task.parameters.values():
        yield from _texts(parameter.model_dump(mode="json", include={"values", "value", "default"}))


def _is_foreign(file: Path) -> bool:
    """Whether a module is of the standard library or an installed package, which a user did not write for a run."""
    libraries = (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    return _is_installed(file) or any(file.is_relative_to(library) for library in libraries)


def _unlike(code: OwnCode, root: Path) -> str | None:
    """The first recorded file that is missing below a folder, or has other content."""
    for path, sha256 in code.files.items():
        try:
            if hashlib.sha256(read_file(root / path, follow=True)).hexdigest() != sha256:
                return path
        except (InputError, ValueError):
            return path
    return None


def located(module: str) -> Path | None:
    """Find a module's file without importing it or its packages; None if there is none."""
    if (loaded := sys.modules.get(module)) is not None:
        place = _place(module, loaded)
        return None if place is None else place[0]
    top, *rest = module.split(".")
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(top)
        for n, _ in enumerate(rest, start=1):
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(".".join([top, *rest[:n]]), spec.submodule_search_locations)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).absolute() if spec is not None and spec.has_location and spec.origin else None

"""Figures of the package's import graph; exit code 1 where a rule of it is broken.

python -m tests.structure                                      the figures, and every room by floor
python -m tests.structure --list                               also the modules that only one other imports
python -m tests.structure --package NAME --path DIR            of another package: DIR is the folder it lies in

A room is a folder or module directly in the package, or the package's own `__init__`: the layers of import-linter,
and what lies above them. The floor of a room is the length of the longest chain of imports that begins there. Every
import counts, as import-linter does by default: also one within a function, or for type checkers only.

The rules: no modules import one another in a circle, nor do the children of any folder, taken as wholes; and the
leaf, a module that anyone may use, loads few others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import grimp

#: Which modules of the package each module imports, or which rooms a room.
Graph = dict[str, set[str]]

LEAF = "presentation.table"
LEAF_LOADS = 8


def read_imports(package: str, path: Path) -> Graph:
    """Of every module of the package in the folder `path`, the others that it imports."""
    sys.path.insert(0, str(path))
    try:
        graph = grimp.build_graph(package, cache_dir=None)
    finally:
        sys.path.remove(str(path))
    return {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}


def arrows(graph: Graph) -> int:
    return sum(map(len, graph.values()))


def lifted(imports: Graph, whole: Callable[[str], str | None]) -> Graph:
    """The imports between the wholes that modules belong to; those of no whole, None, do not count."""
    graph: Graph = {}
    for module, others in imports.items():
        if (above := whole(module)) is not None:
            graph.setdefault(above, set()).update(w for other in others if (w := whole(other)) not in (None, above))
    return graph


def room(module: str) -> str:
    package, *inner = module.split(".")
    return inner[0] if inner else package


def folders(imports: Graph) -> set[str]:
    """Every folder of the package, its own included."""
    return {module.rpartition(".")[0] for module in imports} - {""}


def reached(graph: Graph) -> dict[str, frozenset[str]]:
    """What each node imports, itself included, over any number of steps."""
    found = {}
    for node in graph:
        seen, waiting = {node}, [node]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        found[node] = frozenset(seen)
    return found


def circles(graph: Graph) -> list[list[str]]:
    """The sets of nodes of which each imports, over some steps, all others."""
    groups = defaultdict(list)
    for node, below in reached(graph).items():  # those in a circle reach the same
        groups[below].append(node)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def folder_circles(imports: Graph) -> list[list[str]]:
    """The circles among the direct children, folders and modules, of every folder."""

    def child_of(folder: str) -> Callable[[str], str | None]:
        depth = folder.count(".") + 2
        return lambda m: ".".join(m.split(".")[:depth]) if m.startswith(f"{folder}.") else None

    return [circle for folder in sorted(folders(imports)) for circle in circles(lifted(imports, child_of(folder)))]


def floors(graph: Graph) -> dict[str, int]:
    """The length of the longest chain of imports from each node down; a circle counts as one."""
    below = reached(graph)
    floor: dict[str, int] = {}
    for node in sorted(graph, key=lambda node: len(below[node])):
        deeper = (floor[other] for other in below[node] if len(below[other]) < len(below[node]))
        floor[node] = 1 + max(deeper, default=0)
    return floor


def within(imports: Graph, circle: list[str]) -> Iterator[tuple[str, str]]:
    """The imports that make a circle of modules or folders, as pairs of modules."""

    def member(module: str) -> str | None:
        return next((whole for whole in circle if f"{module}.".startswith(f"{whole}.")), None)

    for module, others in imports.items():
        for other in sorted(others):
            if None not in (ends := {member(module), member(other)}) and len(ends) == 2:
                yield module, other


def only_importers(imports: Graph) -> dict[str, str]:
    """The modules that exactly one other imports, and that one."""
    importers = defaultdict(list)
    for module, others in imports.items():
        for other in others:
            importers[other].append(module)
    return {module: by[0] for module, by in sorted(importers.items()) if len(by) == 1}


def loads(module: str, path: Path) -> int:
    """How many modules of its package a fresh process has once it imported a module, that one included."""
    package = module.partition(".")[0]
    code = f"import sys, {module}; print(sum(m.partition('.')[0] == '{package}' for m in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-P", "-c", code]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def lines(package: str, path: Path) -> Counter[str]:
    """Lines of the Python files of each room."""
    counted: Counter[str] = Counter()
    for file in (path / package).rglob("*.py"):
        first = file.relative_to(path / package).parts[0].removesuffix(".py")
        counted[package if first == "__init__" else first] += len(file.read_text(encoding="utf-8").splitlines())
    return counted


def unseen(package: str, path: Path) -> list[str]:
    """Folders with code and no `__init__.py`: neither this script nor import-linter would look into them."""
    holding = {file.parent for file in (path / package).rglob("*.py")}
    return sorted(f.relative_to(path).as_posix() for f in holding if not (f / "__init__.py").is_file())


def broken(imports: Graph, leaf_loads: int | None, unseen_folders: Sequence[str] = ()) -> list[str]:
    """What breaks a rule, in words."""
    found = [f"{folder}: has no __init__.py, so no rule sees what it holds" for folder in unseen_folders]
    for kind, those in (("folders", folder_circles(imports)), ("modules", circles(imports))):
        for circle in those:
            pairs = "".join(f"\n    {module} -> {other}" for module, other in within(imports, circle))
            found.append(f"{kind} in a circle: {', '.join(circle)}{pairs}")
    if leaf_loads is not None and leaf_loads > LEAF_LOADS:
        found.append(f"the leaf loads {leaf_loads} modules, more than {LEAF_LOADS}")
    return found


def print_figures(imports: Graph, counted: Mapping[str, int], leaf: str, leaf_loads: int | None) -> None:
    rooms = lifted(imports, room)
    floor = floors(rooms)
    tops = {module for module in imports if module.count(".") == 1}
    figures = {
        "modules": len(imports),
        "arrows between modules": arrows(imports),
        "rooms": len(rooms),
        "folders of any depth, and modules directly in the package": len(folders(imports) | tops) - 1,
        "arrows between rooms": arrows(rooms),
        "floors": max(floor.values()),
        "circles of folders": len(folder_circles(imports)),
        "circles of modules": len(circles(imports)),
        "modules that only one other imports": len(only_importers(imports)),
        f"modules that {leaf} loads": "-" if leaf_loads is None else leaf_loads,
        "lines": sum(counted.values()),
    }
    for name, figure in figures.items():
        print(f"{figure:>6} {name}")
    print("\n floor  lines room")
    for name in sorted(rooms, key=lambda name: (-floor[name], name)):
        print(f"{floor[name]:>6} {counted[name]:>6} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", default="joulebench")
    parser.add_argument("--path", type=Path, default=Path(__file__).parents[1] / "suite")
    parser.add_argument("--leaf", default=LEAF, help="the leaf, named within the package; not counted if absent")
    parser.add_argument("--list", action="store_true", help="also list the modules that only one other imports")
    given = parser.parse_args()
    path, leaf = given.path.resolve(), f"{given.package}.{given.leaf}"
    imports = read_imports(given.package, path)
    leaf_loads = loads(leaf, path) if leaf in imports else None
    print_figures(imports, lines(given.package, path), leaf, leaf_loads)
    if given.list:
        print("\nModules that only one other imports")
        for module, by in only_importers(imports).items():
            print(f"{module} <- {by}")
    problems = broken(imports, leaf_loads, unseen(given.package, path))
    for problem in problems:
        print(f"\n{problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""Cells of a network as graphs: what lies on a path from input to output, and one form for equal ones. Pure.

Vertex 0 is the input, the last one the output; edges lead from lower to higher numbers. NAS-Bench-101 (Ying et
al., arXiv 1902.09635) removes what lies on no path, and takes two graphs for one network if renaming inner vertices
makes one of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import permutations

Edges = frozenset[tuple[int, int]]
Graph = tuple[Edges, dict[int, int], int]  # edges, operations of inner vertices, number of the output
Form = tuple[int, tuple[tuple[int, int], ...], tuple[int, ...]]


@cache
def used(edges: Edges, last: int) -> tuple[int, ...]:
    """Vertices on a path from 0 to `last`, in order; none if there is no path."""
    ahead, back = {0}, {last}
    for i, j in sorted(edges):  # from lower to higher: whatever leads to i has been seen
        if i in ahead:
            ahead.add(j)
    for i, j in sorted(edges, key=lambda edge: (-edge[1], -edge[0])):
        if j in back:
            back.add(i)
    both = sorted(ahead & back)
    return tuple(both) if 0 in both and last in both else ()


def living(edges: Edges, operations: Mapping[int, int], last: int) -> Graph | None:
    """The graph without vertices that lie on no path from input to output, renumbered; None without a path."""
    vertices = used(edges, last)
    if not vertices:
        return None
    number = {vertex: place for place, vertex in enumerate(vertices)}
    kept = frozenset((number[i], number[j]) for i, j in edges if i in number and j in number)
    return kept, {number[v]: operations[v] for v in vertices[1:-1]}, len(vertices) - 1


def canonical(edges: Edges, operations: Mapping[int, int], last: int) -> Form:
    """One form for all graphs that differ only in the numbers of their inner vertices: the least of them."""
    return _canonical(edges, tuple(operations[v] for v in range(1, last)), last)


@cache
def _canonical(edges: Edges, operations: tuple[int, ...], last: int) -> Form:
    forms = []
    for order in permutations(range(1, last)):
        place = {0: 0, last: last, **{vertex: i for i, vertex in enumerate(order, start=1)}}
        renamed = tuple(sorted((place[i], place[j]) for i, j in edges))
        forms.append((last, renamed, tuple(operations[v - 1] for v in order)))
    return min(forms)

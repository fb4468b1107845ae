"""A comparison's section on consistency: do configurations keep their relative energy across machines? Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from joulebench.comparison.analysis import Comparison, Consistency
from joulebench.comparison.join import Joined
from joulebench.comparison.sections import kind_of, names_of, params_of
from joulebench.presentation.numbers import interval, number
from joulebench.presentation.rows import Exact
from joulebench.presentation.section import Section
from joulebench.presentation.table import MAX_ROWS, Cell, Table, first_column, label, of_all
from joulebench.presentation.words import plural


def consistency_section(comparison: Comparison) -> Section | None:
    """Return the verdict on consistency across machines; None without two shared configurations with energy."""
    joined, every = comparison.joined, comparison.consistency
    if not every:
        return None
    return Section(
        name="consistency",
        title="Consistency across machines",
        answer=" ".join(verdict_sentence(joined, c) for c in every),
        sentences=(
            *(text for text in (forms_sentence(joined),) if text),
            *(_deviation_sentence(comparison, c) for c in every),
            "Each value is taken relative to the geometric mean of its machine over the shared configurations, so "
            "that a machine's constant factor drops out. Consistent: at least one pair of configurations differs "
            "significantly on every machine, and no pair significantly in opposite directions on two (5 % over "
            "all pairs and machines together); not consistent: one does; else undecided. Within the "
            "factor lie the relative values of a configuration on any two machines in 95 % of cases: the "
            "reproducibility limit of ISO 5725-6, at the upper end of the 95 % interval of their geometric "
            "standard deviation, which holds the scatter of the measurements too.",
        ),
        tables=tuple(_relative_table(joined, c) for c in every),
        rows=tuple(row for c in every for row in _relative_rows(joined, c)),
    )


def verdict_sentence(joined: Joined, found: Consistency) -> str:
    """State `relative j_per_token is consistent across 2 machines within a factor of 1.3 (estimated energy, …)`."""
    name, n = found.objective, plural(len(found.relative), "configuration")
    where = f"across {plural(len(joined.machines), 'machine')}"
    basis = f"({kind_of(joined, name)} energy, {n})"
    pairs = f"of {plural(found.pairs, 'pair')} of configurations"
    match found.verdict:
        case "consistent":
            return (
                f"Relative {name} is consistent {where} within a factor of {number(found.within, 3)} {basis}: "
                f"{found.clear} {pairs} differ significantly on every machine, none in opposite directions."
            )
        case "not consistent":
            labels = [label(params_of(joined, key), names_of(joined)) for key in found.reversed[0]]
            return (
                f"Relative {name} is not consistent {where} {basis}: {len(found.reversed)} {pairs} differ "
                f"significantly in opposite directions, such as {labels[0]}; and {labels[1]}."
            )
        case "undecided":
            return (
                f"Whether relative {name} is consistent {where} is undecided {basis}: none {pairs} differs "
                "significantly on every machine."
            )


def forms_sentence(joined: Joined) -> str | None:
    """Say where the records describe one machine throughout, which tells nothing of other hardware."""
    hosts: list[Any] = [m.run.manifest.environment.get("host") for m in joined.machines]
    fields = ("cpu", "logical_cpus", "memory_bytes", "accelerators")
    if not all(isinstance(host, dict) and host.get("cpu") for host in hosts):
        return None
    if any(host.get(field) != hosts[0].get(field) for host in hosts[1:] for field in fields):
        return None
    known = [m.run.manifest.environment.get("torch", {}).get("threads") for m in joined.machines]
    threads = f", with {' and '.join(map(str, known))} threads" if len(set(known)) > 1 and None not in known else ""
    return (
        f"As far as the records tell these are {len(hosts)} forms of one machine ({hosts[0]['cpu']}{threads}), "
        "which says nothing about other hardware."
    )


def _deviation_sentence(comparison: Comparison, found: Consistency) -> str:
    value, ends = found.deviation, interval(found.deviation)
    key, most = max(found.spread.items(), key=lambda item: item[1])
    where = label(params_of(comparison.joined, key), names_of(comparison.joined))
    rho = min((a.ranks.value for a in comparison.of(found.objective) if a.ranks), default=None)
    ranks = "" if rho is None else f" Spearman's ρ is {'at least ' if len(comparison.joined.machines) > 2 else ''}"
    ranks += "" if rho is None else f"{number(rho, 3)}."
    return (
        f"{found.objective}: relative values scatter between machines by a factor of {number(value.mean, 3)} "
        f"{ends} (geometric standard deviation, {number(value.freedom)} degrees of freedom), at most by "
        f"{number(most, 3)} from the lowest to the highest machine ({where}). {found.kept} of "
        f"{plural(found.pairs, 'pair')} of configurations are in the same order on every machine.{ranks}"
    )


def _relative_table(joined: Joined, found: Consistency) -> Table:
    keys = list(found.relative)[:MAX_ROWS]
    first, labels = first_column([params_of(joined, key) for key in keys], names_of(joined))
    rows = [
        (Cell(text), *(Cell(number(v, 3)) for v in found.relative[key]), Cell(number(found.spread[key], 3)))
        for text, key in zip(labels, keys, strict=True)
    ]
    titles = (first, *(m.label for m in joined.machines), "Highest / lowest")
    some = of_all(len(keys), len(found.relative), "first")
    kind = kind_of(joined, found.objective)
    return Table.of(f"{found.objective} relative to each machine's geometric mean ({kind}){some}", titles, rows)


def _relative_rows(joined: Joined, found: Consistency) -> Iterator[dict[str, object]]:
    for key, values in found.relative.items():
        yield {
            "objective": found.objective,
            **{f"param_{n}": Exact(v) for n, v in params_of(joined, key).items()},
            **{f"{m.label} relative": v for m, v in zip(joined.machines, values, strict=True)},
            "spread": found.spread[key],
            "kind": kind_of(joined, found.objective),
        }

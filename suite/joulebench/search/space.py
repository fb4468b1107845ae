"""The part of a task's parameter space that a stage searches, and exact maps into it from the unit cube. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from math import prod

from joulebench.errors import InputError
from joulebench.results.outcome import configuration_key
from joulebench.search.encoding import Array, Encoding
from joulebench.search.values import Free, all_values, cardinality, near, nth_value, value_at
from joulebench.spec.parameters import Params, Value
from joulebench.spec.stage import Stage
from joulebench.spec.task import Task

#: A space of no more combinations than this is listed, condition by condition, and can be searched exactly.
LISTED = 1 << 15

#: Of more free parameters than this a model learns little in the usual number of trials.
MANY = 15

_KEPT = 4
_spaces: dict[tuple[str, tuple[str, ...]], Space] = {}  # the last few: to list thousands of members takes time


@dataclass(frozen=True)
class Space:
    """The parameters a stage varies; every other parameter stays at its default.

    Its members are complete configurations that the task allows, each in its canonical form: a parameter that
    cannot matter (`only_if`) stands at its default, so two members are two different configurations.
    """

    task: Task
    names: tuple[str, ...]

    @classmethod
    def of(cls, task: Task, stage: Stage) -> Space:
        """The space of a stage that searches.

        Parameters of scope "device" keep their default: they are no part of a configuration, so two of
        their values would count as the same one.

        Raises:
            InputError: `vary` names such a parameter.
        """
        if stage.vary is None:
            return _space(task, tuple(n for n, p in task.free.items() if p.scope == "task"))
        names = tuple(n for n in task.free if n in stage.vary)
        for name in names:
            if task.parameters[name].scope == "device":
                raise InputError(
                    f"task '{task.name}': '{name}' has scope 'device', so method '{stage.method}' cannot vary it;"
                    " method 'grid' can"
                )
        return _space(task, names)

    @cached_property
    def parameters(self) -> dict[str, Free]:
        return {name: self.task.free[name] for name in self.names}

    @cached_property
    def combinations(self) -> int | None:
        """Number of combinations of values, allowed and distinct or not; None with a float parameter."""
        counts = [cardinality(p) for p in self.parameters.values()]
        return None if None in counts else prod(c for c in counts if c is not None)

    @cached_property
    def listed(self) -> tuple[Params, ...] | None:
        """Every member once, the last parameter counting fastest; None if more than `LISTED` combinations."""
        if self.combinations is None or self.combinations > LISTED:
            return None
        values = (all_values(p) for p in self.parameters.values())
        return tuple(distinct(self.task, map(self.complete, product(*values))))

    @cached_property
    def encoding(self) -> Encoding:
        return Encoding(self.task)

    @cached_property
    def listed_keys(self) -> tuple[str, ...]:
        return tuple(map(self.key, self.listed or ()))

    @cached_property
    def listed_rows(self) -> Array:
        """The members as points of the unit cube."""
        return self.encoding.encode(self.listed or ())

    @cached_property
    def size(self) -> int | None:
        """Number of members.

        None where a parameter is continuous, and where conditions leave the number open: more than `LISTED`
        combinations, of which the task does not allow all or some are the same configuration.
        """
        if self.listed is not None:
            return len(self.listed)
        return None if has_conditions(self.task) else self.combinations

    def complete(self, values: Sequence[Value]) -> Params:
        return self.task.resolve(dict(zip(self.names, values, strict=True)))

    def at(self, unit: Sequence[float]) -> Params:
        """The configuration at a point of the unit cube [0, 1)^d, allowed or not."""
        return self.complete([value_at(p, u) for p, u in zip(self.parameters.values(), unit, strict=True)])

    def nth(self, index: int) -> Params:
        """The combination numbered `index` of a space without floats; the last parameter counts fastest."""
        values: list[Value] = []
        for parameter in reversed(self.parameters.values()):
            index, digit = divmod(index, cardinality(parameter) or 1)
            values.append(nth_value(parameter, digit))
        return self.complete(values[::-1])

    def everything(self, start: int = 0) -> Iterator[Params]:
        """Every member of a space of known size, from number `start` on, wrapping round."""
        size = self.size or 0
        member = self.nth if self.listed is None else self.listed.__getitem__
        return (member((start + i) % size) for i in range(size))

    def covers(self, params: Params) -> bool:
        """Whether a configuration lies in this space: what the stage does not vary is at its default."""
        return all(
            params.get(name) == default
            for name, default in self.task.defaults.items()
            if name not in self.names and self.task.parameters[name].scope == "task"
        )

    def exhausted(self, tried: Iterable[Params]) -> bool:
        """Whether every member has been tried."""
        if self.size is None:
            return False
        keys = {self.key(params) for params in tried if self.covers(params)}
        if self.listed is not None and len(keys) >= self.size:  # what is not allowed may have been tried, too
            return keys.issuperset(self.listed_keys)
        return len(keys) >= self.size

    def key(self, params: Params) -> str:
        return configuration_key(self.task, params)

    def neighbours(self, params: Params) -> Iterator[Params]:
        """Members that differ from `params` in one parameter, by small and by large steps.

        Where that parameter decides whether others matter, these differ too: they come from or go to their
        defaults.
        """
        own = {n: params[n] for n in self.names}
        here = self.key(params)
        for name, parameter in self.parameters.items():
            for value in near(parameter, params[name]):
                other = self.task.resolve({**own, name: value})
                if self.task.allows(other) and self.key(other) != here:
                    yield other

    def first_untried(self, drawn: Iterator[Params], tried: set[str], limit: int) -> Params | None:
        """The first member among at most `limit` configurations drawn that is not among the keys tried."""
        fresh = (p for p in islice(drawn, limit) if self.task.allows(p))
        return next((p for p in fresh if self.key(p) not in tried), None)


def _space(task: Task, names: tuple[str, ...]) -> Space:
    """The same object for the same task and names, so that what it has listed is listed once a process."""
    key = (task.digest, names)
    space = _spaces.pop(key, None) or Space(task, names)
    _spaces[key] = space  # the latest last
    if len(_spaces) > _KEPT:
        del _spaces[next(iter(_spaces))]
    return space


def too_wide(task: Task) -> str | None:
    """A warning where a model searches more than `MANY` free parameters; None otherwise."""
    widths = [len(Space.of(task, stage).names) for stage in task.stages.values() if stage.method == "qnehvi"]
    if max(widths, default=0) <= MANY:
        return None
    return (
        f"warning: {max(widths)} free parameters are searched by a model, which learns little of more than {MANY}"
        " from some tens of trials: name those that matter by 'vary' in the stage"
    )


def has_conditions(task: Task) -> bool:
    """Whether some combinations of values are not allowed, or are the same configuration."""
    bounded = any(isinstance(c, str) for c in task.constraints.values())
    return bounded or any(p.only_if is not None for p in task.free.values())


def distinct(task: Task, drawn: Iterable[Params]) -> Iterator[Params]:
    """Filter `drawn`: allowed by the task, and each configuration once, device-scope parameters included."""
    if not has_conditions(task):
        yield from drawn
        return
    seen: set[str] = set()
    for params in drawn:
        values = json.dumps(list(params.values()))  # `1` and `true`, equal to Python, differ here
        if values not in seen and task.allows(params):
            seen.add(values)
            yield params

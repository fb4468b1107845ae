"""Stages of a task: the search methods and their settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from joulebench.spec.parameters import Value
from joulebench.spec.toml import Definition

Method = Literal["default", "random", "sobol", "grid", "points", "doubling", "qnehvi", "nsga2"]

#: Stage fields that a method must have, and those it may have; a method not listed needs `trials`.
_NEEDS: dict[str, set[str]] = {"default": {"repeats"}, "points": {"points"}, "grid": set(), "doubling": {"vary"}}
_MAY: dict[str, set[str]] = {
    "default": set(),
    "points": {"repeats", "order"},
    "grid": {"levels", "vary", "order"},
    "doubling": {"between"},
    "qnehvi": {"vary", "batch"},
    "nsga2": {"vary", "population"},
}


class Stage(Definition):
    """One stage of a run: the method that proposes configurations, and how many."""

    method: Method
    trials: Annotated[int, Field(ge=0, le=100_000)] | None = None
    repeats: Annotated[int, Field(ge=1, le=10_000)] | None = None
    points: tuple[dict[str, Value], ...] | None = None
    levels: Annotated[int, Field(ge=2, le=10_000)] | None = None  # grid: per int or float parameter
    order: Literal["random", "given"] | None = None  # points, grid: random in each round unless given
    vary: tuple[str, ...] | None = None  # the others stay at their default
    between: bool | None = None  # doubling: then also halfway between neighbours
    batch: Annotated[int, Field(ge=1, le=1000)] | None = None  # qnehvi: proposals from one state of knowledge
    population: Annotated[int, Field(ge=2, le=10_000)] | None = None  # nsga2: configurations a generation

    @property
    def adapts(self) -> bool:
        """Whether what it proposes depends on what was measured."""
        return self.method in ("doubling", "qnehvi", "nsga2")

    @model_validator(mode="after")
    def _fits_method(self) -> Stage:
        required = _NEEDS.get(self.method, {"trials"})
        allowed = required | _MAY.get(self.method, {"vary"})
        given = {f for f in type(self).model_fields if f != "method" and getattr(self, f) is not None}
        if missing := required - given:
            raise ValueError(f"method '{self.method}' needs {', '.join(sorted(missing))}")
        if extra := given - allowed:
            names = ", ".join(sorted(allowed)) or "nothing else"
            raise ValueError(f"method '{self.method}' does not take {', '.join(sorted(extra))} (allowed: {names})")
        if self.method == "doubling" and len(self.vary or ()) != 1:
            raise ValueError("method 'doubling' varies one parameter")
        return self

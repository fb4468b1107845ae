"""Write the energy card of a run folder as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from joulebench.cards.subject import Subject, choose
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.reporting.site import at_site
from joulebench.reporting.summary import summarise
from joulebench.results.run import Run
from joulebench.spec.parameters import Value
from joulebench.spec.registry import CARDS


@dataclass(frozen=True)
class Card:
    """The card, and which configuration it is about in one sentence."""

    text: str
    about: str
    subject: Subject


def make_card(
    folder: RunFolder,
    format: str = "hf",
    *,
    trial: int | None = None,
    given: Mapping[str, Value] | None = None,
    pue: float | None = None,
    grid_intensity_g_per_kwh: float | None = None,
) -> Card:
    """The card of one configuration of a run. The same records and fields give the same bytes.

    `format` is one that ships (hf, boamps, sci, eu), an entry point in the group `joulebench.cards`, or
    `package.module:function`: called with the `Subject` and `given`, it returns the text.

    `given` are fields that the records do not hold and the user knows; PUE and intensity are those of a site, as in
    the report. What nobody knows is absent, or said not to be measured or known.

    Raises:
        InputError: no such format, trial or field; a field that the format requires is not known; damaged records.
    """
    write: Callable[[Subject, Mapping[str, Value]], str] = CARDS.load(format, "--format")
    run = Run.of(folder)
    site = at_site(run.manifest, pue=pue, grid_intensity_g_per_kwh=grid_intensity_g_per_kwh)
    subject = choose(summarise(folder, replace(run, manifest=site, task=run.task.at(site.hardware))), trial)
    text = write(subject, given or {})
    if not isinstance(text, str):
        raise InputError(f"--format: '{format}' has to give text (got {type(text).__name__})")
    return Card(text, f"{subject.member.label}: {subject.why}", subject)

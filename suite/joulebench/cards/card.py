"""From a run folder to the text of a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from joulebench.cards.boamps import boamps_card
from joulebench.cards.eu import eu_card
from joulebench.cards.hub import hub_card
from joulebench.cards.sci import sci_card
from joulebench.cards.subject import Subject, choose
from joulebench.errors import InputError, did_you_mean
from joulebench.records.folder import RunFolder
from joulebench.reporting.site import at_site
from joulebench.reporting.summary import summarise_of, with_wall
from joulebench.results.records import Records
from joulebench.spec.parameters import Value

#: Format -> what writes it from a subject and the fields that the user gives.
FORMATS: dict[str, Callable[[Subject, Mapping[str, Value]], str]] = {
    "hf": hub_card,
    "boamps": boamps_card,
    "sci": sci_card,
    "eu": eu_card,
}


@dataclass(frozen=True)
class Card:
    """The card, and which configuration it is about in one sentence."""

    text: str
    about: str


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

    `given` are fields that the records do not hold and the user knows; PUE and intensity are those of a site, as in
    the report. What nobody knows is absent, or said not to be measured or known.

    Raises:
        InputError: no such format, trial or field; a field that the format requires is not known; damaged records.
    """
    if format not in FORMATS:
        hint = did_you_mean(format, FORMATS)
        raise InputError(f"--format: no card '{format}'{hint} (allowed: {', '.join(FORMATS)})")
    records = Records.of(folder)
    site = at_site(records.manifest, pue=pue, grid_intensity_g_per_kwh=grid_intensity_g_per_kwh)
    records = replace(records, manifest=site)
    subject = choose(records, with_wall(folder, summarise_of(records), records), trial)
    return Card(FORMATS[format](subject, given or {}), f"{subject.member.label}: {subject.why}")

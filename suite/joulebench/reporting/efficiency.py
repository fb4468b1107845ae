"""Energy and time efficiency against the hardware's peak FLOP/s, as a table and sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import ValidationError

from joulebench.presentation.numbers import number, prefix, si
from joulebench.presentation.table import Cell, Table, prefixed_cell, value_cell
from joulebench.presentation.words import domains
from joulebench.reporting.summary import Summary
from joulebench.reporting.tables import missed_ops
from joulebench.results.efficiency import (
    Efficiency,
    Peak,
    convolutions_may_use_tf32,
    efficiency,
    peak_of,
    run_dtype,
)
from joulebench.results.energy import Energy
from joulebench.results.members import Member, Target
from joulebench.results.phase_runs import flops_per_unit
from joulebench.results.training_flops import TRAIN, trained_unit
from joulebench.spec.hardware import HardwareProfile

Row = tuple[Member, Target, Energy, Efficiency]


def profile_of(summary: Summary) -> HardwareProfile | None:
    """The run's hardware profile; None where the manifest's is of another format."""
    try:
        return HardwareProfile.model_validate(summary.manifest.hardware)
    except ValidationError:
        return None


def efficiencies(summary: Summary) -> Iterator[Row]:
    """Efficiency of every frontier member's phases and training whose FLOPs, time and peak are known.

    FLOPs are those counted for the phase, else those of a sample's forward pass where that is its unit of work.
    """
    profile = profile_of(summary)
    if profile is None or not profile.peak_flops:
        return
    for member in summary.members:
        peak = peak_of(profile, run_dtype(member.params, summary.manifest.environment, profile))
        for target, gross in member.gross.items():
            flops = flops_per_unit(member.costs, target.phase, target.unit)
            achieved = efficiency(flops, member.unit_s.get(target), gross, peak)
            if achieved is not None:
                yield member, target, gross, achieved
        if (row := _training(summary, member, peak)) is not None:
            yield row


def _training(summary: Summary, member: Member, peak: Peak | None) -> Row | None:
    """Efficiency of a member's trainings; None where their FLOPs, time, joules or peak are not known."""
    trained = summary.run.training([t for t in summary.run.trials if t.trial in member.trials])
    if member.training is None or trained is None:
        return None
    unit = trained_unit(summary.task)
    gross = trained.per(trained.units, unit)
    achieved = efficiency(member.training.per_unit, trained.seconds_per(trained.units), gross, peak)
    if gross is None or achieved is None:
        return None
    return member, Target(None, TRAIN, unit, trained.families), gross, achieved


def efficiency_table(summary: Summary) -> Table:
    """Achieved FLOP/s, FLOP/J and fraction of peak by member and phase; no rows where none is known."""
    protocol = summary.task.protocol
    rows = []
    for member, target, energy, achieved in efficiencies(summary):
        per_joule, letter = prefix(achieved.flops_per_j.mean) if achieved.flops_per_j else (1.0, "")
        fraction = value_cell(achieved.fraction, protocol, 0.01, "%")
        if achieved.fraction.mean > 1:
            fraction = replace(fraction, flag="above the peak: another data type ran")
        rows.append(
            (
                Cell(", ".join(map(str, member.trials))),
                Cell(target.phase, (f"gross, {domains(energy.domains)}",)),
                prefixed_cell(achieved.flops_per_s, "FLOP/s", protocol),
                value_cell(achieved.flops_per_j, protocol, per_joule, f"{letter}FLOP/J", energy.kind),
                fraction,
                Cell(f"{si(achieved.peak.flops_per_s, 'FLOP/s')} {achieved.peak.dtype}"),
            )
        )
    titles = ("Trials", "Phase", "Achieved FLOP/s", "FLOP/J", "Fraction of peak", "Dense peak")
    return Table.of("Efficiency against the hardware's peak", titles, rows, text=2)


def efficiency_sentences(summary: Summary) -> tuple[str, ...]:
    """Source of each peak, its roofline ridge, and how FLOPs were counted."""
    rows = list(efficiencies(summary))
    peaks = {achieved.peak.dtype: achieved.peak for *_, achieved in rows}
    sentences = []
    for peak in peaks.values():
        sentences.append(f"Peak {peak.dtype}: {si(peak.flops_per_s, 'FLOP/s', 4)}; {peak.source}.")
        if peak.ridge_flop_per_byte is not None:
            sentences.append(
                f"By the roofline model, work in {peak.dtype} with fewer than "
                f"{number(peak.ridge_flop_per_byte, 3)} FLOPs a byte of memory traffic cannot reach this peak: "
                "the memory is then its limit."
            )
    profile = profile_of(summary)
    if profile and "fp32" in peaks and convolutions_may_use_tf32(summary.manifest.environment, profile):
        faster = si(profile.peak_flops["tf32"].value, "FLOP/s", 4)
        sentences.append(f"By default torch runs convolutions in fp32 as tf32, whose peak is {faster}.")
    if rows:
        sentences.append("FLOPs are counted from the model, two a multiply-accumulate, not observed.")
    missed = sorted({op for member, target, *_ in rows for op in missed_ops(member.costs, target.phase)})
    if missed:
        sentences.append(f"Operators that could not be counted make them too low: {', '.join(missed)}.")
    return tuple(sentences)

"""Energy and time efficiency against the hardware's peak FLOP/s, as a table and sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import ValidationError

from joulebench.presentation.numbers import number, prefix, si
from joulebench.presentation.table import Cell, Table, prefixed_cell, value_cell
from joulebench.presentation.words import domains
from joulebench.reporting.summary import Summary
from joulebench.results.efficiency import Efficiency, convolutions_may_use_tf32, efficiency, peak_of, run_dtype
from joulebench.results.members import Member, Target
from joulebench.results.phase_runs import flops_per_unit
from joulebench.spec.hardware import HardwareProfile

Row = tuple[Member, Target, Efficiency]


def profile_of(summary: Summary) -> HardwareProfile | None:
    """The run's hardware profile; None where the manifest's is of another format."""
    try:
        return HardwareProfile.model_validate(summary.manifest.hardware)
    except ValidationError:
        return None


def efficiencies(summary: Summary) -> Iterator[Row]:
    """Efficiency of every frontier member and phase whose FLOPs, time and peak are known.

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
                yield member, target, achieved


def efficiency_table(summary: Summary) -> Table:
    """Achieved FLOP/s, FLOP/J and fraction of peak by member and phase; no rows where none is known."""
    protocol = summary.task.protocol
    rows = []
    for member, target, achieved in efficiencies(summary):
        energy = member.gross[target]
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
    peaks = {achieved.peak.dtype: achieved.peak for _, _, achieved in rows}
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
    missed = sorted({op for member, _, _ in rows for op in member.costs.unsupported_ops})
    if missed:
        sentences.append(f"Operators that could not be counted make them too low: {', '.join(missed)}.")
    return tuple(sentences)

"""The published figures by CPU family are those of the results they are taken from; families by CPUID."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import quantiles

import pytest

from joulebench.spec.cpu_families import FAMILIES, family_of

X86 = "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: {}\nCPU architecture: 8\nCPU part\t: {}\n\n"


def results() -> dict[str, list[tuple[float, float]]]:
    """Watts a hardware thread, idle and at full load, of every server, by family.

    Results whose columns contradict one another (cores, threads, chips) are left out, and of the many sizes of one
    enclosure of blades there is only the largest.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    with (Path(__file__).parent / "specpower.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            threads = float(row["threads"])
            found.setdefault(row["family"], []).append(
                (float(row["idle_w"]) / threads, float(row["full_w"]) / threads)
            )
    return found


RESULTS = results()


def test_every_family_has_results_and_the_other_way_round():
    assert set(RESULTS) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_figures_are_the_percentiles_of_the_published_servers(name):
    family, servers = FAMILIES[name], RESULTS[name]
    assert family.servers == len(servers) >= 5
    for told, values in ((family.idle_w, [i for i, _ in servers]), (family.full_w, [f for _, f in servers])):
        tenths = quantiles(values, n=10, method="inclusive")
        assert told == pytest.approx((tenths[0], tenths[-1]), abs=0.0051)
    assert all(idle < full for idle, full in zip(family.idle_w, family.full_w, strict=True))


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name", "stepping", "found"),
    [
        ("GenuineIntel", 6, 207, "Intel(R) Xeon(R) Processor", 2, "emerald_rapids"),  # the name says nothing
        ("GenuineIntel", 6, 143, "Intel(R) Xeon(R) Platinum 8488C", 8, "sapphire_rapids"),
        ("GenuineIntel", 6, 85, "Intel(R) Xeon(R) CPU @ 2.00GHz", 3, "skylake"),
        ("GenuineIntel", 6, 85, "Intel(R) Xeon(R) CPU @ 2.80GHz", 7, "cascade_lake"),
        ("GenuineIntel", 6, 85, "Intel(R) Xeon(R) Platinum 8380H", 11, None),
        ("GenuineIntel", 6, 106, "Intel(R) Xeon(R) CPU @ 2.60GHz", 6, "ice_lake"),
        ("GenuineIntel", 6, 158, "Intel(R) Core(TM) i7-7700", 9, None),
        ("GenuineIntel", 6, 158, "Intel(R) Core(TM) i7-8700", 10, "coffee_lake"),
        ("GenuineIntel", 15, 6, "Intel(R) Pentium(R) D", 4, None),
        ("AuthenticAMD", 23, 1, "AMD EPYC 7571", 2, "epyc_naples"),
        ("AuthenticAMD", 23, 1, "AMD Ryzen 7 1700", 1, None),  # the same die
        ("AuthenticAMD", 23, 49, "AMD EPYC 7B12", 0, "epyc_rome"),
        ("AuthenticAMD", 25, 1, "AMD EPYC 7B13", 1, "epyc_milan"),
        ("AuthenticAMD", 25, 17, "AMD EPYC", 1, "epyc_genoa"),
        ("AuthenticAMD", 25, 160, "AMD EPYC 9754 128-Core Processor", 2, "epyc_bergamo"),
        ("AuthenticAMD", 26, 2, "AMD EPYC 9R45", 1, "epyc_turin"),
        ("AuthenticAMD", 26, 17, "AMD EPYC 9965 192-Core Processor", 0, "epyc_turin_dense"),
        ("HygonGenuine", 24, 0, "Hygon C86 7185", 1, None),
    ],
)
def test_a_family_is_known_by_cpuid(vendor, family, model, name, stepping, found):
    text = X86.format(vendor, family, model, name, stepping)
    assert family_of(text * 2) == found


def test_arm_is_known_by_implementer_and_part():
    assert family_of(ARM.format("0x41", "0xd0c")) == "neoverse_n1"
    assert family_of(ARM.format("0x41", "0xd4f")) is None  # Neoverse V2: one server is published, which is no span
    assert family_of(ARM.format("0xc0", "0xd0c")) is None


@pytest.mark.parametrize("text", ["", "model name\t: x\n", X86.format("GenuineIntel", "six", 1, "x", 1), "\n\n\n"])
def test_what_tells_nothing_has_no_family(text):
    assert family_of(text) is None

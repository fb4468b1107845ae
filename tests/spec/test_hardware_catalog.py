"""Every shipped hardware profile: facts with sources, names that match, no two for one host."""

from __future__ import annotations

import itertools
import re
from fnmatch import fnmatch

import pytest

from joulebench.spec.catalog import all_profiles, find_profile, profile_files
from joulebench.spec.hardware import Fact, Host, choose_profile

NAMES = list(profile_files())
PROFILES = all_profiles()
REQUIRED = {
    "generic_cpu", "cloud_epyc_vm", "cloud_xeon_vm", "nvidia_h200", "nvidia_h100", "nvidia_a100", "nvidia_l4",
    "nvidia_t4", "nvidia_rtx_4090", "nvidia_rtx_3090",
}  # fmt: skip
#: Data types from the slowest to the fastest on one device; tf32 and fp16 are not comparable with int8 everywhere.
SLOWER = (("fp64", "fp32"), ("fp32", "tf32"), ("tf32", "bf16"), ("bf16", "fp8"), ("fp32", "fp16"), ("fp16", "int8"))


def facts(profile) -> dict[str, Fact]:
    own = {name: value for name in type(profile).model_fields if isinstance(value := getattr(profile, name), Fact)}
    return own | {f"peak_flops.{dtype}": fact for dtype, fact in profile.peak_flops.items()}


def hosts(profile) -> list[Host]:
    """A host for every example of the profile's."""
    virtual = bool(profile.match.virtual)
    if profile.kind == "gpu":
        return [Host("Some CPU", 64, (name, name)) for name in profile.match.examples]
    return [Host(name, 4, (), virtual=virtual) for name in profile.match.examples]


def test_the_profiles_that_were_promised_are_there():
    assert set(NAMES) >= REQUIRED


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_has_a_source_and_a_date(name):
    for field, fact in facts(find_profile(name)).items():
        assert len(fact.source) > 20, field
        assert re.match(r"20\d\d", fact.date), field
        if field.startswith("peak_flops"):
            assert "dense" in fact.source, field


@pytest.mark.parametrize("name", NAMES)
def test_grid_and_building_are_the_users_to_state(name):
    profile = find_profile(name)
    assert (profile.country, profile.grid_intensity_g_per_kwh, profile.pue) == (None, None, None)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("generic")])
def test_its_examples_choose_it_and_no_other(name):
    profile = find_profile(name)
    assert hosts(profile)
    for host in hosts(profile):
        if profile.cpu_threads is None:
            assert choose_profile(PROFILES, host).name == name
        else:  # the same machine with fewer threads: by name only
            assert profile.fits(host)
            assert choose_profile(PROFILES, host).cpu_threads is None


def test_no_two_profiles_tie():
    found_by_host = [p for p in PROFILES if p.cpu_threads is None]
    for one, other in itertools.combinations(found_by_host, 2):
        for host in (*hosts(one), *hosts(other)):
            mine, theirs = one.specificity(host), other.specificity(host)
            assert mine is None or mine != theirs, (one.name, other.name)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("nvidia_")])
def test_a_gpus_figures_are_plausible(name):
    profile = find_profile(name)
    peaks = {dtype: fact.value for dtype, fact in profile.peak_flops.items()}
    assert 1e12 < peaks["fp32"] < 2e14
    for slow, fast in SLOWER:
        if slow in peaks and fast in peaks:
            assert peaks[slow] <= peaks[fast], (slow, fast)
    if "tf32" in peaks and "bf16" in peaks:
        assert peaks["bf16"] == pytest.approx(2 * peaks["tf32"], rel=0.02)
    assert profile.memory_bandwidth_bytes_per_s is not None
    assert 2e11 < profile.memory_bandwidth_bytes_per_s.value < 1e13
    if profile.tdp_w is not None:
        assert 50 <= profile.tdp_w.value <= 1000


def test_variants_of_a_card_do_not_pass_for_it():
    named = {p.name: p for p in PROFILES}
    for name in (
        "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA A10G", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA B200", "GRID T4-8Q",
    ):  # fmt: skip
        chosen = choose_profile(PROFILES, Host("Some CPU", 8, (name,)))
        assert chosen.name == "generic_nvidia_gpu", name
    assert not named["nvidia_h200"].fits(Host("Some CPU", 8, ("NVIDIA H200 NVL",)))


@pytest.mark.parametrize(
    ("name", "in_guest", "bare"),
    [
        ("cloud_epyc_vm", "AMD EPYC", "AMD EPYC 9654"),
        ("cloud_xeon_vm", "Intel(R) Xeon(R) Processor", "Intel(R) Xeon(R) Platinum 8488C"),
    ],
)
def test_a_server_cpu_is_a_cloud_machine_only_inside_a_virtual_one(name, in_guest, bare):
    assert choose_profile(PROFILES, Host(in_guest, 2, (), virtual=True)).name == name
    assert choose_profile(PROFILES, Host(bare, 192, ())).name == "generic_cpu"
    assert find_profile(name).cpu_tdp_w is None  # a slice's TDP is not known


def test_patterns_are_literal_or_end_in_a_star():
    """A pattern in the middle of a name would match cards nobody has checked."""
    for profile in PROFILES:
        for pattern in profile.match.accelerator:
            assert "*" not in pattern[:-1]
            assert fnmatch(pattern.replace("*", "x"), pattern)

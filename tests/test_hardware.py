"""Hosts, profiles, and whether they match."""

from __future__ import annotations

import pytest

from suite.catalog import all_profiles, find_profile, profile_files
from suite.errors import InputError
from suite.hardware import HardwareProfile, Host, Match, check_profile, choose_profile, detect_host, load_profile

LAPTOP = Host("Some CPU", 8, ())
SERVER = Host("AMD EPYC 9654", 192, ("NVIDIA H200", "NVIDIA H200"))


@pytest.mark.parametrize("name", profile_files())
def test_every_shipped_profile_reads(name):
    profile = find_profile(name)
    assert profile.grid_intensity_g_per_kwh is None  # the user's to give
    assert profile.pue is None


def test_this_host_has_a_profile():
    host = detect_host()
    assert host.cpu
    assert host.logical_cpus >= 1
    assert choose_profile(all_profiles(), host).fits(host)


def test_the_most_exact_profile_is_chosen():
    profiles = [
        HardwareProfile(name="any_gpu", title="x", match=Match(accelerator="*")),
        HardwareProfile(name="h200", title="x", match=Match(accelerator="NVIDIA H200*")),
        HardwareProfile(name="cpu", title="x"),
    ]
    assert choose_profile(profiles, SERVER).name == "h200"
    assert choose_profile(profiles, LAPTOP).name == "cpu"
    with pytest.raises(InputError, match="no hardware profile fits"):
        choose_profile(profiles[1:2], LAPTOP)


def test_a_profile_of_another_machine_is_refused_naming_both():
    h200 = HardwareProfile(name="h200", title="x", match=Match(accelerator="NVIDIA H200*"))
    with pytest.raises(InputError, match=r"'h200' describes NVIDIA H200\*, but this host has Some CPU"):
        check_profile(h200, LAPTOP)
    check_profile(h200, SERVER)


def test_a_fact_needs_its_source(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "x"\n[cpu_tdp_w]\nvalue = 100.0\n')
    with pytest.raises(InputError, match=r"mine\.toml: cpu_tdp_w\.source: Field required"):
        load_profile(path)


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'generic_cpu'"):
        find_profile("generic_cpus")

"""Hosts, profiles, whether they match, what the user may force, and what he says of grid and building."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from joulebench.commands.hardware import catalogue_lines, host_lines, meter_lines, probe_lines, profile_lines
from joulebench.errors import InputError
from joulebench.meters.probe import Probed
from joulebench.meters.select import MeterStatus
from joulebench.reporting.efficiency import profile_of
from joulebench.reporting.prose import banners, search_price
from joulebench.reporting.repeat import repeat_command
from joulebench.reporting.summary import summarise
from joulebench.results.cost import search_cost
from joulebench.runner import plan as planning
from joulebench.runner.local import resume, run
from joulebench.spec.catalog import all_profiles, find_profile
from joulebench.spec.hardware import (
    HardwareProfile,
    Host,
    Match,
    carbon_g,
    check_profile,
    choose_profile,
    detect_cpu_family,
    detect_host,
    kg_co2e_per_j,
    load_profile,
    mismatch,
    unmetered_accelerators,
)
from joulebench.spec.hardware import _is_virtual as is_virtual
from tests.commands.calling import call
from tests.conftest import REPOSITORY
from tests.run_factory import full_run
from tests.runner.test_local import unfinished, write_toy

LAPTOP = Host("Some CPU", 8, ())
SERVER = Host("AMD EPYC 9654", 192, ("NVIDIA H200", "NVIDIA H200"))
H200 = HardwareProfile(name="h200", title="x", match=Match(accelerator="NVIDIA H200*"))
CPU = HardwareProfile(name="cpu", title="x")
MINE = 'name = "mine"\ntitle = "My machine"\n'
OTHER = MINE + '[match]\ncpu = "Another CPU"\n'
GIVEN = 'value = {}\nsource = "the caretaker"\ndate = "2026"\n'


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


# -- matching ----------------------------------------------------------------------------------------------------


def test_this_host_has_a_profile():
    host = detect_host()
    assert host.cpu
    assert host.logical_cpus >= 1
    assert host.memory_bytes > 2**28
    assert choose_profile(all_profiles(), host).fits(host)


def test_the_most_exact_profile_is_chosen():
    profiles = [HardwareProfile(name="any_gpu", title="x", match=Match(accelerator="*")), H200, CPU]
    assert choose_profile(profiles, SERVER).name == "h200"
    assert choose_profile(profiles, LAPTOP).name == "cpu"
    with pytest.raises(InputError, match="--hardware"):
        choose_profile(profiles[1:2], LAPTOP)


def test_one_of_several_patterns_is_enough():
    both = HardwareProfile(name="t4", title="x", match=Match(accelerator=("Tesla T4", "NVIDIA T4")))
    assert both.fits(Host("c", 1, ("NVIDIA T4",)))
    assert both.fits(Host("c", 1, ("tesla t4",)))
    assert not both.fits(Host("c", 1, ("NVIDIA T400",)))


def test_a_tie_is_refused_naming_both():
    twin = H200.model_copy(update={"name": "twin"})
    with pytest.raises(InputError, match="'h200' and 'twin' fit this host"):
        choose_profile([H200, twin], SERVER)


def test_virtual_and_bare_machines_are_told_apart():
    guest = HardwareProfile(name="guest", title="x", match=Match(cpu="AMD*", virtual=True))
    inside = Host("AMD EPYC", 2, (), virtual=True)
    assert choose_profile([CPU, guest], inside).name == "guest"
    assert not guest.fits(Host("AMD EPYC", 2, ()))
    assert is_virtual("model name\t: x\nflags\t\t: fpu hypervisor vme\n")


def test_a_profile_of_another_machine_is_refused_naming_both():
    with pytest.raises(InputError, match=r"'h200' describes NVIDIA H200\*, but this host has Some CPU"):
        check_profile(H200, LAPTOP)
    with pytest.raises(
        InputError, match=r"'cpu' describes a CPU '\*' without accelerator, but this host has NVIDIA"
    ):
        check_profile(CPU, SERVER)
    check_profile(H200, SERVER)
    assert mismatch(H200, SERVER) is None


# -- what is published of a CPU, and accelerators without a meter --------------------------------------------------


def test_the_host_says_what_servers_with_its_cpu_draw():
    known = "\n".join(host_lines(Host("AMD EPYC", 8, (), cpu_family="epyc_rome")))
    assert "EPYC 7002 (Rome); 36 published servers" in known
    assert "0.32 to 0.67 W idle and 1.53 to 1.92 W at full load" in known
    assert "SPECpower" in known
    assert "not among those" in "\n".join(host_lines(LAPTOP))
    assert detect_host().cpu_family == detect_cpu_family()


def test_gpus_of_amd_are_counted_by_the_kernels_list(tmp_path):
    assert unmetered_accelerators(tmp_path / "absent") == ()
    for number, simds in enumerate((0, 304, 304)):  # the first is the CPU
        node = tmp_path / str(number)
        node.mkdir()
        (node / "properties").write_text(f"cpu_cores_count {96 if not simds else 0}\nsimd_count {simds}\n")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "properties").mkdir()  # cannot be read
    assert unmetered_accelerators(tmp_path) == ("AMD GPU (ROCm)",) * 2


@pytest.mark.parametrize(("machine", "found"), [("arm64", ("Apple GPU (MPS)",)), ("x86_64", ())])
def test_the_gpu_of_apple_silicon_is_known_by_its_cpu(monkeypatch, tmp_path, machine, found):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert unmetered_accelerators(tmp_path) == found


def test_counters_are_listed_as_they_moved():
    moved = Probed("gpu:0", "nvml_counter", 3.0, 0.0021, (0.1, 0.1, 0.13), (30.0, 29.5, 31.0))
    stood = Probed("cpu", "rapl_package", 3.0, 0.0001, (), ())
    first, *lines = probe_lines([[moved], "the GPU is lost", [stood]])
    assert lines[0].endswith("every 100 ms, at most 130 ms; least step 29.5 J; a read of the meter takes 2.1 ms")
    assert lines[1] == "  failed: the GPU is lost"
    assert lines[2].endswith("moved less than three times in 3 s")
    assert list(probe_lines([])) == [
        first,
        "  no RAPL counter can be read; what a GPU's counter does stands with its meter above",
    ]


# -- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cpu_tdp_w]\nvalue = 100.0\ndate = '2026'\n", r"mine\.toml: cpu_tdp_w\.source: "),
        ("[cpu_tdp_w]\nvalue = 100.0\nsource = 's'\n", r"cpu_tdp_w\.date: "),
        ("[cpu_tdp_w]\nvalue = 100.0\nsource = 's'\ndate = 'May'\n", r"cpu_tdp_w\.date: .*got 'May'"),
        ("[cpu_tdp_w]\n" + GIVEN.format(-1.0), r"cpu_tdp_w\.value: .*greater than 0"),
        ("[tdp_w]\n" + GIVEN.format(70.0), "tdp_w: is the accelerator's.*cpu_tdp_w"),
        ("[peak_flops.fp61]\n" + GIVEN.format(1e12), "peak_flops: no data type 'fp61'; did you mean 'fp64'"),
        ("[peak_flops.fp16]\n" + GIVEN.format(989.0), "peak_flops: fp16: 989 "),
        ("[memory_bytes]\n" + GIVEN.format(80), r"memory_bytes: .*got 80\)"),
        ("[memory_bandwidth_bytes_per_s]\n" + GIVEN.format(900.0), r"memory_bandwidth_bytes_per_s: .*got 900\)"),
        ("[pue]\n" + GIVEN.format(0.9), r"pue: .*1 .*got 0\.9\)"),
        ("[grid_intensity_g_per_kwh]\n" + GIVEN.format(45000), r"grid_intensity_g_per_kwh: .*3000 .*got 45000\)"),
        ('country = "France"\n', "country: .*got 'France'"),
        ('cpu_family = "epyc_roma"\n', "cpu_family: no family 'epyc_roma'; did you mean 'epyc_rome'"),
        ("[match]\nacelerator = 'x'\n", "match.acelerator: unknown key; did you mean 'accelerator'"),
        ("[match]\naccelerator = 'A'\nexamples = ['B']\n", r"match\.examples: 'B'.*'A'"),
        (
            "[match]\naccelerator = 'A'\n[tdp_w]\n" + GIVEN.format(70) + "[idle_power_w]\n" + GIVEN.format(71),
            "idle_power_w: 71 W.*tdp_w, 70 W",
        ),
    ],
)
def test_an_inconsistent_profile_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as refused:
        load_profile(write(tmp_path, MINE + text))
    assert "\n" not in str(refused.value)


def test_the_readmes_profile_reads(tmp_path):
    (text,) = re.findall(r'```\n(name = "mine".*?)```', (REPOSITORY / "README.md").read_text(), flags=re.S)
    profile = load_profile(write(tmp_path, text))
    assert profile.fits(Host("AMD Ryzen 9 7950X 16-Core Processor", 32, ()))
    assert profile.peak_flops["fp32"].value == pytest.approx(16 * 32 * 4.5e9, rel=0.01)


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'generic_cpu'"):
        find_profile("generic_cpus")
    with pytest.raises(InputError, match="did you mean 'nvidia_h200'"):
        find_profile("nvidia_h20")


def test_a_profile_survives_its_manifest():
    for profile in all_profiles():
        assert HardwareProfile.model_validate_json(json.dumps(profile.model_dump(mode="json"))) == profile


def test_check_knows_a_profile_wherever_it_lies(monkeypatch, capsys, tmp_path):
    code, out, _ = call(monkeypatch, capsys, "check", write(tmp_path, OTHER))
    assert (code, "ok (My machine)" in out) == (0, True)


# -- forcing -----------------------------------------------------------------------------------------------------


def test_a_forced_profile_runs_is_recorded_and_shown(tmp_path):
    task, profile = write_toy(tmp_path, method="random"), write(tmp_path, OTHER)
    with pytest.raises(InputError, match=r"'mine' describes a CPU 'Another CPU'.*--force-hardware"):
        run(str(task), out=tmp_path, hardware=str(profile), replay="100")
    folder = run(str(task), out=tmp_path, hardware=str(profile), force_hardware=True, replay="100")
    assert "'mine' describes a CPU 'Another CPU'" in folder.manifest().hardware_override
    summary = summarise(folder)
    (note,) = [b for b in banners(summary) if "not this machine's" in b.title]
    assert detect_host().cpu in note.text
    assert "--force-hardware" in repeat_command(summary)
    assert profile_of(summary).name == "mine"
    resume(unfinished(folder).path)  # the same machine, differing in the same way


def test_a_run_does_not_go_on_on_another_machine(tmp_path, monkeypatch):
    folder = run(str(write_toy(tmp_path, method="random")), out=tmp_path, replay="100")
    assert folder.manifest().hardware_override is None
    monkeypatch.setattr("joulebench.runner.local.detect_host", lambda: SERVER)
    with pytest.raises(InputError, match="began on another machine"):
        resume(unfinished(folder).path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"force_hardware": True}, "named with --hardware"),
        ({"force_hardware": True, "hardware": "nvidia_h200"}, "describes NVIDIA H200.*no device to run on"),
    ],
)
def test_what_cannot_be_forced(monkeypatch, arguments, message):
    monkeypatch.setattr("joulebench.runner.plan.detect_host", lambda: LAPTOP)
    with pytest.raises(InputError, match=message):
        planning.plan("digits", **arguments)


def test_forcing_a_profile_that_fits_records_nothing(monkeypatch):
    monkeypatch.setattr("joulebench.runner.plan.detect_host", lambda: LAPTOP)
    chosen = planning.plan("digits", hardware="generic_cpu", force_hardware=True)
    assert chosen.hardware_override is None


# -- carbon ------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(monkeypatch):
    """CodeCarbon's country table, in little."""

    def lookup(iso3: str) -> tuple[float, str]:
        if iso3 != "FRA":
            raise InputError(f"--country: no grid intensity for '{iso3}'")
        return 56.0, "CodeCarbon's table"

    monkeypatch.setattr("joulebench.meters.codecarbon.grid_intensity_g_per_kwh", lookup, raising=False)


def test_nothing_is_assumed_of_the_grid():
    profile = planning.plan("digits").profile
    assert (profile.country, profile.grid_intensity_g_per_kwh, profile.pue) == (None, None, None)


def test_what_the_user_says_is_the_runs():
    profile = planning.plan("digits", grid_intensity=420, pue=1.3).profile
    assert (profile.grid_intensity_g_per_kwh.value, profile.pue.value) == (420, 1.3)
    assert profile.pue.source == "given with --pue"
    summary = summarise_with(profile)
    price = search_price(summary)[1]
    assert summary.cost.carbon_g == pytest.approx(summary.ledger.total_j / 3.6e6 * 1.3 * 420)
    assert "given with --grid-intensity" in price
    assert "PUE 1.3 (given with --pue)" in price
    assert repeat_command(summary).split()[-6:-2] == ["--grid-intensity", "420.0", "--pue", "1.3"]


def summarise_with(profile):
    from joulebench.reporting.summary import Summary

    built = full_run()
    return Summary(built.read(hardware=profile.model_dump(mode="json")))


def test_a_country_becomes_an_intensity_with_its_source(table):
    profile = planning.plan("digits", country="fra").profile
    assert profile.country == "FRA"
    assert profile.grid_intensity_g_per_kwh.value == 56
    assert profile.grid_intensity_g_per_kwh.source == "FRA: CodeCarbon's table"
    assert "--country FRA" in repeat_command(summarise_with(profile))


def test_an_intensity_is_used_before_a_country(table):
    profile = planning.plan("digits", country="FRA", grid_intensity=10).profile
    assert (profile.country, profile.grid_intensity_g_per_kwh.value) == ("FRA", 10)


def test_the_users_country_overrules_a_profiles_intensity(table, tmp_path):
    text = MINE + "[grid_intensity_g_per_kwh]\n" + GIVEN.format(300.0)
    if detect_host().has_accelerator:
        text += '[match]\naccelerator = "*"\n'
    path = str(write(tmp_path, text))
    assert planning.plan("digits", hardware=path).profile.grid_intensity_g_per_kwh.value == 300
    assert planning.plan("digits", hardware=path, country="FRA").profile.grid_intensity_g_per_kwh.value == 56


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pue": 0.5}, r"--pue: pue: .*got 0\.5\)"),
        ({"pue": float("nan")}, "--pue: pue"),
        ({"grid_intensity": 0.0}, "--grid-intensity: .*greater than 0"),
        ({"grid_intensity": 1e6}, r"--grid-intensity: .*3000 .*got 1e\+06\)"),
        ({"country": "France"}, "country 'FRANCE': not an ISO 3166 .*did you mean 'FRA'"),
        ({"country": ""}, "country ''"),
    ],
)
def test_nonsense_about_the_grid_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        planning.plan("digits", **arguments)


# -- joulebench hardware -----------------------------------------------------------------------------------------


def test_the_command_shows_host_profile_and_meters(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "hardware")
    assert code == 0
    host = detect_host()
    assert host.cpu in out
    assert f"Hardware profile {choose_profile(all_profiles(), host).name}:" in out
    assert "\nMeters\n" in out
    assert "cpu_load_model" in out


def test_the_command_shows_a_profiles_facts_with_their_sources(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "hardware", "nvidia_t4")
    assert code == 0
    assert all(
        text in out for text in ("70 W", "320 GB/s", "65 TFLOP/s", "130 TOP/s", "16 GiB", "T4 Tensor Core GPU")
    )
    assert call(monkeypatch, capsys, "hardware", "nvidia_t5")[0] == 2


def test_the_command_loads_no_torch():
    code = (
        "import sys\nfrom joulebench.commands.main import main\nsys.argv = ['joulebench', 'hardware']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_the_command_lists_every_profile(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "hardware", "--all")
    assert code == 0
    assert len(out.splitlines()) == len(all_profiles())


def test_hosts_profiles_and_meters_in_words():
    assert "2 × NVIDIA H200" in "\n".join(host_lines(SERVER))
    assert "not known" in "\n".join(host_lines(LAPTOP))
    (_, difference, *_) = profile_lines(H200, mismatch(H200, LAPTOP))
    assert "this host has Some CPU" in difference
    meters = [
        MeterStatus("cpu", "rapl_package", "measured", False, "permission denied", "chmod a+r"),
        MeterStatus("cpu", "cpu_load_model", "estimated", True, "TDP × load", None),
    ]
    title, closed, opened = meter_lines(meters)
    assert title == "Meters"
    assert closed.endswith("unavailable because permission denied; to enable: chmod a+r")
    assert opened.endswith("available: TDP × load")
    assert [line[0] for line in catalogue_lines([H200, CPU], SERVER)] == ["*", " "]


def test_joules_become_carbon_in_one_place():
    """1 kWh at 400 g/kWh with a PUE of 1.5 is 600 g, for a report as for an objective."""
    assert carbon_g(3.6e6, 400.0, 1.5) == 600.0
    grid = {"grid_intensity_g_per_kwh": {"value": 400.0, "source": "s"}, "pue": {"value": 1.5, "source": "s"}}
    cost = search_cost(full_run().read().ledger, grid)
    assert cost.carbon_of(3.6e6) == 600.0
    assert kg_co2e_per_j(grid) == pytest.approx(0.6 / 3.6e6, rel=1e-12)
    assert kg_co2e_per_j({"pue": grid["pue"]}) is None

"""Comparison of machines: join, energy domains, ratios and their intervals."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from joulebench.comparison.analysis import compare
from joulebench.comparison.consistency import consistency_section, forms_sentence, verdict_sentence
from joulebench.comparison.join import Machine, join, labelled
from joulebench.comparison.machines import differences
from joulebench.comparison.phases import machine_phases
from joulebench.comparison.sections import frontier_section
from joulebench.errors import InputError
from joulebench.results.run import Run
from tests.run_factory import OBJECTIVES, RunBuilder, full_run, make_task

GPU = {"cpu": 60.0, "ram": 20.0, "gpu:0": 300.0}
H100 = {"name": "nvidia_h100", "title": "H100", "match": {"accelerator": ["NVIDIA H100*"]}}
ON_GPU = {"hardware": H100, "environment": {"device": "cuda:0"}}


def run_of(built: RunBuilder, path: str = "a", **manifest) -> Machine:
    (made,) = labelled([(path, Run(built.manifest(**manifest), built.task, built.trials))])
    return made


def named(name: str, **more):
    return {"hardware": {"name": name, "title": name}, **more}


def sized(builder: RunBuilder, scale: float = 1.0, sd: float = 0.0, replicates: int = 3, seed: int = 0):
    """A default run several times and eight widths once; whole runs differ by `sd` in the logarithm."""
    rng = random.Random(seed)
    for _ in range(replicates):
        builder.add({}, _units(8000, scale, sd, rng), {"val_accuracy": 0.9}, "default", wobble=0.001)
    for i in range(8):
        width, units = 20 + i, 20000 / (i + 1)
        builder.add({"width": width}, _units(units, scale, sd, rng), {"val_accuracy": 0.5 + 0.05 * i}, wobble=0.001)
    return builder


def _units(units: float, scale: float, sd: float, rng: random.Random) -> int:
    return round(1000 * units * scale * math.exp(rng.gauss(0, sd)))


def of(comparison, name, machine=None):
    return next(a for a in comparison.pairs if a.objective == name and machine in (None, a.machine))


def test_a_check_meter_is_no_difference_between_machines():
    meters = [{"domain": "cpu", "source": "rapl_package", "kind": "measured", "role": "primary"}]
    check = {"domain": "cpu", "source": "cpu_load_model", "kind": "estimated", "role": "check"}
    with_check = run_of(full_run(), "b", **named("other"), meters=[*meters, check])
    rows = dict(differences(join([run_of(full_run(), meters=meters), with_check])))
    assert "meter of cpu" not in rows
    assert "hardware" in rows


def test_ratios_are_those_of_the_joules():
    a, b = full_run(), full_run(watts={"cpu": 120.0, "ram": 40.0})
    comparison = compare(join([run_of(a), run_of(b, **named("other"))]))
    energy = of(comparison, "samples_per_j")
    watts = sum(a.watts.values()) / 160
    assert energy.is_ratio
    assert all(r.mean == pytest.approx(watts) for r in energy.each.values())
    assert energy.overall.mean == pytest.approx(watts)
    assert energy.ranks.value == 1.0
    quality = of(comparison, "val_accuracy")
    assert not quality.is_ratio
    assert quality.overall.mean == 0.0
    assert (energy.base, energy.machine) == ("generic_cpu", "other")


def test_configurations_that_one_machine_lacks_are_not_compared():
    a, b = full_run(trials=12), full_run(trials=6)
    joined = join([run_of(a), run_of(b, **named("other"))])
    keys = {c.params["width"] for m in joined.machines[1:] for c in m.configurations.values()}
    assert {joined.machines[0].configurations[k].params["width"] for k in joined.shared} == keys
    assert len(joined.shared) < len(joined.machines[0].configurations)


def test_a_machine_without_accelerator_has_no_gpu_to_miss():
    joined = join([run_of(full_run()), run_of(full_run(watts=GPU), **ON_GPU)])
    assert joined.domains["samples_per_j"] == ("gpu", "cpu", "ram")
    assert joined.left_out["samples_per_j"] == {}
    outcome = next(iter(joined.machines[1].configurations.values())).outcomes["samples_per_j"]
    assert outcome.domains == ("cpu", "gpu:0", "ram")


def test_a_domain_that_one_machine_does_not_meter_counts_on_none():
    bare = full_run(watts={"gpu:0": 300.0, "cpu": 60.0})
    joined = join([run_of(full_run(watts=GPU), **ON_GPU), run_of(bare, **ON_GPU, path="b")])
    assert joined.domains["samples_per_j"] == ("gpu", "cpu")
    (labels,) = joined.left_out["samples_per_j"].values()
    assert labels == (joined.machines[1].label,)
    comparison = compare(joined)
    assert of(comparison, "samples_per_j").overall.mean == pytest.approx(1.0)  # 360 W on both, without RAM


def test_nothing_in_common_to_meter_is_nothing_to_compare():
    joined = join([run_of(full_run(watts={"cpu": 60.0})), run_of(full_run(watts={"ram": 20.0}), **named("b"))])
    assert joined.domains["samples_per_j"] == ()
    assert joined.shared == ()
    assert of(compare(joined), "samples_per_j").overall is None


@pytest.mark.parametrize("sd", [0.01, 0.05])
def test_the_interval_of_a_ratio_holds_the_true_one_as_often_as_it_says(sd):
    """Whole runs vary; the windows within them hardly do, and an interval from these would hold nothing."""
    true, hits, trials = 0.8, 0, 0
    for seed in range(60):
        a = sized(RunBuilder(make_task()), 1.0, sd, 5, seed)
        b = sized(RunBuilder(make_task()), true, sd, 5, 1000 + seed)
        energy = of(compare(join([run_of(a), run_of(b, **named("b"))])), "samples_per_j")
        for value in energy.each.values():
            trials += 1
            hits += value.low <= true <= value.high
    assert 0.92 <= hits / trials <= 0.98


@pytest.mark.parametrize(("ours", "theirs"), [(5, 5), (3, 7), (10, 4)])
def test_the_interval_of_a_ratio_is_welchs_of_the_logarithms(ours, theirs):
    a, b = RunBuilder(make_task()), RunBuilder(make_task())
    for run, replicates, sd in ((a, ours, 0.01), (b, theirs, 0.05)):
        rng = random.Random(replicates)
        for _ in range(replicates):
            run.add({}, _units(10000, 1.0, sd, rng), {"val_accuracy": 0.9}, "default")
    joined = join([run_of(a), run_of(b, **named("b"))])
    (value,) = of(compare(joined), "samples_per_j").each.values()
    base, machine = (
        [math.log(o["samples_per_j"].value.mean) for o in runs]
        for m in joined.machines
        for runs in m.replicates.values()
    )
    assert (len(base), len(machine)) == (ours, theirs)
    ends = stats.ttest_ind(machine, base, equal_var=False).confidence_interval(0.95)
    assert math.log(value.high / value.low) == pytest.approx(ends.high - ends.low, rel=0.02)  # of means, not logs
    assert value.sem == pytest.approx(
        value.mean * math.sqrt(sum(stats.sem(side) ** 2 for side in (base, machine))), rel=0.02
    )


def test_the_mean_over_configurations_is_geometric_and_its_interval_too():
    a, b = RunBuilder(make_task()), RunBuilder(make_task())
    for i, factor in enumerate((0.5, 1.0, 2.0)):
        a.add({"width": 10 + i}, 10000, {"val_accuracy": 0.9})
        b.add({"width": 10 + i}, round(10000 * factor), {"val_accuracy": 0.9})
    overall = of(compare(join([run_of(a), run_of(b, **named("b"))])), "samples_per_j").overall
    assert overall.mean == pytest.approx(1.0)
    half = 4.302652729911275 * math.log(2) / math.sqrt(3)  # t(0.975, 2) · sd / √n
    assert overall.low == pytest.approx(math.exp(-half), rel=1e-3)
    assert overall.high == pytest.approx(math.exp(half), rel=1e-3)


def of_units(units: list[list[float]], apart: float = 0.0) -> list[Machine]:
    """Machines that do these thousands of units at one power, each width less and more by `apart`."""
    machines = []
    for number, row in enumerate(units):
        built = RunBuilder(make_task())
        for i, done in enumerate(row):
            for sign in (-1, 1):
                units_done = round(1000 * done * (1 + sign * apart))
                built.add({"width": 10 + i}, units_done, {"val_accuracy": 0.9}, wobble=0.001)
        machines.append(run_of(built, str(number), **named(f"m{number}")))
    return machines


def test_consistency_is_what_is_left_when_each_machine_is_relative_to_itself():
    """By hand: 8, 4, 2 and 16, 2, 4, whose geometric means are 4 and 128^(1/3)."""
    (found,) = compare(join(of_units([[8, 4, 2], [16, 2, 4]]))).consistency
    mean = 128 ** (1 / 3)
    expected = [(8 / 4, 16 / mean), (4 / 4, 2 / mean), (2 / 4, 4 / mean)]
    for values, (a, b) in zip(found.relative.values(), expected, strict=True):
        assert values == pytest.approx((a, b))
    steps = [math.log(b / a) for a, b in expected]  # residuals are half of these, on either side of 0
    sd = math.sqrt(2 * sum((step / 2) ** 2 for step in steps) / 2)  # (2 − 1)(3 − 1) degrees of freedom
    assert found.deviation.mean == pytest.approx(math.exp(sd))
    assert found.deviation.low == pytest.approx(math.exp(sd * math.sqrt(2 / 7.377758908227871)))
    assert found.deviation.high == pytest.approx(math.exp(sd * math.sqrt(2 / 0.05063561596857975)))
    assert list(found.spread.values()) == pytest.approx([16 / mean / 2, mean / 2, 4 / mean / 0.5])
    assert (found.pairs, found.kept, found.clear, len(found.reversed)) == (3, 2, 2, 1)
    assert found.verdict == "not consistent"


def test_a_machine_that_is_slower_throughout_is_consistent():
    machines = of_units([[8, 4, 2], [80, 40, 20], [24, 12, 6]])
    joined = join(machines)
    comparison = compare(joined)
    (found,) = comparison.consistency
    assert (found.verdict, found.clear, found.kept) == ("consistent", 3, 3)
    assert found.deviation.high == pytest.approx(1.0)
    assert "consistent across 3 machines within a factor of 1" in verdict_sentence(joined, found)
    section = consistency_section(comparison)
    assert [row["m1 relative"] for row in section.rows] == pytest.approx([2, 1, 0.5])
    assert [row["spread"] for row in section.rows] == pytest.approx([1, 1, 1])


def test_what_is_no_different_beyond_the_measurements_scatter_is_undecided():
    joined = join(of_units([[100, 101, 102], [102, 101, 100]], apart=0.2))
    (found,) = compare(joined).consistency
    assert (found.verdict, found.kept, found.clear, found.reversed) == ("undecided", 0, 0, ())
    assert "undecided (estimated energy, 3 configurations)" in verdict_sentence(joined, found)


@pytest.mark.parametrize(("t", "clear"), [(3.5, 0), (5.0, 1)])
def test_the_pooled_spread_counts_once_in_a_test_of_two(t, clear):
    """Two runs of two configurations: t(0.975) is 4.30 with their 2 degrees of freedom, 2.78 with twice as many."""
    apart = 0.01  # that of a mean, too: √2 · apart / √2
    row = [100, 100 * math.exp(t * math.sqrt(2) * apart)]
    (found,) = compare(join(of_units([row, row], apart))).consistency
    assert found.clear == clear


def test_the_factor_is_the_reproducibility_limit():
    (found,) = compare(join(of_units([[8, 4, 2], [16, 2, 4]]))).consistency
    assert found.within == pytest.approx(math.exp(2.7718 * math.log(found.deviation.high)), rel=1e-3)
    assert found.within > max(found.spread.values())


def test_two_configurations_are_needed_for_a_verdict():
    assert compare(join(of_units([[8], [4]]))).consistency == ()
    (found,) = compare(join(of_units([[8, 4], [8, 5]]))).consistency
    assert found.deviation.freedom == 1


@pytest.mark.parametrize("sd", [0.02, 0.1])
def test_a_true_order_is_called_reversed_as_seldom_as_it_says(sd):
    wrong = 0
    for seed in range(60):
        a, b = (sized(RunBuilder(make_task()), 1.0, sd, 5, seed + off) for off in (0, 5000))
        (found,) = compare(join([run_of(a), run_of(b, **named("b"))])).consistency
        wrong += found.verdict == "not consistent"
    assert wrong <= 6  # 5 % of 60 at most, and its scatter


def test_forms_of_one_machine_are_called_so():
    host = {"cpu": "Xeon", "logical_cpus": 2, "memory_bytes": 25, "accelerators": []}

    def on(name, host, threads):
        return run_of(full_run(), name, **named(name, environment={"host": host, "torch": {"threads": threads}}))

    text = forms_sentence(join([on("a", host, 2), on("b", host, 1)]))
    assert "2 forms of one machine (Xeon, with 2 and 1 threads), which says nothing about other hardware" in text
    assert forms_sentence(join([on("a", host, 2), on("b", {**host, "cpu": "EPYC"}, 2)])) is None
    unknown = [run_of(full_run(), name, **named(name, environment={})) for name in "ab"]
    assert forms_sentence(join(unknown)) is None


def test_without_replicates_the_interval_says_so():
    a, b = RunBuilder(make_task()), RunBuilder(make_task())
    for run in (a, b):
        run.add({}, 10000, {"val_accuracy": 0.9})
    (value,) = of(compare(join([run_of(a), run_of(b, **named("b"))])), "samples_per_j").each.values()
    assert value.varied == "windows within a run"
    assert value.low < 1 < value.high


def test_windows_that_vary_more_than_runs_widen_the_interval():
    def of_wobble(wobble):
        made = sized(RunBuilder(make_task()), sd=0.001)
        made.add({"width": 500}, 5000, {"val_accuracy": 0.9}, wobble=wobble)
        return made

    comparison = compare(join([run_of(of_wobble(0.3)), run_of(of_wobble(0.001), **named("b"))]))
    values = of(comparison, "samples_per_j").each
    wide = next(v for k, v in values.items() if '"width": 500' in k)
    others = [v for k, v in values.items() if '"width": 500' not in k]
    assert wide.rel_half_width > 5 * max(v.rel_half_width for v in others)


def test_what_a_frontier_is_worth_elsewhere():
    """On b the hungriest model of a is the best of all: a's frontier keeps its members, not its worth."""
    a, b = RunBuilder(make_task()), RunBuilder(make_task())
    for i, (accuracy, units_a, units_b) in enumerate([(0.6, 9000, 9000), (0.8, 3000, 9500), (0.7, 2000, 9900)]):
        a.add({"width": 10 + i}, units_a, {"val_accuracy": accuracy})
        b.add({"width": 10 + i}, units_b, {"val_accuracy": accuracy})
    comparison = compare(join([run_of(a), run_of(b, **named("b"))]))
    there, back = comparison.transfers
    assert (there.members, there.kept) == (2, 1)  # 0.6 is beaten on b by both others
    own = 0.7 * 95 + 0.6 * 4  # rectangles above (0.1, 0): samples/J are units / 100 W s… in hundreds of samples
    assert there.hypervolume_share == pytest.approx(0.7 * 95 / own, rel=0.02)
    assert back.members == 2


def log_scaled(reference: float):
    return OBJECTIVES | {"samples_per_j": {**OBJECTIVES["samples_per_j"], "reference": reference, "scale": "log"}}


def test_what_a_frontier_is_worth_elsewhere_on_a_log_scale():
    def runs(objectives):
        made = [RunBuilder(make_task(objectives)) for _ in "ab"]
        for i, (accuracy, *units) in enumerate([(0.6, 9000, 9000), (0.8, 3000, 9500), (0.7, 2000, 9900)]):
            for run, n in zip(made, units, strict=True):
                run.add({"width": 10 + i}, n, {"val_accuracy": accuracy})
        return [run_of(made[0]), run_of(made[1], **named("b"))]

    comparison = compare(join(runs(log_scaled(10.0))))
    there, best = 0.7 * math.log(11.875), 0.7 * math.log(11.875) + 0.6 * math.log(9900 / 9500)
    assert comparison.transfers[0].hypervolume_share == pytest.approx(there / best, rel=1e-3)
    words = "Hypervolume is on a log scale: samples_per_j in nats from its reference of 10."
    assert any(s.startswith(words) for s in frontier_section(comparison).sentences)
    plain, log = runs(log_scaled(10.0) | {"samples_per_j": OBJECTIVES["samples_per_j"]}), runs(log_scaled(10.0))
    assert not any("log scale" in s for s in frontier_section(compare(join(plain))).sentences)
    with pytest.raises(InputError, match=r"different scales do not compare: samples_per_j \(linear and log\)"):
        join([plain[0], log[1]])
    with pytest.raises(InputError, match=r"differ in samples_per_j$"):
        join([log[0], runs(log_scaled(20.0))[1]])


def test_scaling_and_fraction_of_peak():
    profile = dict(H100, peak_flops={"fp32": {"value": 1e9, "source": "made", "date": "2026"}})
    a = full_run(watts=GPU)
    joined = join([run_of(a, hardware=profile, environment={"device": "cuda:0"}), run_of(full_run(), path="b")])
    gpu, cpu = machine_phases(joined)
    assert gpu.best is not None
    assert cpu.best is None
    member = max(gpu.configurations, key=lambda c: c.efficiency.fraction.mean)
    assert gpu.best.fraction.mean == pytest.approx(member.work.flops_per_unit / member.work.unit_s.mean / 1e9)
    assert gpu.line.n == len(gpu.configurations)


def test_many_machines_are_compared_with_the_first():
    runs = [run_of(full_run(trials=3), path=str(i), **named(f"m{i}")) for i in range(5)]
    pairs = {(a.base, a.machine) for a in compare(join(runs)).pairs}
    assert pairs == {("m0", f"m{i}") for i in range(1, 5)}
    assert len({(a.base, a.machine) for a in compare(join(runs[:3])).pairs}) == 3


def test_names_of_runs_on_one_machine():
    made = [("p", full_run(trials=1)) for _ in range(3)]
    times = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"]
    runs = labelled(
        [(p, Run(b.manifest(created_utc=t), b.task, b.trials)) for (p, b), t in zip(made, times, strict=True)]
    )
    labels = [r.label for r in runs]
    assert labels[:2] == ["generic_cpu (2026-01-01T00:00:00Z)", "generic_cpu (2026-02-01T00:00:00Z)"]
    assert len(set(labels)) == 3


def test_what_does_not_compare_is_refused_with_both_named():
    base = run_of(full_run(trials=1), path="runs/a")

    def other(task=None, **manifest):
        return run_of(full_run(task, trials=1), path="runs/b", **manifest)

    cases = {
        "v2": other(make_task(version=2)),
        "another": other(make_task(name="another")),
        "ffff": other(data={"fingerprint": "ffff"}),
        "samples_per_j": other(make_task({
            "val_accuracy": {"goal": "maximize", "reference": 0.1},
            "samples_per_j": {
                "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["gpu"], "basis": "gross",
            },
        })),
    }  # fmt: skip
    for word, run in cases.items():
        with pytest.raises(InputError) as refused:
            join([base, run])
        assert all(part in str(refused.value) for part in (word, "runs/a", "runs/b"))
    with pytest.raises(InputError, match="given twice"):
        join([base, base])
    with pytest.raises(InputError, match="two runs"):
        join([base])

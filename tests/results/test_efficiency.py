"""Work against the limit: arithmetic, data types, and what is absent."""

from __future__ import annotations

import pytest

from joulebench.records.model import Costs
from joulebench.reporting.efficiency import efficiencies, efficiency_sentences, efficiency_table
from joulebench.reporting.render import render_markdown, write_report
from joulebench.reporting.summary import Summary
from joulebench.results.efficiency import efficiency, peak_of, run_dtype
from joulebench.spec.catalog import find_profile
from joulebench.spec.hardware import Fact, HardwareProfile, Match
from joulebench.stats.estimate import Estimate
from tests.run_factory import TRAINED, RunBuilder, make_task


def fact(value: float) -> Fact:
    return Fact(value=value, source="the datasheet: dense", date="2024")


PROFILE = HardwareProfile(
    name="card",
    title="A card",
    match=Match(accelerator="Card"),
    peak_flops={"fp32": fact(1e13), "tf32": fact(4e13), "bf16": fact(8e13)},
    memory_bandwidth_bytes_per_s=fact(1e12),
)
CPU = HardwareProfile(name="cpu", title="A CPU", peak_flops={"fp32": fact(1e9)})
CUDA = {"device": "cuda:0", "torch": {"tf32_matmul": False}}


def seconds(mean: float, half: float = 0.0) -> Estimate:
    return Estimate(mean, 5, half / 2.78, mean - half, mean + half, "windows within a run")


def test_the_arithmetic_by_hand():
    """2 MFLOP a sample, 1 µs and 0.4 mJ a sample, on a card of 10 TFLOP/s."""
    found = efficiency(2e6, seconds(1e-6), seconds(4e-4), peak_of(PROFILE, "fp32"))
    assert found.flops_per_s.mean == pytest.approx(2e12)
    assert found.flops_per_j.mean == pytest.approx(5e9)
    assert found.fraction.mean == pytest.approx(0.2)
    assert found.peak.ridge_flop_per_byte == pytest.approx(10)


def test_intervals_are_those_of_time_and_joules():
    found = efficiency(2e6, seconds(1e-6, 1e-7), seconds(4e-4, 1e-4), peak_of(PROFILE, "fp32"))
    assert (found.flops_per_s.low, found.flops_per_s.high) == pytest.approx((2e12 / 1.1, 2e12 / 0.9))
    assert (found.fraction.low, found.fraction.high) == pytest.approx((0.2 / 1.1, 0.2 / 0.9))
    assert (found.flops_per_j.low, found.flops_per_j.high) == pytest.approx((2e6 / 5e-4, 2e6 / 3e-4))
    assert (found.flops_per_s.n, found.flops_per_s.varied) == (5, "windows within a run")


@pytest.mark.parametrize(
    ("flops", "unit_s", "peak"),
    [
        (None, seconds(1.0), peak_of(PROFILE, "fp32")),
        (0, seconds(1.0), peak_of(PROFILE, "fp32")),
        (1.0, None, peak_of(PROFILE, "fp32")),
        (1.0, seconds(1.0), peak_of(PROFILE, "fp8")),
        (1.0, seconds(1.0), None),
    ],
)
def test_what_is_not_known_is_absent(flops, unit_s, peak):
    assert efficiency(flops, unit_s, seconds(1.0), peak) is None


def test_flops_without_joules_are_flops_still():
    found = efficiency(1e6, seconds(1e-6), None, peak_of(PROFILE, "fp32"))
    assert found.flops_per_j is None
    assert found.flops_per_s.mean == pytest.approx(1e12)


@pytest.mark.parametrize(
    ("params", "environment", "profile", "dtype"),
    [
        ({}, CUDA, PROFILE, "fp32"),
        ({}, {}, PROFILE, "fp32"),
        ({}, {"device": "cuda:0", "torch": {"tf32_matmul": True}}, PROFILE, "tf32"),
        ({}, {"device": "cuda:0", "torch": {"tf32_matmul": False, "tf32_conv": True}}, PROFILE, "fp32"),
        ({}, {"device": "cpu", "torch": {"tf32_matmul": True}}, CPU, "fp32"),
        ({}, {"device": "cuda:0", "torch": {"tf32_matmul": True}}, CPU, "fp32"),  # a card without tf32
        ({"dtype": "bfloat16"}, CUDA, PROFILE, "bf16"),
        ({"dtype": "torch.float16"}, CUDA, PROFILE, "fp16"),
        ({"dtype": "float32"}, {"device": "cuda:0", "torch": {"tf32_matmul": True}}, PROFILE, "tf32"),
        ({"dtype": "posit16"}, CUDA, PROFILE, None),
        ({}, {"device": "cuda:0", "torch": "damaged"}, PROFILE, "fp32"),
    ],
)
def test_the_data_type_that_limits_a_run(params, environment, profile, dtype):
    assert run_dtype(params, environment, profile) == dtype


def run(phase: str = "inference", unit: str = "sample") -> RunBuilder:
    """One configuration: 8000 samples a second at 80 J/s, 1 MFLOP a sample."""
    objective = {"goal": "minimize", "phase": phase, "domains": ["cpu", "ram"], "basis": "gross"}
    built = RunBuilder(make_task({f"j_per_{unit}": objective}))
    # a hair over the protocol's second: on the clock, lengths are differences
    windows = [built.window(phase, 1.0 + 1e-9, 8000) for _ in range(5)]
    built.add({}, 8000, {}, windows=tuple(windows), costs=Costs(flops=1_000_000), unit={phase: unit})
    return built


def summary_of(built: RunBuilder, profile: HardwareProfile = CPU, **manifest):
    dumped = profile.model_dump(mode="json")
    return Summary(built.read(hardware=dumped, **manifest))


def test_the_page_has_the_section(tmp_path):
    page = write_report(run().write(tmp_path / "run", hardware=CPU.model_dump(mode="json"))).page
    assert '<h2 id="efficiency">Efficiency against the peak</h2>' in page.read_text(encoding="utf-8")


def test_a_report_states_it_where_the_profile_has_a_peak():
    profile = CPU.model_copy(
        update={"peak_flops": {"fp32": fact(1e11)}, "memory_bandwidth_bytes_per_s": fact(1e10)}
    )
    summary = summary_of(run(), profile)
    ((*_, found),) = efficiencies(summary)
    assert found.flops_per_s.mean == pytest.approx(8e9)
    assert found.flops_per_j.mean == pytest.approx(1e8)
    assert found.fraction.mean == pytest.approx(0.08)
    (row,) = efficiency_table(summary).rows
    assert [cell.text for cell in row] == ["0", "inference", "8 GFLOP/s", "100 MFLOP/J", "8 %", "100 GFLOP/s fp32"]
    assert "estimated" in " ".join(row[3].details)
    assert any("the datasheet: dense" in s for s in efficiency_sentences(summary))
    assert any("fewer than 10 FLOPs a byte" in s for s in efficiency_sentences(summary))
    assert "## Efficiency against the peak" in render_markdown(summary)


def test_more_than_the_peak_is_flagged():
    (row,) = efficiency_table(summary_of(run())).rows  # 8 GFLOP/s of 1 GFLOP/s
    assert row[4].flag == "above the peak: another data type ran"


@pytest.mark.parametrize(
    ("environment", "profile", "said"),
    [
        (CUDA, PROFILE, True),
        (CUDA | {"torch": {"tf32_conv": False}}, PROFILE, False),
        ({"device": "cpu"}, PROFILE, False),
        (CUDA, CPU, False),
        (CUDA | {"torch": {"tf32_matmul": True}}, PROFILE, False),  # tf32 is the peak already
    ],
)
def test_convolutions_in_tf32_are_said(environment, profile, said):
    sentences = efficiency_sentences(summary_of(run(), profile, environment=environment))
    assert any("convolutions" in s and "40 TFLOP/s" in s for s in sentences) is said


def test_operators_that_were_not_counted_are_said():
    built = run()
    costs = Costs(flops=1_000_000, unsupported_ops={"aten::softmax": 3})
    built.trials[0] = built.trials[0].model_copy(update={"costs": costs})
    assert "aten::softmax" in efficiency_sentences(summary_of(built))[-1]


@pytest.mark.parametrize("hardware", [{}, {"name": "lab", "title": "x", "peak_flops": {"fp32": 3}}])
def test_without_a_peak_the_report_has_no_such_section(hardware):
    built = run()
    summary = Summary(built.read(hardware=hardware))
    assert efficiency_table(summary).rows == ()
    assert efficiency_sentences(summary) == ()
    assert "Efficiency against the peak" not in render_markdown(summary)


def test_flops_of_a_forward_pass_say_nothing_of_training_and_tokens():
    assert not list(efficiencies(summary_of(run("train"))))
    assert not list(efficiencies(summary_of(run("decode", "token"))))


def test_shipped_profiles_have_a_ridge():
    peak = peak_of(find_profile("nvidia_h200"), "bf16")
    assert peak.ridge_flop_per_byte == pytest.approx(206, abs=1)


def test_training_stands_beside_inference():
    """3 MFLOP a sample over 1200 samples in 3 s at 80 W."""
    built = RunBuilder(make_task())
    built.add({}, 8000, {"val_accuracy": 0.9}, **TRAINED)
    profile = CPU.model_copy(update={"peak_flops": {"fp32": fact(1e11)}})
    inference, training = efficiency_table(summary_of(built, profile)).rows
    assert [cell.text for cell in inference][:2] == ["0", "inference"]
    assert [cell.text for cell in training] == [
        "0", "train", "1.2 GFLOP/s", "15 MFLOP/J", "1.2 %", "100 GFLOP/s fp32",
    ]  # fmt: skip

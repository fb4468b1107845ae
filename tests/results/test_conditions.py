"""Means of conditions, recomputed by hand."""

from __future__ import annotations

import math

import pytest

from joulebench.records.model import Window
from joulebench.results.conditions import mean_conditions, working_device


def window(seconds: float, **conditions: float) -> Window:
    named = {name.replace("gpu0_", "gpu:0_").replace("gpu1_", "gpu:1_"): v for name, v in conditions.items()}
    return Window(
        phase="inference", start_utc="2026-01-02T03:04:05Z", start_s=10.0, end_s=10.0 + seconds, readings=(),
        conditions=named,
    )  # fmt: skip


def test_windows_are_weighted_by_their_duration():
    means = mean_conditions([window(1.0, cpu_utilisation=0.2), window(3.0, cpu_utilisation=0.6)])
    assert means == {"cpu_utilisation": pytest.approx((0.2 + 3 * 0.6) / 4)}


def test_gpus_are_averaged_and_a_share_of_memory_is_not_one_of_time():
    first = window(1.0, gpu0_utilisation=1.0, gpu1_utilisation=0.5, gpu0_memory_utilisation=0.1)
    second = window(2.0, gpu0_utilisation=0.4, gpu1_utilisation=0.2, gpu0_memory_utilisation=0.4)
    means = mean_conditions([first, second])
    assert means["gpu_utilisation"] == pytest.approx((1.0 + 0.5 + 2 * 0.4 + 2 * 0.2) / 6)
    assert means["gpu_memory_utilisation"] == pytest.approx(0.3)


def test_what_was_not_recorded_is_absent_or_averaged_over_the_rest():
    assert mean_conditions([]) == {}
    windows = [window(1.0, gpu0_temperature_c=60.0), window(9.0), window(1.0, gpu0_temperature_c=math.nan)]
    assert mean_conditions(windows) == {"gpu_temperature_c": 60.0}
    assert mean_conditions([window(0.0, cpu_utilisation=1.0)]) == {}


def test_the_gpu_is_the_device_where_its_utilisation_was_ever_recorded():
    assert working_device([window(1.0, cpu_utilisation=1.0, gpu0_memory_utilisation=0.5)]) == "cpu"
    assert working_device([window(1.0, cpu_utilisation=1.0), window(1.0, gpu0_utilisation=0.0)]) == "gpu"

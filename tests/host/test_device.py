"""The accelerator's seam, as far as it can be tried without one."""

from __future__ import annotations

import pytest
import torch

from joulebench.errors import InputError
from joulebench.host.device import choose_device, to_host, use_threads


def test_a_gpu_profile_without_a_gpu_for_torch_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"sees none .* --force-hardware runs without it"):
        choose_device("gpu")
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("gpu") == "cuda:0"


def test_a_state_goes_to_host_memory_however_nested():
    state = {"weight": torch.ones(2), "more": [torch.ones(1), {"step": 3}], "name": "x"}
    moved = to_host(state)
    assert moved["weight"].device.type == "cpu"
    assert moved["more"][1] == {"step": 3}
    assert moved["name"] == "x"


def test_a_profile_may_say_with_how_many_threads_torch_computes():
    before = torch.get_num_threads()
    use_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    use_threads(None)  # the next run, of a profile that does not say
    assert torch.get_num_threads() == before

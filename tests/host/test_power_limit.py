"""A power limit is set inside the block only, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from joulebench.errors import InputError
from joulebench.host.power_limit import Limits, OutOfRangeError, capped, for_trial, kept, limits
from tests.conftest import REPOSITORY
from tests.nvml_power import NOW_MW, PowerNvml


def test_it_is_set_inside_the_block_and_put_back():
    nvml = PowerNvml()
    with capped(0, 200.0, nvml) as before:
        assert nvml.limit_mw == [200_000]
        assert before == Limits(100.0, 400.0, 350.0)
    assert nvml.limit_mw == [NOW_MW]
    assert nvml.open == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_it_is_put_back_when_the_block_fails(error):
    nvml = PowerNvml()
    with pytest.raises(error), capped(0, 150.0, nvml):
        raise error
    assert nvml.history == [150_000, NOW_MW]


def test_what_a_killed_process_has_set_is_put_back_by_the_one_that_sent_it_to_work():
    nvml = PowerNvml(gpus=3)
    with kept([0, 2], nvml):
        nvml.limit_mw[:] = [NOW_MW, 150_000, 200_000]
    assert nvml.limit_mw == [NOW_MW, 150_000, NOW_MW]
    assert nvml.history == [NOW_MW]
    assert nvml.open == 0


def test_no_watts_touch_nothing():
    with capped(0, None, None) as before:
        assert before is None


def test_only_the_gpu_that_is_named_is_capped():
    nvml = PowerNvml(gpus=2)
    with capped(1, 200.0, nvml), capped(0, 300.0, nvml):
        assert nvml.limit_mw == [300_000, 200_000]
    assert nvml.limit_mw == [NOW_MW, NOW_MW]


def test_without_permission_nothing_is_changed_and_the_message_says_what_it_takes():
    nvml = PowerNvml(refuse_after=0)
    with pytest.raises(InputError, match="root") as caught, capped(0, 200.0, nvml):
        pytest.fail("the block must not run")
    assert "nvidia-smi" not in str(caught.value)
    assert nvml.history == []
    assert nvml.open == 0


@pytest.mark.parametrize("watts", [99.9, 400.1, float("nan")])
def test_a_limit_that_the_gpu_does_not_have_is_out_of_range(watts):
    nvml = PowerNvml()
    with pytest.raises(OutOfRangeError, match="100 to 400 W"), capped(0, watts, nvml):
        pytest.fail("the block must not run")
    assert nvml.history == []


def test_a_driver_that_will_not_put_it_back_is_reported_with_the_command():
    nvml = PowerNvml(refuse_after=1)
    with pytest.raises(InputError, match="nvidia-smi -i 0 -pl 350"), capped(0, 200.0, nvml):
        pass


def test_gpus_without_limits_or_nvml_are_refused():
    with pytest.raises(InputError, match="no power limit"), capped(0, 200.0, PowerNvml(supported=False)):
        pass
    with pytest.raises(InputError, match="no power limit"):
        limits(7, PowerNvml())
    with pytest.raises(InputError, match="does not start"), capped(0, 200.0, PowerNvml(works=False)):
        pass


def test_a_trial_is_capped_where_its_parameters_ask_for_it_and_the_user_allows():
    nvml = PowerNvml(gpus=2)
    with for_trial({"power_limit_w": 200, "width": 3}, [0, 1], True, nvml):
        assert nvml.limit_mw == [200_000, 200_000]
    assert nvml.limit_mw == [NOW_MW, NOW_MW]
    with for_trial({"width": 3}, [], False):
        pass


@pytest.mark.parametrize(
    ("watts", "gpus", "permitted", "message"),
    [
        (200, [0], False, "--set-power-limit"),
        (200, [], True, "on no GPU"),
        ("much", [0], True, "number of watts"),
        (9000, [0], True, "100 to 400 W"),
    ],
)
def test_a_trial_that_may_not_be_capped_is_refused(watts, gpus, permitted, message):
    nvml = PowerNvml()
    with pytest.raises(InputError, match=message), for_trial({"power_limit_w": watts}, gpus, permitted, nvml):
        pytest.fail("the block must not run")
    assert nvml.history == []


def test_a_second_gpu_that_refuses_leaves_the_first_as_it_was():
    nvml = PowerNvml(gpus=2)
    with pytest.raises(InputError), for_trial({"power_limit_w": 200}, [0, 7], True, nvml):
        pytest.fail("the block must not run")
    assert nvml.limit_mw == [NOW_MW, NOW_MW]


def test_signal_handlers_are_as_they_were_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with capped(0, 200.0, PowerNvml()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_may_cap_too():
    nvml, errors = PowerNvml(), []

    def work():
        try:
            with capped(0, 200.0, nvml):
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
    assert nvml.limit_mw == [NOW_MW]


_VICTIM = """
    import signal, sys, time
    from tests.nvml_power import PowerNvml
    from joulebench.host.power_limit import capped

    class Loud(PowerNvml):
        def nvmlDeviceSetPowerManagementLimit(self, gpu, milliwatts):
            super().nvmlDeviceSetPowerManagementLimit(gpu, milliwatts)
            print(milliwatts, flush=True)

    nvml = Loud()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # whatever started the tests may ignore them, as nohup does
    block = capped(0, 200.0, nvml)
    block.__enter__()
    {then}
"""


def run_victim(then, send=None):
    """A process in the block: what limits it set, and its exit code."""
    code = textwrap.dedent(_VICTIM.format(then=then))
    folder = REPOSITORY
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        lines = [process.stdout.readline()]
        if send is not None:
            os.kill(process.pid, send)
        lines += process.stdout.readlines()
        return [int(line) for line in lines], process.wait(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process_puts_it_back_and_ends_it(number):
    assert run_victim("time.sleep(60)", number) == ([200_000, NOW_MW], -number)


def test_an_exit_that_leaves_the_block_open_puts_it_back():
    assert run_victim("sys.exit(3)") == ([200_000, NOW_MW], 3)

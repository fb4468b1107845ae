"""Accelerator by torch: selection, synchronisation, seeding. Imports torch lazily.

Where torch is not installed, this process has no work on the accelerator: programs that it measures may, and which
GPU theirs is the driver tells.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import random
import sys
from typing import TYPE_CHECKING, Any

from joulebench.errors import InputError, described
from joulebench.extras import installed
from joulebench.host import cuda_driver

if TYPE_CHECKING:
    from collections.abc import Callable


def choose_device(kind: str) -> str:
    """The torch device for a hardware profile's kind: `cuda:0` for `gpu`, else `cpu`.

    Raises:
        InputError: the profile is a GPU's and torch, or without it the driver, cannot use one.
    """
    if kind != "gpu":
        return "cpu"
    if not installed("torch"):
        if not cuda_driver.gpus():
            raise InputError("the hardware profile is a GPU's, but CUDA sees none (CUDA_VISIBLE_DEVICES?)")
        return "cuda:0"
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            f"the hardware profile is a GPU's, but torch {torch.__version__} sees none (a build without CUDA, an "
            "old driver, or CUDA_VISIBLE_DEVICES); --hardware generic_cpu --force-hardware runs without it"
        )
    return "cuda:0"


@functools.cache
def _default_threads() -> int:
    import torch

    return int(torch.get_num_threads())


def use_threads(count: int | None) -> None:
    """Set torch's number of CPU threads; None restores its initial number."""
    if not installed("torch") or (count is None and "torch" not in sys.modules):
        return
    import torch

    default = _default_threads()  # before the first change
    torch.set_num_threads(default if count is None else count)


def load_optimisers() -> None:
    """Import torch._dynamo, which the first optimiser would import, so that no training is charged for it."""
    import torch._dynamo  # noqa: F401


def synchronizer(device: str) -> Callable[[], None]:
    """Function that waits for the device's work; called at a window's edges."""
    if not has_work(device):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def has_work(device: str) -> bool:
    """Whether a device is a GPU that this process, by torch, may have work on."""
    return device.startswith("cuda") and installed("torch")


#: Messages of cuDNN and torch where the device has no way to compute what a model asks for.
_UNSUPPORTED = ("unable to find an engine to execute", "cudnn_status_not_supported", "no valid execution plans")


def is_unsupported(error: BaseException) -> bool:
    """Whether an exception means that the device cannot compute this, whatever else it can."""
    text = described(error).lower()
    return isinstance(error, RuntimeError) and any(message in text for message in _UNSUPPORTED)


def failure(device: str) -> str | None:
    """Why this process can use the device no more; None if it can.

    Some errors stay: after a device-side assert, an illegal access, an uncorrectable memory error, or with a GPU
    that has fallen off the bus, every further call raises until the process ends.
    """
    if not has_work(device):
        return None
    import torch

    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return described(error)[:200]
    return None


def nvml_indices(device: str, nvml: Any = None) -> list[int]:
    """NVML indices of the GPUs behind a torch device, by UUID: CUDA_VISIBLE_DEVICES renumbers, NVML does not.

    For a MIG slice it is the index of the GPU that the slice is part of.

    Args:
        nvml: `pynvml`, or what behaves like it.

    Raises:
        InputError: NVML does not start, or does not know the device.
    """
    if not device.startswith("cuda"):
        return []
    nvml = nvml or importlib.import_module("pynvml")
    return [nvml_gpu(torch_uuid(device), nvml, device)[0]]


def physical_gpus(device: str, nvml: Any = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """UUIDs of the GPU behind a torch device, and of those behind all that torch can use, the former first.

    They are those of whole GPUs, each once, also where torch has several slices of it. A further device that NVML
    does not know is left out.

    Args:
        nvml: `pynvml`, or what behaves like it.

    Raises:
        InputError: NVML does not start, or does not know the device itself.
    """
    nvml = nvml or importlib.import_module("pynvml")
    own = nvml_gpu(torch_uuid(device), nvml, device)[1]
    visible = [own]
    for number in range(_count()):
        with contextlib.suppress(InputError):
            visible.append(nvml_gpu(torch_uuid(f"cuda:{number}"), nvml)[1])
    return (own,), tuple(dict.fromkeys(visible))


def _count() -> int:
    if not installed("torch"):
        return len(cuda_driver.gpus())
    import torch

    return int(torch.cuda.device_count())


def _by_driver(device: str) -> cuda_driver.CudaGpu:
    return cuda_driver.gpus()[int(device.partition(":")[2] or 0)]


def gpu_name(device: str) -> str:
    """Name of the GPU behind a torch device, of a MIG slice that of its GPU."""
    if not installed("torch"):
        return _by_driver(device).name.split(" MIG ")[0]
    import torch

    return str(torch.cuda.get_device_name(device)).split(" MIG ")[0]


def torch_uuid(device: str) -> str:
    """UUID of a torch device: NVML's without the prefix `GPU-` or `MIG-`."""
    if not installed("torch"):
        return _by_driver(device).uuid
    import torch

    return str(torch.cuda.get_device_properties(device).uuid)


def nvml_gpu(uuid: str, nvml: Any, device: str = "the device") -> tuple[int, str]:
    """NVML index and UUID of the GPU with a UUID as torch gives it; of a MIG slice those of its GPU.

    Raises:
        InputError: as `nvml_indices`.
    """
    plain = uuid.removeprefix("GPU-").removeprefix("MIG-")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise InputError(f"{device}: its energy cannot be read, because NVML does not start: {error}") from None
    try:
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{plain}")
        except nvml.NVMLError:
            part = nvml.nvmlDeviceGetHandleByUUID(f"MIG-{plain}")
            handle = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)
        found = nvml.nvmlDeviceGetUUID(handle)
        return int(nvml.nvmlDeviceGetIndex(handle)), found.decode() if isinstance(found, bytes) else str(found)
    except nvml.NVMLError as error:
        raise InputError(
            f"{device} (UUID {uuid}): NVML knows no such GPU or MIG slice ({error}), so its energy cannot be read"
        ) from None
    finally:
        nvml.nvmlShutdown()


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and (where it is loaded) torch on every device."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def to_host(state: Any) -> Any:
    """State with its tensors, nested in dicts and lists, copied to host memory."""
    if isinstance(state, dict):
        return {name: to_host(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_host(value) for value in state)
    return state.cpu() if hasattr(state, "cpu") else state

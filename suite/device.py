"""The accelerator through torch: choosing it, waiting for it, its memory, its failures. Imports torch lazily."""

from __future__ import annotations

import gc
import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def choose_device(kind: str) -> str:
    """The torch device for a hardware profile's kind: `cuda:0` for `gpu`, else `cpu`."""
    return "cuda:0" if kind == "gpu" else "cpu"


def synchronizer(device: str) -> Callable[[], None]:
    """What to call at a window's edges so that no work of the device crosses them."""
    if not device.startswith("cuda"):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def nvml_indices(device: str) -> list[int]:
    """NVML indices of the GPUs behind a torch device, by UUID: CUDA_VISIBLE_DEVICES renumbers, NVML does not."""
    if not device.startswith("cuda"):
        return []
    import pynvml
    import torch

    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    pynvml.nvmlInit()
    try:
        return [int(pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(uuid)))]
    finally:
        pynvml.nvmlShutdown()


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and (where it is loaded) torch on every device."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the accelerator or the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def release_memory(device: str) -> None:
    """Give back what the last model held."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def reset_peak_memory(device: str) -> None:
    """Start counting peak memory anew."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: str) -> int | None:
    """Most bytes the accelerator's allocator held since the last reset; None on a CPU, where it is not known."""
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))

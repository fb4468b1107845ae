"""GPUs as NVIDIA's driver gives them to CUDA programs in this environment; for where there is no torch."""

from __future__ import annotations

import ctypes
import uuid
from dataclasses import dataclass
from typing import Any

from joulebench.errors import InputError

LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256


@dataclass(frozen=True)
class CudaGpu:
    """A GPU, or a slice of one (MIG), that CUDA programs can use."""

    uuid: str  # without a prefix, as torch has it
    name: str


def gpus(cuda: Any = None) -> tuple[CudaGpu, ...]:
    """The GPUs in CUDA's order, which CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER choose. Nothing is put on them.

    Args:
        cuda: the driver's library, or what behaves like it.

    Raises:
        InputError: the driver is not there, or refuses.
    """
    try:
        cuda = cuda or ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise InputError(f"the GPU cannot be used: NVIDIA's driver is not there ({error})") from None
    _call(cuda, "cuInit", 0)
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    return tuple(_gpu(cuda, number) for number in range(count.value))


def _gpu(cuda: Any, number: int) -> CudaGpu:
    device, identity, name = ctypes.c_int(), (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(_NAME_BYTES)
    _call(cuda, "cuDeviceGet", ctypes.byref(device), number)
    _call(cuda, "cuDeviceGetUuid_v2", identity, device)  # that of a slice, where it is one
    _call(cuda, "cuDeviceGetName", name, _NAME_BYTES, device)
    return CudaGpu(str(uuid.UUID(bytes=bytes(identity))), name.value.decode(errors="replace"))


def _call(cuda: Any, function: str, *arguments: object) -> None:
    """Call a function of the driver.

    Raises:
        InputError: it refuses.
    """
    if (code := getattr(cuda, function)(*arguments)) != 0:
        raise InputError(f"the GPU cannot be used: {function} of NVIDIA's driver fails (CUDA error {code})")

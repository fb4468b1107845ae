"""Software environment of a run: versions, commit, device, driver, threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from joulebench.host.git import git
from joulebench.spec.hardware import Host

PACKAGES = (
    "joulebench", "torch", "torchvision", "transformers", "fvcore", "ax-platform", "botorch", "gpytorch",
    "codecarbon", "nvidia-ml-py", "numpy", "scikit-learn", "scipy", "timm", "sentence-transformers", "tokenizers",
    "onnxruntime", "onnx", "torchao", "lm-eval",
)  # fmt: skip
VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTORCH_ALLOC_CONF", "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)  # fmt: skip
#: Parts of the checkout that affect a run.
DECIDING = ("suite", "tasks", "hardware_profiles", "pyproject.toml")


def describe(host: Host, device: str) -> dict[str, Any]:
    """Environment as JSON-able tables; unknown entries are absent."""
    import psutil

    environment: dict[str, Any] = {
        "host": {
            "cpu": host.cpu,
            "logical_cpus": host.logical_cpus,
            "memory_bytes": psutil.virtual_memory().total,
            "accelerators": list(host.accelerators),
            "os": platform.platform(),
        },
        "python": platform.python_version(),
        "packages": _versions(),
        "code": _commit(),
        "device": device,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    if "torch" in sys.modules:
        environment["torch"] = _torch(device)
    return environment


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _commit() -> dict[str, Any]:
    """Commit of the checkout this code runs from, and whether it is modified; empty when installed.

    `unknown` says why git does not tell the commit of an existing checkout.
    """
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return {}
    try:
        if (top := Path(git(checkout, "rev-parse", "--show-toplevel")).resolve()) != checkout:
            return {"unknown": f"its .git is no repository, that of {top.name} answers"}
        return {
            "commit": git(checkout, "rev-parse", "HEAD"),
            "modified": bool(git(checkout, "status", "--porcelain", "--", *DECIDING)),
        }
    except subprocess.CalledProcessError as error:
        reason = " ".join(str(error.stderr).encode(errors="replace").decode().split())
        return {"unknown": reason[:200] or "git failed"}
    except (OSError, subprocess.SubprocessError) as error:
        return {"unknown": type(error).__name__}


def _torch(device: str) -> dict[str, Any]:
    import torch

    settings: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.startswith("cuda") else None,
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_conv": torch.backends.cudnn.allow_tf32,
    }
    if device.startswith("cuda"):
        settings["gpu"] = torch.cuda.get_device_name(device)
        settings["driver"] = _driver()
    return {name: value for name, value in settings.items() if value is not None}


def _driver() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None

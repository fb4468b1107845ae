"""Arrays in NumPy's .npz files as labelled arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from joulebench.data.arrays import ImageArrays
from joulebench.data.labelled import MAX_BYTES, Inputs, labelled, listed
from joulebench.errors import InputError
from joulebench.spec.reading import open_file

NPZ_EXPECTED = "expected x and y (or images and labels), or x_train, y_train, x_test and y_test"
_PAIRS = (("x", "y"), ("images", "labels"), ("data", "target"))
_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: Path, seed: int) -> ImageArrays:
    """Arrays of a .npz file: images (n, height, width[, channels]) or features (n, columns), and labels (n,).

    Raises:
        InputError: it has other arrays, or they do not fit together.
    """
    arrays = _read_npz(path)
    if set(_SPLIT_KEYS) <= set(arrays):
        pairs = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
    else:
        pair = next((pair for pair in _PAIRS if set(pair) <= set(arrays)), None)
        if pair is None:
            raise InputError(f"{path}: has {listed(arrays) or 'no arrays'}; {NPZ_EXPECTED}")
        pairs = {"train": pair}
    inputs = {split: _array_inputs(arrays[x], f"{path}: {x}") for split, (x, _) in pairs.items()}
    labels = {split: _array_labels(arrays[y], f"{path}: {y}") for split, (_, y) in pairs.items()}
    for split, (x, y) in pairs.items():
        if len(inputs[split]) != len(labels[split]):
            raise InputError(
                f"{path}: {x} has {len(inputs[split])} rows, {y} {len(labels[split])}; expected as many"
            )
    return labelled(inputs, labels, f"arrays {path.name}", str(path), seed)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with open_file(path, MAX_BYTES, follow=True) as file:
            with zipfile.ZipFile(file) as archive:
                if (total := sum(entry.file_size for entry in archive.infolist())) > MAX_BYTES:
                    raise InputError(f"{path}: unpacks to {total} bytes; expected at most {MAX_BYTES}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                wanted = {*_SPLIT_KEYS, *(key for pair in _PAIRS for key in pair)}
                return {key: stored[key] if key in wanted else None for key in stored.files}
    except InputError:
        raise
    except Exception as error:  # damaged files fail in many ways inside zipfile and numpy
        raise InputError(f"{path}: no readable .npz file ({error}); {NPZ_EXPECTED}") from None


def _array_inputs(x: Any, where: str) -> Inputs:
    if x.dtype.kind not in "uifb" or x.ndim not in (2, 3, 4) or not x.size:
        raise InputError(
            f"{where} is {x.dtype} of shape {x.shape}; "
            "expected numbers, (n, height, width[, channels]) or (n, columns)"
        )
    if x.ndim == 4 and x.shape[3] not in (1, 3):
        if x.shape[1] not in (1, 3):
            raise InputError(f"{where} has shape {x.shape}; expected 1 or 3 channels, last or second")
        x = x.transpose(0, 2, 3, 1)
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim == 4 and x.dtype.kind != "f":
        if x.min() < 0 or x.max() > 255:
            raise InputError(f"{where} has pixels of {x.min()} … {x.max()}; expected 0 … 255, or floats")
        return np.ascontiguousarray(x, dtype=np.uint8)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{where} holds values that are not finite")
    return numbers if numbers.ndim == 4 else numbers[:, None, None, :]


def _array_labels(y: Any, where: str) -> list[str]:
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    whole = y.dtype.kind == "f" and bool(np.isfinite(y).all()) and bool((y == np.floor(y)).all())
    if y.ndim != 1 or not (y.dtype.kind in "uibU" or whole):
        raise InputError(f"{where} is {y.dtype} of shape {y.shape}; expected classes (n,): whole numbers or text")
    return [str(int(value)) if y.dtype.kind != "U" else str(value) for value in y]

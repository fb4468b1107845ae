"""Data sets: decoded once into uint8 arrays, split and staged as tensors on the device.

`load_arrays` finds and decodes, `stage` splits and moves to the device, `augment` runs on batches there.
"""

from joulebench.data.arrays import ImageArrays
from joulebench.data.augment import augment
from joulebench.data.sources import DataRequest, load_arrays
from joulebench.data.staged import Split, StagedData, StagedImages, StagedText
from joulebench.data.staging import stage
from joulebench.data.text import TextBytes

__all__ = [
    "DataRequest",
    "ImageArrays",
    "Split",
    "StagedData",
    "StagedImages",
    "StagedText",
    "TextBytes",
    "augment",
    "load_arrays",
    "stage",
]

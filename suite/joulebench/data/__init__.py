"""Data sets: decoded once into uint8 arrays, then split and staged as tensors on the device.

`load_arrays` locates and decodes, `stage` splits and copies to the device, `augment` transforms batches there.
"""

from joulebench.data.arrays import ImageArrays
from joulebench.data.augment import augment
from joulebench.data.sources import DataRequest, load_arrays
from joulebench.data.staging import Split, StagedData, StagedImages, StagedText, stage, tensors_of
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
    "tensors_of",
]

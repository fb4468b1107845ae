"""Data sets: decoded once into uint8 arrays, split and staged as tensors on the device.

`load_arrays` finds and decodes, `stage` splits and moves to the device, `augment` runs on batches there.
"""

from suite.data.arrays import ImageArrays
from suite.data.augment import augment
from suite.data.sources import load_arrays
from suite.data.staged import Split, StagedData, StagedImages, StagedText
from suite.data.staging import stage
from suite.data.text import TextBytes

__all__ = [
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

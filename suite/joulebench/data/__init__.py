"""Data sets: decoded once into arrays or texts, then split and staged on the device.

`load_arrays` locates and decodes, `stage` splits and copies to the device, `augment` transforms batches there.
"""

from joulebench.data.arrays import ImageArrays
from joulebench.data.augment import augment
from joulebench.data.sources import DataRequest, load_arrays
from joulebench.data.staging import (
    Split,
    StagedData,
    StagedImages,
    StagedText,
    StagedTexts,
    TextSplit,
    stage,
    tensors_of,
)
from joulebench.data.text import Decoded, LabelledTexts, TextBytes

__all__ = [
    "DataRequest",
    "Decoded",
    "ImageArrays",
    "LabelledTexts",
    "Split",
    "StagedData",
    "StagedImages",
    "StagedText",
    "StagedTexts",
    "TextBytes",
    "TextSplit",
    "augment",
    "load_arrays",
    "stage",
    "tensors_of",
]

"""Images: how they are split and staged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from joulebench.data import ImageArrays, Split, StagedImages, load_arrays, stage
from joulebench.data.arrays import shuffled, take_stratified
from joulebench.data.staging import channel_statistics, split_indices
from joulebench.spec.task import Dataset
from tests.data_sources import DIGITS, refused


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=200),
    share=st.floats(0, 1),
    seed=st.integers(0, 1_000_000),
)
def test_a_stratified_cut_is_exact(labels: list[int], share: float, seed: int) -> None:
    own = np.array(labels, dtype=np.int64)
    size = int(share * len(own))
    taken, rest = take_stratified(shuffled(len(own), seed, 0), own, size)
    assert len(taken) == size
    assert sorted([*taken, *rest]) == list(range(len(own)))
    ideal = np.bincount(own) * size / len(own)
    assert np.all(np.abs(np.bincount(own[taken], minlength=len(ideal)) - ideal) < 1)


@given(n=st.integers(2, 300), validation=st.integers(1, 300), train=st.none() | st.integers(1, 300))
def test_split_sizes_are_exact_or_refused(n: int, validation: int, train: int | None) -> None:
    labels = np.arange(n, dtype=np.int64) % 7
    dataset = Dataset(name="mnist", validation=validation, train=train)
    if validation + (train or 1) > n:
        refused(lambda: split_indices(labels, dataset), f"{n} training images", f"validation = {validation}")
        return
    chosen, held = split_indices(labels, dataset)
    assert len(held) == validation
    assert len(chosen) == (n - validation if train is None else train)
    assert not set(chosen) & set(held)


def test_split_indices_depend_on_the_seed_alone() -> None:
    labels = np.arange(20, dtype=np.int64) % 2
    few = Dataset(name="mnist", validation=4, train=6, seed=3)
    train, validation = split_indices(labels, few)
    # the same on every machine and with every numpy, for good
    assert train.tolist() == [0, 8, 3, 15, 9, 16]
    assert validation.tolist() == [4, 19, 10, 5]
    everything, same = split_indices(labels, Dataset(name="mnist", validation=4, seed=3))
    assert same.tolist() == validation.tolist()
    assert set(train) <= set(everything)
    assert split_indices(labels, few.model_copy(update={"seed": 4}))[1].tolist() != validation.tolist()


def test_staged_digits_are_normalised_by_the_training_split() -> None:
    arrays = load_arrays(DIGITS)
    staged = stage(arrays, Dataset(name="digits", validation=300, train=1000), "cpu")
    assert [len(staged.split(name)) for name in ("train", "validation", "test")] == [1000, 300, 359]
    assert staged.shape == (1, 8, 8)
    assert staged.train.x.dtype == torch.float32
    assert staged.train.y.dtype == torch.int64
    assert staged.train.x.mean().item() == pytest.approx(0, abs=1e-5)
    assert staged.train.x.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    raw = torch.from_numpy(arrays.test_x).permute(0, 3, 1, 2) / 255
    assert torch.allclose(staged.test.x, (raw - staged.mean[0]) / staged.std[0], atol=1e-5)
    assert staged.test.y.tolist() == arrays.test_y.tolist()


def test_staged_colour_is_channels_last_and_normalised_per_channel() -> None:
    dataset = Dataset(name="synthetic", validation=20, shape=(3, 6, 5), n=200, classes=4)
    staged = stage(load_arrays(dataset), dataset, "cpu")
    assert staged.train.x.shape == (140, 3, 6, 5)
    assert staged.train.x.is_contiguous(memory_format=torch.channels_last)
    assert staged.train.x.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert staged.train.x.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_splits_share_no_image() -> None:
    n = 200
    unique = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    labels = np.arange(n, dtype=np.int64) % 5
    arrays = ImageArrays(unique[:150], labels[:150], unique[150:], labels[150:], tuple("abcde"), "made")
    staged = stage(arrays, Dataset(name="mnist", validation=40, train=60), "cpu")
    values = [
        torch.round((split.x * staged.std[0] + staged.mean[0]) * 255).long().flatten()
        for split in (staged.train, staged.validation, staged.test)
    ]
    assert len(torch.cat(values).unique()) == 60 + 40 + 50
    for split, seen in zip((staged.train, staged.validation, staged.test), values, strict=True):
        assert torch.equal(split.y, seen % 5)
    assert staged.train.y.bincount().tolist() == [12] * 5
    assert staged.train.y.tolist() != sorted(staged.train.y.tolist())


@pytest.mark.parametrize("level", [0, 37, 255])
def test_a_constant_channel_becomes_zero(level: int) -> None:
    x = np.full((50, 4, 4, 1), level, dtype=np.uint8)
    labels = np.arange(50, dtype=np.int64) % 2
    assert channel_statistics(x, np.arange(50))[1] == (0.0,)
    arrays = ImageArrays(x, labels, x, labels, ("a", "b"), "made")
    staged = stage(arrays, Dataset(name="mnist", validation=10), "cpu")
    assert staged.train.x.abs().max().item() < 1e-6


def test_channel_statistics_match_numpy() -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 5, 4, 3), dtype=np.uint8)
    chosen = np.arange(0, 60, 2)
    mean, std = channel_statistics(x, chosen)
    assert mean == pytest.approx(x[chosen].mean((0, 1, 2)) / 255, rel=1e-12)
    assert std == pytest.approx(x[chosen].std((0, 1, 2)) / 255, rel=1e-12)


def test_too_few_images_names_the_numbers() -> None:
    arrays = load_arrays(DIGITS)
    greedy = Dataset(name="digits", validation=500, train=1000)
    refused(lambda: stage(arrays, greedy, "cpu"), "'digits'", "1438", "train = 1000", "validation = 500")
    refused(lambda: stage(arrays, Dataset(name="digits", validation=1438), "cpu"), "1438", "at least 1")


def test_describe_goes_into_a_manifest() -> None:
    staged = stage(load_arrays(DIGITS), Dataset(name="digits", validation=300, augment=("crop",)), "cpu")
    described = json.loads(json.dumps(staged.describe()))
    assert described["counts"] == {"train": 1138, "validation": 300, "test": 359}
    assert described["source"] == "scikit-learn digits"
    assert described["fingerprint"] == load_arrays(DIGITS).fingerprint
    assert described["classes"] == list("0123456789")
    assert described["augment"] == ["crop"]
    assert described["mean"] == list(staged.mean)


def test_a_part_of_the_training_data_is_said_to_be_one() -> None:
    images = Dataset(name="digits", validation=300, train=500)
    assert stage(load_arrays(images), images, "cpu").describe()["part"].startswith("500 of 1")
    text = Dataset(name="grammar", n=10_000, validation=1000, train=2000)
    assert stage(load_arrays(text), text, "cpu").describe()["part"] == "2000 of 7000 training bytes"
    whole = images.model_copy(update={"train": None})
    assert "part" not in stage(load_arrays(whole), whole, "cpu").describe()


def test_an_unknown_split_is_refused() -> None:
    empty = Split(torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64))
    staged = StagedImages(empty, empty, empty, ("a",), (1, 1, 1), (0.0,), (1.0,), ())
    refused(lambda: staged.split("dev"), "'dev'", "train, validation, test")

"""Image trees, in folders and archives: what is read, and what is refused."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from joulebench.data import load_arrays, stage
from tests.data_sources import (
    CIFAR10,
    CLASSES,
    MNIST,
    TRAIN_EACH,
    pack_tar,
    pack_zip,
    refused,
    write_image,
)


def test_a_folder_is_decoded_in_sorted_order(tree: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    arrays = load_arrays(CIFAR10, tree, progress=lambda *report: seen.append(report))
    assert arrays.train_x.shape == (30, 32, 32, 3)
    assert arrays.train_y.tolist() == [number for number in range(10) for _ in range(TRAIN_EACH)]
    assert arrays.test_y.tolist() == list(range(10))
    assert arrays.classes == CLASSES
    assert arrays.source == "ImageFolder folder tiny"
    assert seen == [("decode train images", 30, 30), ("decode test images", 10, 10)]
    first = np.asarray(Image.open(tree / "train" / "class0" / "0000.png"))
    assert np.array_equal(arrays.train_x[0], first)


def test_every_packing_gives_the_same_pixels(tree: Path, tmp_path: Path) -> None:
    expected = load_arrays(CIFAR10, tree).fingerprint
    nested = tmp_path / "outer"
    shutil.copytree(tree, nested / "cifar10")
    packed = [pack_tar(tree), pack_tar(tree, "", ".tgz"), pack_tar(tree, suffix=".tar"), pack_zip(tree)]
    assert {load_arrays(CIFAR10, path).fingerprint for path in [nested, *packed]} == {expected}
    assert load_arrays(CIFAR10, pack_zip(tree, "")).fingerprint == expected


def test_nothing_hidden_is_read_and_nothing_is_written(tree: Path, tmp_path: Path) -> None:
    expected = load_arrays(CIFAR10, tree).fingerprint
    archive = tree.parent / "odd.tar"
    image = (tree / "train" / "class0" / "0000.png").read_bytes()
    with tarfile.open(archive, "w") as packed:
        packed.add(tree, "tiny")
        for name in (
            "/absolute.png",
            "__MACOSX/tiny/train/class0/0.png",
            "tiny/train/class0/._0000.png",
            "tiny/notes.txt",
        ):
            member = tarfile.TarInfo(name)
            member.size = len(image)
            packed.addfile(member, io.BytesIO(image))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert load_arrays(CIFAR10, archive).fingerprint == expected
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_grey_images_make_one_channel(tmp_path: Path) -> None:
    for name in CLASSES:
        for split in ("train", "test"):
            write_image(tmp_path / "grey" / split / name / "0.PNG", 1, size=(28, 28))
    assert load_arrays(MNIST, tmp_path / "grey").train_x.shape == (10, 28, 28, 1)


def test_data_path_wins_over_the_variable(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_DATA", str(tree))
    assert load_arrays(CIFAR10).source == "ImageFolder folder tiny"
    refused(lambda: load_arrays(CIFAR10, tree / "nowhere"), "nowhere", "no such file or folder")


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_arrays(CIFAR10, tmp_path / "no"), str(tmp_path / "no"), "{train,test}/<class>", ".zip")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip", ".txt"])
def test_what_is_no_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(b"neither this nor that" * 100)
    refused(lambda: load_arrays(CIFAR10, path), str(path), "archive", "expected")


def test_a_truncated_archive_is_refused(tree: Path) -> None:
    for path in (pack_tar(tree), pack_zip(tree)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused(lambda path=path: load_arrays(CIFAR10, path), str(path), "archive", "expected")


def test_a_flipped_byte_in_an_archive_is_refused(tree: Path) -> None:
    path = pack_tar(tree)
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    refused(lambda: load_arrays(CIFAR10, path), str(path))


def test_no_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(lambda: load_arrays(CIFAR10, tmp_path / "empty"), "holds no images", "expected")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    refused(lambda: load_arrays(CIFAR10, tmp_path / "empty.zip"), "empty.zip", "holds no images", "expected")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_refused(tree: Path, split: str) -> None:
    shutil.rmtree(tree / split)
    refused(lambda: load_arrays(CIFAR10, tree), str(tree), f"no images under {split}/<class>/")


def test_a_test_class_unknown_to_train_is_refused(tree: Path) -> None:
    write_image(tree / "test" / "zebra" / "0.png", 1)
    refused(lambda: load_arrays(CIFAR10, tree), str(tree), "test/zebra is not a class of train", "class9")


def test_the_wrong_number_of_classes_is_refused(tree: Path) -> None:
    write_image(tree / "train" / "zebra" / "0.png", 1)
    refused(lambda: load_arrays(CIFAR10, tree), str(tree), "train has 11 classes", "expected 10")


def test_the_wrong_size_is_refused(tree: Path) -> None:
    write_image(tree / "train" / "class4" / "0001.png", 1, size=(32, 16))
    words = (str(tree), "train/class4/0001.png", "16 × 32", "expected 32 × 32")
    refused(lambda: load_arrays(CIFAR10, tree), *words)
    refused(lambda: load_arrays(CIFAR10, pack_zip(tree)), *words[1:])


def test_a_broken_image_is_refused(tree: Path) -> None:
    path = tree / "test" / "class4" / "0000.png"
    path.write_bytes(path.read_bytes()[:200])
    refused(lambda: load_arrays(CIFAR10, tree), "test/class4/0000.png", "image")
    path.write_text("not at all")
    refused(lambda: load_arrays(CIFAR10, tree), "test/class4/0000.png", "image")


def test_an_image_file_far_too_large_is_refused_unread(tree: Path) -> None:
    with zipfile.ZipFile(pack_zip(tree), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/train/class0/bomb.png", bytes(2**21))
    refused(lambda: load_arrays(CIFAR10, tree.parent / "packed.zip"), "bomb.png", "2097152 bytes")


def test_two_data_sets_in_one_place_are_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "both" / "a")
    shutil.copytree(tree, tmp_path / "both" / "b")
    refused(lambda: load_arrays(CIFAR10, tmp_path / "both"), "several data sets", "a, b")
    archive = shutil.make_archive(str(tmp_path / "both"), "zip", tmp_path / "both")
    refused(lambda: load_arrays(CIFAR10, Path(archive)), "several data sets", "a, b")


def test_a_second_look_finds_what_the_first_left_out(tree: Path) -> None:
    """Files that are no images by their names, a validation folder, and a class that test lacks are remarked."""
    (tree / "train" / "class0" / "notes.heic").write_bytes(b"x")
    (tree / "train" / "class0" / "Thumbs.db").write_bytes(b"x")
    (tree / "val").mkdir()
    shutil.rmtree(tree / "test" / "class3")
    for path in (tree, pack_tar(tree)):
        arrays = load_arrays(CIFAR10, path)
        assert len(arrays.train_x) == 30
        left_out, unread, missing = arrays.remarks
        assert left_out.endswith(": 1 (train/class0/notes.heic)")
        assert "val" in unread
        assert "class3" in missing
    assert load_arrays(CIFAR10, tree).remarks == (left_out, unread, missing)  # from the cache


def test_test_images_that_stand_in_train_are_counted(tree: Path) -> None:
    for name in ("class0", "class1"):
        shutil.copy(tree / "train" / name / "0001.png", tree / "test" / name / "0000.png")
    for path in (tree, pack_zip(tree)):
        (remark,) = load_arrays(CIFAR10, path).remarks
        assert remark.startswith("2 of 10 test images")


def test_remarks_are_in_the_manifest(tree: Path) -> None:
    shutil.rmtree(tree / "test" / "class3")
    staged = stage(load_arrays(CIFAR10, tree), CIFAR10, "cpu")
    assert staged.describe()["remarks"] == ["test has no images of class3"]


def test_a_class_without_images_is_named(tree: Path) -> None:
    (tree / "train" / "class4" / "more").mkdir()
    for image in (tree / "train" / "class4").glob("*.png"):
        image.rename(image.parent / "more" / image.name)
    for path in (tree, pack_tar(tree), pack_zip(tree)):
        refused(lambda path=path: load_arrays(CIFAR10, path), str(path), "train/class4/more", "deeper")
    shutil.rmtree(tree / "train" / "class4" / "more")
    for path in (tree, pack_tar(tree)):
        refused(lambda path=path: load_arrays(CIFAR10, path), str(path), "train/class4 holds no images")


def test_images_beside_the_classes_are_refused(tree: Path) -> None:
    write_image(tree / "train" / "loose.png", 1)
    refused(lambda: load_arrays(CIFAR10, tree), "train/loose.png", "folder of a class")


@pytest.mark.parametrize("name", ["val", "validation", "Test"])
def test_what_stands_in_place_of_test_is_named(tree: Path, name: str) -> None:
    (tree / "test").rename(tree / name)
    for path in (tree, pack_tar(tree)):
        refused(
            lambda path=path: load_arrays(CIFAR10, path),
            f"it has: {', '.join(sorted(['train', name]))}",
            "{train,test}",
        )


def test_a_name_that_is_not_utf8_is_read_as_a_file_and_refused_as_a_class(tree: Path) -> None:
    expected = load_arrays(CIFAR10, tree).fingerprint
    image = tree / "train" / "class0" / "0000.png"
    image.rename(image.parent / os.fsdecode(b"0000\xff.png"))
    (image.parent / os.fsdecode(b"\xff.heic")).write_bytes(b"x")
    assert load_arrays(CIFAR10, tree).fingerprint == expected
    packed = load_arrays(CIFAR10, pack_tar(tree))
    assert packed.fingerprint == expected
    assert [remark.encode() for remark in packed.remarks]  # as records hold it
    odd = Path(os.fsdecode(os.fsencode(tree) + b"\xff"))
    tree.rename(odd)
    refused(lambda: load_arrays(CIFAR10, odd), "tiny\\udcff", "UTF-8")
    odd.rename(tree)
    (tree / "train" / "class0").rename(tree / "train" / os.fsdecode(b"class\xff"))
    refused(lambda: load_arrays(CIFAR10, tree), "train/class\\udcff", "UTF-8")


# -- modes and formats -------------------------------------------------------------------------------------------


def placed(tree: Path, image: Image.Image, suffix: str = ".png", **options: object) -> np.ndarray:
    """Pixels as decoded of an image that stands first in train."""
    target = tree / "train" / "class0" / "0000.png"
    target.unlink()
    image.save(target.with_suffix(suffix), **options)
    return load_arrays(CIFAR10, tree).train_x[0]


def gradient() -> np.ndarray:
    return np.arange(32 * 32, dtype=np.int64).reshape(32, 32)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled(tree: Path, suffix: str) -> None:
    levels = gradient() * 64
    written = levels.astype(np.int32 if suffix == ".pgm" else np.uint16)  # as old releases of Pillow write them
    decoded = placed(tree, Image.fromarray(written), suffix)
    assert np.array_equal(decoded, np.repeat(np.round(levels / 257).astype(np.uint8)[..., None], 3, axis=2))


def test_pixels_of_another_range_are_refused(tree: Path) -> None:
    levels = Image.fromarray(gradient().astype(np.float32))
    refused(lambda: placed(tree, levels, ".tif"), "train/class0/0000.tif", "16 bits")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_other_modes_keep_their_colours(tree: Path, mode: str) -> None:
    image = Image.fromarray((gradient() % 256).astype(np.uint8)).convert("RGB").convert(mode)
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = placed(tree, image, **options)
    assert np.array_equal(decoded, np.asarray(image.convert("RGB")))


def test_four_inks_make_three_colours(tree: Path) -> None:
    white = Image.new("CMYK", (32, 32))
    assert placed(tree, white, ".tif").min() == 255


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".ppm", ".tiff"])
def test_further_formats_are_read(tree: Path, suffix: str) -> None:
    image = Image.fromarray((gradient() % 256).astype(np.uint8)).convert("RGB")
    options = {"lossless": True} if suffix == ".webp" else {}
    assert np.array_equal(placed(tree, image, suffix, **options), np.asarray(image))


def test_a_turned_image_is_set_upright(tree: Path) -> None:
    image = Image.fromarray((gradient() % 256).astype(np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3  # upside down
    decoded = placed(tree, image, exif=exif)
    assert np.array_equal(decoded[..., 0], np.asarray(image)[::-1, ::-1])


def test_several_frames_are_refused(tree: Path) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    refused(lambda: placed(tree, frames[0], save_all=True, append_images=frames[1:]), "0000.png", "2 frames")


def test_a_format_that_starts_programs_is_no_image(tree: Path) -> None:
    image = Image.new("RGB", (32, 32))
    image.save(tree / "page.eps")
    (tree / "page.eps").rename(tree / "train" / "class0" / "0000.png")
    refused(lambda: load_arrays(CIFAR10, tree), "0000.png", "not a readable image (JPEG")


def test_what_is_no_file_or_too_large_is_refused_unread(tree: Path) -> None:
    path = tree / "train" / "class0" / "0000.png"
    path.write_bytes(bytes(2**20 + 1))
    refused(lambda: load_arrays(CIFAR10, tree), "0000.png", "larger than 1048576 bytes")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(lambda: load_arrays(CIFAR10, tree), "0000.png", "no regular file")
    path.unlink()
    os.mkfifo(path)
    refused(lambda: load_arrays(CIFAR10, tree), "0000.png", "no regular file")

"""Decoding of image trees, `{train,test}/<class>/<image>`, from a folder or an archive."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from joulebench.data.archives import ArchiveError, read_files
from joulebench.data.arrays import (
    ImageArrays,
    Pixels,
    Progress,
    absent_classes,
    check_room,
    no_progress,
    with_test_cut,
)
from joulebench.errors import InputError
from joulebench.spec.reading import read_file
from joulebench.text import is_utf8, without_surrogates

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")  # as torchvision has them
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")  # Pillow's others may start programs (EPS)
SPLITS = ("train", "test")
EXPECTED = (
    "expected a torchvision folder or archive, or {train,test}/<class>/*.{jpg,png,webp,bmp,ppm,pgm,tif} "
    "as a folder or as a .tar.gz, .tgz, .tar or .zip archive"
)
FLAT_EXPECTED = (
    "expected <class>/<image> or {train,test}/<class>/<image> as a folder "
    "or as a .tar.gz, .tgz, .tar or .zip archive"
)
MAX_PHOTO_BYTES, MAX_PHOTO_PIXELS = 2**25, 2**26  # of one image that is scaled down
MAX_FILE_BYTES = 2**20  # an image of a few pixels is never larger; a decompression bomb is
SPARE_BYTES, BYTES_EACH = 2**26, 2**14  # of an archive's images together: what any may have, and what each adds
CHUNK = 2_000  # images between two reports of progress
SHOWN = 3  # names in a message
_JUNK = ("thumbs.db", "desktop.ini")
_LIKE_SPLITS = (*SPLITS, "training", "testing", "trainset", "testset")
_VALIDATION = ("val", "valid", "validation", "dev")

Content = bytes | Path
Entry = tuple[tuple[str, ...], Content | None]  # parts of a path; None: of a folder


class _Tree(NamedTuple):
    images: Mapping[str, Content]  # "train/cat/0001.png" → its content, or where that lies
    remarks: tuple[str, ...]


def load_tree(path: Path, shape: tuple[int, int, int], class_count: int, progress: Progress) -> ImageArrays:
    """Decode the images under `path`, each of `shape` (height, width, channels); classes are in sorted order.

    Archives are read in memory and never extracted, so no member can write to the disk.

    Raises:
        InputError: no such layout, unreadable, or other sizes or classes than expected.
    """
    kind = "folder" if path.is_dir() else "archive"
    tree = _arranged(path, _folder_entries(path) if path.is_dir() else _archive_entries(path, progress))
    classes = _classes(tree.images, path, class_count)
    splits = {}
    for split in SPLITS:
        names = sorted(name for name in tree.images if name.startswith(f"{split}/"))
        labels = np.array([classes.index(_class_of(name)) for name in names], dtype=np.int64)
        files = {name: tree.images[name] for name in names}
        splits[split] = (_decode(files, str(path), shape, progress, split), labels)
    (train_x, train_y), (test_x, test_y) = splits["train"], splits["test"]
    remarks = (*tree.remarks, *absent_classes(train_y, test_y, classes))
    source = f"ImageFolder {kind} {path.name}"
    return ImageArrays(train_x, train_y, test_x, test_y, classes, source, remarks=remarks)


def load_folder(path: Path, shape: tuple[int, int, int] | None, seed: int, progress: Progress) -> ImageArrays:
    """Decode images in folders of their classes, of whatever size and classes.

    Args:
        shape: height, width and channels that images are scaled to; those of the first where None, and no other.
        seed: of the held-out fifth that is the test, where there is no folder test.

    Raises:
        InputError: no such layout, unreadable, or images of several sizes and no shape.
    """
    kind = "folder" if path.is_dir() else "archive"
    if path.is_dir():
        entries = list(_folder_entries(path, flat=True))
    else:
        entries = list(_archive_entries(path, progress, flat=True))
    flat = not any(parts[0] in SPLITS for parts, _ in entries)
    named = sorted({parts[0] for parts, _ in entries if len(parts) > 1 or _ is None})
    if flat and any(name.lower() in (*_LIKE_SPLITS, *_VALIDATION) for name in named):
        raise InputError(f"{path}: holds no folder train or test (it has: {_listed(named)}); {FLAT_EXPECTED}")
    if flat:
        entries = [(("train", *parts), content) for parts, content in entries]
    tree = _arranged(path, entries, ("train",) if flat else SPLITS, FLAT_EXPECTED)
    classes = _classes(tree.images, path, None)
    if len(classes) < 2:
        raise InputError(f"{path}: has one class ({_listed(classes)}); expected at least 2")
    pixels, labels = {}, {}
    for split in ("train",) if flat else SPLITS:
        names = sorted(name for name in tree.images if name.startswith(f"{split}/"))
        labels[split] = np.array([classes.index(_class_of(name)) for name in names], dtype=np.int64)
        files = {name.removeprefix("train/") if flat else name: tree.images[name] for name in names}
        pixels[split] = decode_all(files, str(path), shape, progress, split)
        shape = (pixels[split].shape[1], pixels[split].shape[2], pixels[split].shape[3]) if shape is None else shape
    source = f"images of {kind} {path.name}"
    if flat:
        arrays = with_test_cut(pixels["train"], labels["train"], classes, source, seed)
    else:
        arrays = ImageArrays(pixels["train"], labels["train"], pixels["test"], labels["test"], classes, source)
    return replace(arrays, remarks=(*tree.remarks, *absent_classes(arrays.train_y, arrays.test_y, classes)))


def all_files(path: Path) -> list[Path]:
    """Files that `load_folder` looks at."""
    return [content for _, content in _folder_entries(path, flat=True) if isinstance(content, Path)]


def decode_all(
    files: Mapping[str, Content],
    where: str,
    shape: tuple[int, int, int] | None,
    progress: Progress = no_progress,
    what: str = "",
) -> Pixels:
    """Decode images, in order: scaled to `shape` (height, width, channels), or all of the first one's where None.

    Raises:
        InputError: one cannot be read, or is of another size while there is no shape.
    """
    first = next(iter(files))
    expected = shape or _shape_of(files[first], f"{where}: {first}")
    check_room(len(files) * math.prod(expected), f"{where}: {len(files)} images of {'×'.join(map(str, expected))}")
    return _decode(files, where, expected, progress, what, fit=True, scale=shape is not None)


def _shape_of(content: Content, where: str) -> tuple[int, int, int]:
    from PIL import Image, ImageOps

    with _opened(content, MAX_PHOTO_BYTES, where) as image:
        _check_pixels(image, where)
        upright: Image.Image = ImageOps.exif_transpose(image)
        return upright.size[1], upright.size[0], 1 if _is_grey(image.mode) else 3


@contextmanager
def _opened(content: Content, most: int, where: str) -> Iterator[Any]:
    """One image of at most so many bytes.

    Raises:
        InputError: it cannot be read, as it is opened or within the block.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        data = content if isinstance(content, bytes) else read_file(content, most, follow=True)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{where} is not a readable image ({', '.join(FORMATS)})") from None
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise InputError(f"{where} is not a readable image ({str(error) or type(error).__name__})") from None


def _check_pixels(image: Any, where: str) -> None:
    """Refuse an image of so many pixels that it is none of a data set, before it is decompressed.

    Raises:
        InputError: it has them.
    """
    if image.size[0] * image.size[1] > MAX_PHOTO_PIXELS:
        raise InputError(f"{where} is {image.size[0]} × {image.size[1]} pixels; that is too many")


def _root(path: Path) -> Path | None:
    """Find the folder that holds train and test: `path` or one directly inside; None if there is neither.

    Raises:
        InputError: several such folders, or `path` cannot be read.
    """
    try:
        inside = [path, *sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))]
        roots = [root for root in inside if any((root / split).is_dir() for split in SPLITS)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if path in roots or not roots:
        return roots[0] if roots else None
    if len(roots) > 1:
        raise InputError(f"{path}: holds several data sets ({', '.join(r.name for r in roots)}); name one")
    return roots[0]


def tree_files(root: Path) -> Iterator[Path]:
    """The files under `{train,test}/<class>/` of `root` that are not hidden."""
    for _, content in _folder_entries(root):
        if isinstance(content, Path):
            yield content


def _folder_entries(path: Path, flat: bool = False) -> Iterator[Entry]:
    """What a folder of images holds, links followed, as deep as a file of a class folder lies."""
    root = _root(path)
    for entry in sorted((root or path).iterdir()):
        if not _is_visible((entry.name,)):
            continue
        if not entry.is_dir():
            if flat and root is None:
                yield (entry.name,), entry
            continue
        yield (entry.name,), None
        if entry.name in SPLITS or (flat and root is None):
            yield from _below(entry, (entry.name,))


def _below(folder: Path, parts: tuple[str, ...]) -> Iterator[Entry]:
    for entry in sorted(folder.iterdir()):
        below = (*parts, entry.name)
        if not _is_visible(below):
            continue
        if not entry.is_dir():
            yield below, entry
            continue
        yield below, None
        if len(below) < 3:
            yield from _below(entry, below)


def _archive_entries(path: Path, progress: Progress, flat: bool = False) -> Iterator[Entry]:
    if not path.is_file():
        raise InputError(f"{path}: is no regular file; {EXPECTED}")

    most, each = (MAX_PHOTO_BYTES, 2**18) if flat else (MAX_FILE_BYTES, BYTES_EACH)

    def report(count: int) -> None:
        if count % CHUNK == 0:
            progress("read archive", count, 0)

    try:
        found = read_files(path, _is_image, most, lambda n: SPARE_BYTES + n * each, report)
    except ArchiveError as error:
        expected = f"{FLAT_EXPECTED}; photos too large for an archive are read from a folder" if flat else EXPECTED
        raise InputError(f"{path}: the archive cannot be used: {error}; {expected}") from None
    placed = {PurePosixPath(name).parts: content for name, content in found.items()}
    roots = {parts[:depth] for parts in placed for depth in (0, 1) if parts[depth : depth + 1] in _SPLIT_PARTS}
    roots = {root for root in roots if _is_visible(root)}
    if len(roots) > 1:
        raise InputError(
            f"{path}: holds several data sets ({_listed(['/'.join(r) or '.' for r in roots])}); {EXPECTED}"
        )
    root = next(iter(roots), ())
    if flat and not roots:
        seen = [parts for parts in placed if _is_image("/".join(parts))]
        tops = {parts[0] for parts in seen}
        if len(tops) == 1 and all(len(parts) > 2 for parts in seen):  # the folder that was packed
            root = (next(iter(tops)),)
    for parts, content in placed.items():
        below = parts[len(root) :]
        if parts[: len(root)] == root and below and _is_visible(parts):
            yield below, content


_SPLIT_PARTS = {(split,) for split in SPLITS}


def _is_visible(parts: Iterable[str]) -> bool:
    return not any(part.startswith((".", "__MACOSX")) or part.lower() in _JUNK for part in parts)


def _is_image(name: str) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and _is_visible(path.parts)


def _arranged(
    path: Path, entries: Iterable[Entry], splits: tuple[str, ...] = SPLITS, expected: str = EXPECTED
) -> _Tree:
    """Check that every image lies where images belong, and that no class is empty."""
    images: dict[str, Content] = {}
    folders: set[str] = set()
    beside: set[str] = set()
    left_out = []
    flat = len(splits) == 1

    def shown(name: str) -> str:  # as it lies there
        return name.removeprefix("train/") if flat else name

    for parts, content in entries:
        name = "/".join(parts)
        if parts[0] not in SPLITS:
            beside |= {parts[0]} if content is None or len(parts) > 1 else set()
        elif len(parts) > 3 or (len(parts) == 3 and content is None):
            raise InputError(f"{path}: {shown(name)} lies deeper than images of a class; {expected}")
        elif len(parts) == 2 and content is not None and _is_image(name):
            raise InputError(f"{path}: {shown(name)} lies in no folder of a class; {expected}")
        elif len(parts) == 3:
            folders.add("/".join(parts[:2]))
            if content is not None and _is_image(name):
                images[name] = content
            else:
                left_out.append(shown(name))
        elif len(parts) == 2 and content is None:
            folders.add(name)
    if odd := next((folder for folder in folders if not is_utf8(folder)), None):
        raise InputError(f"{path}: the name of the folder {shown(odd)!a} is not UTF-8")
    missing = [split for split in splits if not any(name.startswith(f"{split}/") for name in images)]
    if missing:
        there = sorted(beside | {shown(folder).split("/")[0] for folder in folders})
        where = f" under {shown(f'{missing[0]}/<class>/')}" if len(missing) < len(splits) or folders else ""
        raise InputError(f"{path}: holds no images{where} (it has: {_listed(there) or 'no folders'}); {expected}")
    for folder in sorted(folders):
        if not any(name.startswith(f"{folder}/") for name in images):
            raise InputError(f"{path}: {shown(folder)} holds no images; {expected}")
    remarks = []
    if left_out:
        remarks.append(f"left out, by their names no images: {len(left_out)} ({_listed(left_out)})")
    if unread := sorted(name for name in beside if name.lower() in _VALIDATION):
        remarks.append(f"{_listed(unread)} is not read: validation images are taken from train")
    return _Tree(images, tuple(remarks))


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(map(without_surrogates, names))
    return ", ".join(ordered[:SHOWN]) + (f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else "")


def _class_of(name: str) -> str:
    return name.split("/")[1]


def _classes(images: Iterable[str], path: Path, count: int | None) -> tuple[str, ...]:
    classes = {split: {_class_of(name) for name in images if name.startswith(f"{split}/")} for split in SPLITS}
    if stray := sorted(classes["test"] - classes["train"]):
        known = ", ".join(sorted(classes["train"]))
        raise InputError(f"{path}: test/{stray[0]} is not a class of train (expected: {known})")
    if count is not None and len(classes["train"]) != count:
        names = ", ".join(sorted(classes["train"])[: count + 1])
        raise InputError(f"{path}: train has {len(classes['train'])} classes ({names}); expected {count}")
    return tuple(sorted(classes["train"]))


def _decode(
    files: Mapping[str, Content],
    where: str,
    shape: tuple[int, int, int],
    progress: Progress,
    what: str,
    fit: bool = False,
    scale: bool = False,
) -> Pixels:
    # one thread: Pillow hands the interpreter lock over for each small image, so a pool took twice as long
    images = np.empty((len(files), *shape), dtype=np.uint8)
    for index, (name, content) in enumerate(files.items()):
        images[index] = _pixels(content, shape, f"{where}: {name}", fit, scale)
        if (index + 1) % CHUNK == 0 or index + 1 == len(files):
            progress(f"decode {what} images", index + 1, len(files))
    return images


def _pixels(
    content: Content, shape: tuple[int, int, int], where: str, fit: bool = False, scale: bool = False
) -> Pixels:
    """Pixels of one image, uint8, upright; alpha is dropped, and 16 bits are scaled to 8.

    Raises:
        InputError: it is of another size, has several frames, or cannot be read.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    hint = ", as the first, or dataset.shape = [channels, height, width] to scale them" if fit else ""
    with _opened(content, MAX_PHOTO_BYTES if fit else MAX_FILE_BYTES, where) as image:
        upright: Image.Image = image
        if scale:
            _check_pixels(image, where)
        if scale or set(image.size) == {width, height}:  # known before anything is decompressed
            upright = ImageOps.exif_transpose(image)
        if not scale and upright.size != (width, height):
            size = f"{upright.size[0]} × {upright.size[1]}"
            raise InputError(f"{where} is {size} pixels; expected {width} × {height}{hint}")
        if (frames := getattr(image, "n_frames", 1)) != 1:
            raise InputError(f"{where} has {frames} frames; expected one image")
        if fit and not scale and channels == 1 and not _is_grey(image.mode):
            raise InputError(f"{where} is in colour; expected grey{hint}")
        mode = "L" if channels == 1 else "RGB"
        plain = _eight_bits(upright).convert(mode)
        if plain.size != (width, height):
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(plain, dtype=np.uint8)
    return pixels.reshape(shape)


def _is_grey(mode: str) -> bool:
    return mode in ("1", "L", "LA") or mode.startswith("I")


def _eight_bits(image: Any) -> Any:
    """An image of 16 bits a pixel scaled to 8, which Pillow would clip; another as it is.

    Raises:
        ValueError: its pixels are of another range.
    """
    from PIL import Image

    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    if not image.mode.startswith(("I", "F")):
        return image
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise ValueError(f"its pixels are neither of 8 nor of 16 bits (mode {image.mode})")
    return Image.fromarray(((levels.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))

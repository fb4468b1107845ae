"""Decoding of image trees, `{train,test}/<class>/<image>`, from a folder or an archive."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from joulebench.data.arrays import ImageArrays, Pixels, Progress
from joulebench.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "test")
EXPECTED = (
    "expected a torchvision folder, or {train,test}/<class>/*.{jpg,jpeg,png} "
    "as a folder or as a .tar.gz, .tgz, .tar or .zip archive"
)
MAX_FILE_BYTES = 2**20  # an image of a few pixels is never larger; a decompression bomb is
CHUNK = 2_000  # images between two reports of progress

Files = Mapping[str, bytes | Path]  # "train/cat/0001.png" → its content, or where that lies


def load_tree(path: Path, shape: tuple[int, int, int], class_count: int, progress: Progress) -> ImageArrays:
    """Decode the images under `path`, each of `shape` (height, width, channels); classes are in sorted order.

    Archives are read in memory and never extracted, so no member can write to the disk.

    Raises:
        InputError: no such layout, unreadable, or other sizes or classes than expected.
    """
    if path.is_dir():
        files, kind = _folder_files(path), "folder"
    else:
        files, kind = _archive_files(path, progress), "archive"
    classes = _classes(files, path, class_count)
    splits = {}
    for split in SPLITS:
        names = sorted(name for name in files if name.startswith(f"{split}/"))
        labels = np.array([classes.index(_class_of(name)) for name in names], dtype=np.int64)
        splits[split] = (_decode(files, names, shape, path, f"decode {split} images", progress), labels)
    (train_x, train_y), (test_x, test_y) = splits["train"], splits["test"]
    return ImageArrays(train_x, train_y, test_x, test_y, classes, f"ImageFolder {kind} {path.name}")


def tree_root(path: Path) -> Path | None:
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
    """The image files under `{train,test}/<class>/` of `root`."""
    for split in SPLITS:
        for file in root.glob(f"{split}/*/*"):
            if _is_image(PurePosixPath(*file.relative_to(root).parts)):
                yield file


def _folder_files(path: Path) -> Files:
    root = tree_root(path)
    return {} if root is None else {file.relative_to(root).as_posix(): file for file in tree_files(root)}


def _archive_files(path: Path, progress: Progress) -> Files:
    try:
        if zipfile.is_zipfile(path):
            members = _zip_members(path)
        elif tarfile.is_tarfile(path):
            members = _tar_members(path)
        else:
            raise InputError(f"{path}: is not a readable archive; {EXPECTED}")
        images: dict[PurePosixPath, bytes] = {}
        for name, content in members:
            images[name] = content
            if len(images) % CHUNK == 0:
                progress("read archive", len(images), 0)
    except InputError:
        raise
    except Exception as error:  # each kind of archive fails in its own way
        raise InputError(f"{path}: the archive is damaged ({error}); {EXPECTED}") from None
    roots = sorted({str(name.parents[2]) for name in images})
    if len(roots) > 1:
        raise InputError(f"{path}: holds several data sets ({', '.join(roots)}); {EXPECTED}")
    return {str(PurePosixPath(*name.parts[-3:])): content for name, content in images.items()}


def _is_image(name: PurePosixPath) -> bool:
    """Whether a path is `[folder/]{train,test}/<class>/<image>` and not hidden."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
    placed = len(name.parts) in (3, 4) and name.parts[-3] in SPLITS
    return placed and not hidden and name.suffix.lower() in SUFFIXES


def _tar_members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if member.isfile() and _is_image(name) and (stream := archive.extractfile(member)):
                _check_bytes(path, name, member.size)
                yield name, stream.read()
        # tarfile stops silently at the first bad header; reading on makes gzip verify its checksum
        while archive.fileobj is not None and archive.fileobj.read(MAX_FILE_BYTES):
            pass


def _zip_members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename)
            if not member.is_dir() and _is_image(name):
                _check_bytes(path, name, member.file_size)
                yield name, archive.read(member)


def _check_bytes(path: Path, name: PurePosixPath, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise InputError(f"{path}: {name} has {size} bytes; expected at most {MAX_FILE_BYTES} an image")


def _class_of(name: str) -> str:
    return name.split("/")[1]


def _classes(files: Files, path: Path, count: int) -> tuple[str, ...]:
    classes = {split: {_class_of(name) for name in files if name.startswith(f"{split}/")} for split in SPLITS}
    if not files:
        raise InputError(f"{path}: holds no images; {EXPECTED}")
    for split in SPLITS:
        if not classes[split]:
            raise InputError(f"{path}: holds no images under {split}/<class>/; {EXPECTED}")
    if stray := sorted(classes["test"] - classes["train"]):
        known = ", ".join(sorted(classes["train"]))
        raise InputError(f"{path}: test/{stray[0]} is not a class of train (expected: {known})")
    if len(classes["train"]) != count:
        names = ", ".join(sorted(classes["train"])[: count + 1])
        raise InputError(f"{path}: train has {len(classes['train'])} classes ({names}); expected {count}")
    return tuple(sorted(classes["train"]))


def _decode(
    files: Files, names: list[str], shape: tuple[int, int, int], path: Path, label: str, progress: Progress
) -> Pixels:
    # one thread: Pillow hands the interpreter lock over for each small image, so a pool took twice as long
    images = np.empty((len(names), *shape), dtype=np.uint8)
    for index, name in enumerate(names):
        images[index] = _pixels(files[name], shape, f"{path}: {name}")
        if (index + 1) % CHUNK == 0 or index + 1 == len(names):
            progress(label, index + 1, len(names))
    return images


def _pixels(content: bytes | Path, shape: tuple[int, int, int], where: str) -> Pixels:
    from PIL import Image

    height, width, channels = shape
    try:
        data = content if isinstance(content, bytes) else content.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (width, height):  # known before anything is decompressed
                size = f"{image.size[0]} × {image.size[1]}"
                raise InputError(f"{where} is {size} pixels; expected {width} × {height}")
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
    except InputError:
        raise
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise InputError(f"{where} is not a readable image ({error})") from None
    return pixels.reshape(shape)

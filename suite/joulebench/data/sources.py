"""Sources of data sets: scikit-learn, torchvision's files, image trees, text files and generators."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from joulebench.data.archives import ArchiveError, unpack_folder
from joulebench.data.arrays import (
    PIXELS,
    ImageArrays,
    Progress,
    no_progress,
    with_test_cut,
)
from joulebench.data.cache import cache_root, cached
from joulebench.data.download import DownloadError, fetch
from joulebench.data.grammar import generate
from joulebench.data.images import (
    EXPECTED,
    FLAT_EXPECTED,
    all_files,
    decode_all,
    load_folder,
    load_tree,
    tree_files,
)
from joulebench.data.labelled import Inputs, labelled
from joulebench.data.npz import NPZ_EXPECTED, load_npz
from joulebench.data.tables import TABLE_EXPECTED, load_table
from joulebench.data.text import Decoded, LabelledTexts, TextBytes, read_text
from joulebench.errors import InputError, described, did_you_mean
from joulebench.host.files import expanded
from joulebench.spec.registry import DATASETS, is_own
from joulebench.spec.task import Dataset
from joulebench.text import is_utf8


@dataclass(frozen=True)
class _Published:
    """A data set of torchvision: its class, its folder under a root, and the shape of its images."""

    torchvision_class: str
    folder: str
    shape: tuple[int, int, int]  # height, width, channels
    classes: int
    archive: str = ""  # as which its folder is published


@dataclass(frozen=True)
class DataRequest:
    """Argument of a data set's function, which returns `ImageArrays`, `LabelledTexts` or `TextBytes`."""

    dataset: Dataset
    path: Path | None  # from --data
    cache: Path  # a folder for what is decoded or downloaded once
    progress: Progress  # called with a label, the amount done and the total (0: unknown)


Source = Callable[[DataRequest], Decoded]

PUBLISHED = {
    "cifar10": _Published("CIFAR10", "cifar-10-batches-py", (32, 32, 3), 10, "cifar-10-python.tar.gz"),
    "mnist": _Published("MNIST", "MNIST/raw", (28, 28, 1), 10),
}


def load_arrays(
    dataset: Dataset,
    data_path: Path | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Load a whole data set as arrays or texts, from the disk cache if it was decoded before.

    `dataset.name` is one below, or `package.module:function` of the user, called with a `DataRequest`.

    `digits` and `synthetic` have no test split of their own: a fifth of the images, stratified and seeded with
    `dataset.seed`, is held out. `cifar10` and `mnist` are read from `data_path`, else from $JOULEBENCH_DATA: a
    torchvision folder, a folder `{train,test}/<class>/` of images, or an archive of one; else torchvision's files
    are downloaded into the cache. `text` is read from `data_path` alone: a file, or a folder of .txt files;
    `grammar` generates its text. `images`, `arrays`, `table` and `torchvision:NAME` are read from
    `data_path` alone.
    `progress` is called with a label, the amount done and the total (0: unknown).

    Raises:
        InputError: there are no such data, or they cannot be read or are not of the expected form.
    """
    if data_path is not None and not is_utf8(str(data_path.absolute())):
        raise InputError(f"--data: {str(data_path)!a}: its name is not UTF-8, so that records cannot hold it")
    source: Source = DATASETS.load(dataset.name, "dataset.name")
    request = DataRequest(dataset, data_path, cache_root(cache_dir), progress or no_progress)
    return _load_own(dataset.name, source, request) if is_own(dataset.name) else source(request)


def _load_own(name: str, source: Source, request: DataRequest) -> Decoded:
    """Call the user's function and check what it returns.

    Raises:
        InputError: the function fails, or returns something else.
    """
    try:
        arrays = source(request)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise InputError(f"dataset.name: '{name}' failed: {described(error)}") from error
    wrong = None
    if not isinstance(arrays, Decoded):
        given = type(arrays).__name__
        wrong = f"must return ImageArrays, LabelledTexts or TextBytes of joulebench.data (got {given})"
    elif isinstance(arrays, ImageArrays):
        wrong = _wrong_images(arrays)
    elif isinstance(arrays, LabelledTexts):
        wrong = _wrong_texts(arrays)
    if wrong:
        raise InputError(f"dataset.name: '{name}' {wrong}")
    return arrays if isinstance(arrays, TextBytes) else arrays.with_leaks()


def _wrong_texts(texts: LabelledTexts) -> str | None:
    """What is wrong with the types or labels of `texts`; None if nothing is."""
    for part, x, y in (("train", texts.train_x, texts.train_y), ("test", texts.test_x, texts.test_y)):
        if not (isinstance(x, tuple) and x and all(isinstance(text, str) for text in x)):
            return f"must return {part}_x as a tuple of str, at least one"
        if problem := _wrong_labels(part, y, len(x), len(texts.classes)):
            return problem
    return None


def _wrong_labels(part: str, y: Any, n: int, classes: int) -> str | None:
    if not (isinstance(y, np.ndarray) and y.dtype == np.int64 and y.shape == (n,)):
        return f"must return {part}_y as int64 of shape ({n},), one label each"
    if y.min() < 0 or y.max() >= classes:
        return f"must return labels of {part}_y that index its {classes} classes"
    return None


def _wrong_images(arrays: ImageArrays) -> str | None:
    """What is wrong with the shapes, types or labels of `arrays`; None if nothing is."""
    for part, x, y in (("train", arrays.train_x, arrays.train_y), ("test", arrays.test_x, arrays.test_y)):
        if not (isinstance(x, np.ndarray) and x.dtype in (np.uint8, np.float32) and x.ndim == 4 and len(x)):
            return f"must return {part}_x as uint8 or float32 of shape (n, height, width, channels), n at least 1"
        if problem := _wrong_labels(part, y, len(x), len(arrays.classes)):
            return problem
    if arrays.train_x.shape[1:] != arrays.test_x.shape[1:]:
        return "must return train_x and test_x of images of one shape"
    return None


def _refuse_path(request: DataRequest) -> None:
    """Refuse --data for a data set that reads no files.

    Raises:
        InputError: there is one.
    """
    if request.path is not None:
        name = request.dataset.name
        raise InputError(f"data set '{name}' reads no files, so it takes no --data (got {request.path})")


def text(request: DataRequest) -> TextBytes:
    """The user's own text: a file, or a folder of .txt files."""
    return read_text(request.path, request.dataset.n)


def cifar10(request: DataRequest) -> ImageArrays:
    """CIFAR-10 from torchvision's files, an image tree or an archive; downloaded where no path is given."""
    return _published("cifar10", request)


def mnist(request: DataRequest) -> ImageArrays:
    """MNIST, as CIFAR-10."""
    return _published("mnist", request)


def grammar(request: DataRequest) -> TextBytes:
    """Text of a small grammar, generated from the seed."""
    _refuse_path(request)
    dataset = request.dataset
    if dataset.n is None:
        raise InputError("grammar data need n, the bytes in all")
    text, floor = generate(dataset.n, dataset.seed)
    return TextBytes(np.frombuffer(text, dtype=np.uint8), f"grammar, seed {dataset.seed}", floor)


def digits(request: DataRequest) -> ImageArrays:
    """scikit-learn's 1,797 handwritten digits of 8 × 8 pixels."""
    from sklearn.datasets import load_digits

    _refuse_path(request)
    seed = request.dataset.seed

    bunch = load_digits()
    levels = bunch.images.astype(np.int64)  # 0 … 16
    x = ((levels * 255 + 8) // 16).astype(np.uint8)[..., None]  # round(level × 255 / 16)
    classes = tuple(str(name) for name in bunch.target_names)
    return with_test_cut(x, bunch.target.astype(np.int64), classes, "scikit-learn digits", seed)


def synthetic(request: DataRequest) -> ImageArrays:
    """Random pixels of the task's shape, with labels 0, 1, … in turn."""
    _refuse_path(request)
    dataset = request.dataset
    if dataset.shape is None or dataset.n is None or dataset.classes is None:
        raise InputError("synthetic data need shape, n and classes")
    channels, height, width = dataset.shape
    n, seed = dataset.n, dataset.seed
    size = n * channels * height * width
    try:
        # raw bytes of the bit generator: the same on every machine and numpy version
        words = np.random.PCG64([seed, PIXELS]).random_raw(-(-size // 8)).astype("<u8", copy=False)
    except MemoryError:
        raise InputError(
            f"synthetic data of {size / 2**30:.1f} GiB do not fit in memory; lower n or shape"
        ) from None
    x = words.view(np.uint8)[:size].reshape(n, height, width, channels)
    y = np.arange(n, dtype=np.int64) % dataset.classes
    classes = tuple(str(number) for number in range(dataset.classes))
    return with_test_cut(x, y, classes, f"synthetic, seed {seed}", seed)


def images(request: DataRequest) -> ImageArrays:
    """Images in folders of their classes, with or without train and test, or an archive of them."""
    path, dataset = _given(request, FLAT_EXPECTED), request.dataset
    shape = None if dataset.shape is None else (*dataset.shape[1:], dataset.shape[0])
    name = "-".join(map(str, ("images", *(dataset.shape or ()), f"seed{dataset.seed}")))

    def files() -> list[Path]:
        return all_files(path) if path.is_dir() else [path]

    def decode() -> ImageArrays:
        return load_folder(path, shape, dataset.seed, request.progress)

    try:
        return cached(request.cache, name, path, files, decode)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); {FLAT_EXPECTED}") from None


def arrays(request: DataRequest) -> ImageArrays:
    """NumPy arrays of a .npz file."""
    return load_npz(_given(request, NPZ_EXPECTED), request.dataset.seed).with_leaks()


def table(request: DataRequest) -> ImageArrays | LabelledTexts:
    """Rows of CSV or Parquet files, or of a Hugging Face data set on disk: numbers, images, or texts."""
    path, dataset = _given(request, TABLE_EXPECTED), request.dataset
    shape = None if dataset.shape is None else (*dataset.shape[1:], dataset.shape[0])
    return load_table(path, dataset.label, dataset.text, shape, dataset.seed).with_leaks()


def _given(request: DataRequest, expected: str) -> Path:
    """The path given with --data.

    Raises:
        InputError: none was given, or there is nothing.
    """
    if request.path is None:
        raise InputError(f"no data for '{request.dataset.name}': give --data PATH; {expected}")
    path = expanded(request.path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {expected}")
    return path


def torchvision_set(request: DataRequest) -> ImageArrays:
    """A data set of torchvision by its class's name, from its root folder or, for CIFAR, its archive."""
    from torchvision import datasets

    name = request.dataset.name.partition(":")[2]
    known = [n for n in datasets.__all__ if _split_argument(getattr(datasets, n))]
    if name not in known:
        raise InputError(
            f"dataset.name: torchvision has no data set '{name}' with train and test{did_you_mean(name, known)} "
            f"(allowed: {', '.join(known)})"
        )
    make = getattr(datasets, name)
    path = _given(request, f"expected torchvision's root folder with {name}")
    folder = getattr(make, "base_folder", f"{name}/raw" if issubclass(make, datasets.MNIST) else "")
    published = _Published(name, folder, (0, 0, 0), 0)
    with tempfile.TemporaryDirectory() as scratch:
        if path.is_file():
            try:
                unpacked = bool(folder) and unpack_folder(path, folder, Path(scratch))
            except ArchiveError as error:
                raise InputError(f"{path}: the archive cannot be used: {error}") from None
            if not unpacked:
                raise InputError(f"{path}: is no archive of {name}; expected torchvision's root folder")
            root = Path(scratch)
        else:
            root = (_torchvision_root(published, path) if folder else None) or path
        inputs: dict[str, Inputs] = {}
        labels: dict[str, list[str]] = {}
        shape = request.dataset.shape
        size = None if shape is None else (*shape[1:], shape[0])
        try:
            for split in ("train", "test"):
                given = {"train": split == "train"} if _split_argument(make) == "train" else {"split": split}
                with _quiet():
                    inputs[split], labels[split] = _items(make(str(root), download=False, **given), size)
                size = inputs[split].shape[1:]
        except Exception as error:  # missing and damaged files fail in many ways inside torchvision
            raise InputError(f"{path}: {name} is missing, incomplete or damaged ({described(error)})") from None
    return labelled(inputs, labels, f"torchvision {name}", str(path), request.dataset.seed).with_leaks()


def _split_argument(make: Any) -> str | None:
    """How a class of torchvision is told train from test; None if it is no such classification data set."""
    taken = inspect.signature(make).parameters if isinstance(make, type) else {}
    if "download" not in taken:
        return None
    allowed = {"root", "train", "split", "transform", "target_transform", "download", "loader", "kwargs"}
    if any(n not in allowed and p.default is p.empty for n, p in taken.items() if p.kind is not p.VAR_POSITIONAL):
        return None
    return next((argument for argument in ("train", "split") if argument in taken), None)


def _items(made: Any, shape: Any) -> tuple[Inputs, list[str]]:
    """Images and class names of a torchvision data set."""
    names = getattr(made, "classes", None)
    encoded, labels = {}, []
    for index in range(len(made)):
        image, target = made[index]
        if not isinstance(target, int | np.integer):
            raise InputError(f"its targets are {type(target).__name__}; expected classes")
        # losslessly, so that there is one way in which images are decoded, converted and scaled
        stream = io.BytesIO()
        image.save(stream, format="PNG" if image.mode != "CMYK" else "TIFF", **_FAST)
        encoded[f"image {index}"] = stream.getvalue()
        labels.append(str(names[int(target)]) if names else str(int(target)))
    return decode_all(encoded, type(made).__name__, shape), labels


_FAST: dict[str, Any] = {"compress_level": 0}


def _published(name: str, request: DataRequest) -> ImageArrays:
    known, cache, progress = PUBLISHED[name], request.cache, request.progress
    path = request.path or (Path(given) if (given := os.environ.get("JOULEBENCH_DATA")) else None)
    if path is None:
        return _downloaded(name, cache, progress)
    path = expanded(path)
    if known.archive and (packed := path / known.archive).is_file():
        path = packed
    try:
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: no such file or folder; {EXPECTED}")
        if root := _torchvision_root(known, path):
            folder = root / known.folder
            return cached(cache, name, root, lambda: _files_in(folder), lambda: _torchvision(known, root))
        # a folder's own time does not change with a file inside, so each file counts
        files = (lambda: list(tree_files(path))) if path.is_dir() else (lambda: [path])
        return cached(cache, name, path, files, partial(_decoded, known, path, progress))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); {EXPECTED}") from None


def _decoded(known: _Published, path: Path, progress: Progress) -> ImageArrays:
    """Decode an image tree, or an archive of one or of torchvision's files."""
    if path.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            try:
                published = unpack_folder(path, known.folder, Path(scratch))
            except ArchiveError as error:
                raise InputError(f"{path}: the archive cannot be used: {error}; {EXPECTED}") from None
            if published:
                return _torchvision(known, Path(scratch), path)
    return load_tree(path, known.shape, known.classes, progress)


def _downloaded(name: str, cache: Path, progress: Progress) -> ImageArrays:
    """Read torchvision's files from the cache, downloaded first if they are missing or damaged."""
    known, root = PUBLISHED[name], cache / "torchvision"

    def decode() -> ImageArrays:
        try:
            return _torchvision(known, root)
        except InputError:
            _download(name, root, progress)
            return _torchvision(known, root)

    return cached(cache, name, root, lambda: _files_in(root / known.folder), decode)


def _files_in(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []


def _torchvision_root(known: _Published, path: Path) -> Path | None:
    """Torchvision's root folder, if `path` is that or between it and the files."""
    here, parts = path.absolute(), Path(known.folder).parts
    for depth, root in enumerate((here, *here.parents)[: len(parts) + 1]):
        if here == root.joinpath(*parts[:depth]) and (root / known.folder).is_dir():
            return root
    return None


def _torchvision(known: _Published, root: Path, source: Path | None = None) -> ImageArrays:
    """Read torchvision's files, which it checks against published checksums before it unpickles CIFAR-10's.

    Args:
        source: the archive that they come from.
    """
    from torchvision import datasets

    make = getattr(datasets, known.torchvision_class)
    try:
        with _quiet():
            train, test = (make(str(root), train=split, download=False) for split in (True, False))
        return ImageArrays(
            train_x=np.ascontiguousarray(train.data, dtype=np.uint8).reshape(-1, *known.shape),
            train_y=np.asarray(train.targets, dtype=np.int64),
            test_x=np.ascontiguousarray(test.data, dtype=np.uint8).reshape(-1, *known.shape),
            test_y=np.asarray(test.targets, dtype=np.int64),
            classes=tuple(str(label) for label in train.classes),
            source=f"torchvision {known.torchvision_class}",
        )
    except Exception as error:  # damaged files fail in many ways inside torchvision
        expected = f"expected torchvision's {known.torchvision_class} files, as published"
        raise InputError(
            f"{source or root / known.folder}: is incomplete or damaged ({error}); {expected}"
        ) from None


def _download(name: str, root: Path, progress: Progress) -> None:
    """Download torchvision's files to `root`, with timeouts, which torchvision's own download lacks.

    Raises:
        InputError: they cannot be downloaded.
    """
    from torchvision import datasets

    make = getattr(datasets, PUBLISHED[name].torchvision_class)
    if name == "cifar10":
        folder, wanted = root, {make.filename: ([make.url], make.tgz_md5)}
    else:
        folder = root / PUBLISHED[name].folder
        wanted = {file: ([mirror + file for mirror in make.mirrors], md5) for file, md5 in make.resources}
    try:
        for file, (urls, md5) in wanted.items():
            fetch(urls, md5, folder / file, progress)
        with _quiet():
            make(str(root), download=True)  # finds its archives in place, and unpacks them
    except (DownloadError, OSError, RuntimeError) as error:
        raise InputError(
            f"no data for '{name}': give --data PATH, or set JOULEBENCH_DATA=PATH, or run once with network so "
            f"that they are downloaded (or place {', '.join(wanted)} in {folder}); download failed: {error}"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torchvision's progress bars and messages off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield

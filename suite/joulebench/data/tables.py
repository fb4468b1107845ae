"""Tables that people have as labelled arrays or texts: CSV, Parquet and saved Hugging Face data sets."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from joulebench import extras
from joulebench.data.arrays import (
    ImageArrays,
    check_room,
)
from joulebench.data.images import decode_all
from joulebench.data.labelled import MAX_BYTES, Inputs, labelled, labelled_texts, listed
from joulebench.data.text import LabelledTexts
from joulebench.errors import InputError, did_you_mean, first_line
from joulebench.spec.reading import open_file, read_json

LARGEST = float(np.finfo(np.float32).max)
DEFAULT_LABEL = "label"
TABLE_EXPECTED = (
    "expected a .csv or .parquet file, a folder of them (train… and test…), or a folder of save_to_disk"
)
_SPLIT = re.compile(r"(train|test)(?:[-_.].*)?", re.IGNORECASE)

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class _Wanted:
    """Columns that the task names; all others are numbers or images, unless there is one of texts."""

    label: str
    text: str | None


@dataclass(frozen=True)
class _Rows:
    """Columns of one split by name, all of one length: numbers as float64, others as they are."""

    where: str  # the file
    columns: Mapping[str, Sequence[Any]]
    class_names: Mapping[str, list[str]]  # of a column of numbers that stand for classes
    image_columns: tuple[str, ...] = ()
    lines: Sequence[int] = ()  # of a text file, one a row

    def at(self, row: int) -> str:
        return f"{self.where}: line {self.lines[row]}" if self.lines else f"{self.where}: row {row}"


def load_table(
    path: Path, label: str | None, text: str | None, shape: Shape | None, seed: int
) -> ImageArrays | LabelledTexts:
    """Labelled rows: numbers of all other columns, the images of an image column, or the texts of one column.

    Args:
        label: the column of classes; `label` where None.
        text: the column of texts; other columns are not read then.
        shape: height, width and channels to scale an image column to; those of its first image where None.

    Raises:
        InputError: there are no such rows, or a value is no number.
    """
    wanted = _Wanted(label or DEFAULT_LABEL, text)
    found = sorted(_table_files(path).items(), reverse=True)  # train first: its columns and images are expected
    parts = {name: [_read_rows(file, wanted) for file in files] for name, files in found}
    labels = {
        split: [one for rows in several for one in _labels(rows, wanted.label)] for split, several in parts.items()
    }
    if text is not None:
        texts = {split: [one for rows in several for one in _texts(rows, text)] for split, several in parts.items()}
        return labelled_texts(texts, labels, f"table {path.name}, texts of {text}", str(path), seed)
    inputs: dict[str, Inputs] = {}
    columns: tuple[str, ...] | None = None
    for split, several in parts.items():
        xs: list[Inputs] = []
        for rows in several:
            columns = columns or tuple(rows.columns)
            if set(rows.columns) != set(columns):
                raise InputError(f"{rows.where}: has columns {listed(rows.columns)}; expected {listed(columns)}")
            x = _inputs(rows, [column for column in columns if column != wanted.label], shape)
            if x.dtype == np.uint8:
                shape = (x.shape[1], x.shape[2], x.shape[3])
            xs.append(x)
        if len({x.dtype for x in xs}) > 1:
            raise InputError(f"{path}: some files of {split} hold images, others none; expected alike")
        joined: Any = np.concatenate(xs)
        inputs[split] = joined
    return labelled(inputs, labels, f"table {path.name}", str(path), seed)


def _table_files(path: Path) -> dict[str, list[Path]]:
    """Files of each split; all under train where there is one split."""
    if path.is_file():
        return {"train": [path]}
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; {TABLE_EXPECTED}")
    if (path / "state.json").is_file():
        return {"train": _saved_files(path)}
    if (path / "dataset_dict.json").is_file():
        found = {split: _saved_files(path / split) for split in ("train", "test") if (path / split).is_dir()}
    else:
        inside = [p for folder in (path, path / "data", path / "train", path / "test") for p in _tables_in(folder)]
        found = {}
        for file in inside:
            folder = file.parent.relative_to(path).name  # not that of the data themselves, which may be `test_2026`
            match = _SPLIT.fullmatch(file.stem) or _SPLIT.fullmatch(folder)
            if match:
                found.setdefault(match[1].lower(), []).append(file)
        if not found and len(inside) == 1:
            return {"train": inside}
    if "train" not in found:
        there = listed(sorted(p.name for p in path.iterdir())) or "nothing"
        raise InputError(f"{path}: holds no table of train (it has: {there}); {TABLE_EXPECTED}")
    return found


def _tables_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in (".csv", ".parquet") and p.is_file())


def _saved_files(folder: Path) -> list[Path]:
    """Arrow files of a data set that `save_to_disk` wrote, in order; names are never used as paths elsewhere."""
    state = read_json(folder / "state.json", 2**24, follow=True)
    try:
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (KeyError, TypeError):
        names = []
    if not names or any(Path(name).name != name for name in names):
        raise InputError(f"{folder / 'state.json'}: names no data files of its own folder; {TABLE_EXPECTED}")
    return [folder / name for name in names]


def _read_rows(file: Path, wanted: _Wanted) -> _Rows:
    suffix = file.suffix.lower()
    if suffix == ".csv":
        return _read_csv(file, wanted)
    if suffix in (".parquet", ".arrow"):
        return _read_arrow(file, wanted)
    raise InputError(f"{file}: is neither .csv nor .parquet; {TABLE_EXPECTED}")


def _check_columns(where: str, columns: Sequence[str], wanted: _Wanted) -> None:
    for field, name in (("label", wanted.label), ("text", wanted.text)):
        if name is not None and name not in columns:
            raise InputError(
                f"dataset.{field}: {where} has no column '{name}'{did_you_mean(name, columns)} "
                f"(it has: {listed(columns)})"
            )


def _read_csv(file: Path, wanted: _Wanted) -> _Rows:
    """Rows of a CSV file with a header; what is no label and no text becomes a number as it is read.

    Raises:
        InputError: it has no rows, names a column twice, a row has another number of fields, or one is no number.
    """
    lines = array("q")
    with io.TextIOWrapper(open_file(file, follow=True), "utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise InputError(f"{file}: line 1: holds no names of columns")
            if "" in header:
                raise InputError(f"{file}: line 1: column {header.index('') + 1} has no name")
            if twice := [name for name in header if header.count(name) > 1]:
                raise InputError(f"{file}: line 1: has two columns '{twice[0]}'")
            _check_columns(str(file), header, wanted)
            words: dict[str, list[str]] = {name: [] for name in header if name in (wanted.label, wanted.text)}
            numbers = {name: array("d") for name in header if name not in words and wanted.text is None}
            for row in reader:
                if not row:
                    continue
                at = f"{file}: line {reader.line_num}"
                if len(row) != len(header):
                    raise InputError(f"{at}: has {len(row)} fields; expected {len(header)}")
                lines.append(reader.line_num)
                for name, value in zip(header, row, strict=True):
                    if name in words:
                        words[name].append(value)
                    elif name in numbers:
                        numbers[name].append(_number(value, at, name))
        except csv.Error as error:
            raise InputError(f"{file}: line {reader.line_num}: no readable CSV ({error})") from None
        except UnicodeDecodeError:
            raise InputError(f"{file}: not UTF-8 text") from None
    if not lines:
        raise InputError(f"{file}: holds no rows")
    return _Rows(str(file), {**words, **numbers}, {}, (), lines)


def _read_arrow(file: Path, wanted: _Wanted) -> _Rows:
    """Rows of a Parquet file, or of an Arrow stream as Hugging Face's `save_to_disk` writes it."""
    extras.require(str(file), "tables")
    import pyarrow
    from pyarrow import parquet

    try:
        with open_file(file, MAX_BYTES, follow=True) as stream:
            is_parquet = file.suffix.lower() == ".parquet"
            opened = parquet.ParquetFile(stream) if is_parquet else pyarrow.ipc.open_stream(stream)
            schema = opened.schema_arrow if is_parquet else opened.schema
            _check_columns(str(file), schema.names, wanted)
            words = [name for name in (wanted.label, wanted.text) if name is not None]
            names = schema.names if wanted.text is None else words
            if is_parquet:  # few bytes may stand for many rows
                check_room(8 * opened.metadata.num_rows * len(names), str(file))
            table = opened.read(columns=names) if is_parquet else opened.read_all().select(names)
            table.validate(full=True)  # values of a damaged file would end the process
        columns = {name: _arrow_values(pyarrow.types, table.column(name), name in words) for name in names}
        metadata: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata.get("info", {}).get("features", {})
        classes = {n: [str(name) for name in of["names"]] for n, of in features.items() if of.get("names")}
    except InputError:
        raise
    except Exception as error:  # damaged files fail in many ways inside pyarrow
        raise InputError(f"{file}: no readable table ({first_line(error)})") from None
    if not table.num_rows:
        raise InputError(f"{file}: holds no rows")
    images = [n for n, values in columns.items() if isinstance(values[0], dict) and "bytes" in values[0]]
    return _Rows(str(file), columns, classes, tuple(images))


def _arrow_values(types: Any, column: Any, as_it_is: bool) -> Sequence[Any]:
    kind = column.type
    numbers = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    if as_it_is or not any(is_number(kind) for is_number in numbers):
        values: Sequence[Any] = column.to_pylist()
    else:
        values = column.cast("float64", safe=False).to_numpy()  # NaN where there is none
    return values


def _labels(rows: _Rows, column: str) -> list[str]:
    names = rows.class_names.get(column)
    found = []
    for row, value in enumerate(rows.columns[column]):
        if names is None:
            label = _class(value)
        else:
            label = names[value] if isinstance(value, int) and 0 <= value < len(names) else None
        if label is None:
            expected = "a class: text or a whole number" if names is None else f"0 … {len(names) - 1}"
            raise _unexpected(rows.at(row), column, value, expected)
        found.append(label)
    return found


def _class(value: Any) -> str | None:
    """Name of a class, 3 for 3.0 as well; None for a number that is not whole and for a missing value."""
    if not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    if number := re.fullmatch(r"([+-]?\d+)\.(\d*)", text):
        return number[1] if not number[2].strip("0") else None
    return None if text.lower() in ("", "nan") else text


def _texts(rows: _Rows, column: str) -> list[str]:
    for row, value in enumerate(rows.columns[column]):
        if not isinstance(value, str) or not value.strip():
            raise _unexpected(rows.at(row), column, value, "text")
    return list(rows.columns[column])


def _inputs(rows: _Rows, columns: Sequence[str], shape: Shape | None) -> Inputs:
    """Images of the image column, else all `columns` as numbers, float32 of shape (n, 1, 1, columns)."""
    if not columns:
        raise InputError(f"{rows.where}: has no column beside the label")
    if rows.image_columns:
        if len(rows.image_columns) > 1:
            raise InputError(f"{rows.where}: has several columns of images ({listed(rows.image_columns)})")
        column = rows.image_columns[0]
        contents = {}
        for row, value in enumerate(rows.columns[column]):
            content = value.get("bytes") if isinstance(value, dict) else None
            if not isinstance(content, bytes):
                raise InputError(f"{rows.at(row)}: column '{column}' holds no image's bytes")
            contents[f"row {row}"] = content
        return decode_all(contents, rows.where, shape)
    x = np.empty((len(rows.columns[columns[0]]), 1, 1, len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        values = rows.columns[column]
        if isinstance(values, list):
            values = [_number(value, rows.at(row), column) for row, value in enumerate(values)]
        numbers = np.asarray(values, dtype=np.float64)
        if not (fits := np.abs(numbers) <= LARGEST).all():
            row = int(fits.argmin())
            raise _unexpected(rows.at(row), column, float(numbers[row]), "a finite number")
        x[:, 0, 0, index] = numbers
    return x


def _number(value: Any, where: str, column: str) -> float:
    try:
        # Python reads 1_000 as a number, which no table means
        number = float(value) if isinstance(value, int | float | str) and "_" not in str(value) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST:
        raise _unexpected(where, column, value, "a finite number (dataset.text names a column of texts)")
    return number


def _unexpected(where: str, column: str, value: Any, expected: str) -> InputError:
    return InputError(f"{where}: column '{column}' is {str(value)[:40]!r}; expected {expected}")

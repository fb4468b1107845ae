"""Log of a wall meter as CSV: power of the whole machine over time."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime
from pathlib import Path

from joulebench.errors import InputError
from joulebench.meters.replay import SEPARATORS, PowerTrace, shown, watts_of
from joulebench.spec.reading import MAX_LOG_BYTES, read_text


def read_log(path: Path) -> PowerTrace:
    """Read a CSV log with columns `utc` (ISO 8601 with zone, or Unix seconds) and `watts`.

    Raises:
        InputError: one line with file, line and what is wrong.
    """
    times: list[float] = []
    watts: list[float] = []
    number = 0
    text = read_text(path, MAX_LOG_BYTES, follow=True)
    try:
        with io.StringIO(text, newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if not {"utc", "watts"} <= set(header):
                hint = "; separate columns by commas" if len(header) == 1 and set(header[0]) & set(";\t") else ""
                raise InputError(f"{path}, line 1: a wall meter's log has columns 'utc' and 'watts'{hint}")
            if twice := [name for name in ("utc", "watts") if header.count(name) > 1]:
                raise InputError(f"{path}, line 1: column '{twice[0]}' is there twice")
            number = reader.line_num
            for row in reader:
                number = reader.line_num
                if not row:
                    continue
                if len(row) != len(header):
                    hint = f"; {SEPARATORS}" if len(row) > len(header) else ""
                    raise ValueError(f"{len(row)} of {len(header)} values{hint}")
                time_s, power_w = unix_s(row[header.index("utc")]), watts_of(row[header.index("watts")])
                if times and time_s <= times[-1]:
                    what = "is there twice" if time_s == times[-1] else "is before the one above it"
                    raise ValueError(f"the time {shown(row[header.index('utc')])} {what}; times must rise")
                times.append(time_s)
                watts.append(power_w)
    except csv.Error as error:
        raise InputError(f"{path}, line {number + 1}: cannot be read as CSV ({error})") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}, line {number}: {error}") from None
    if not times:
        raise InputError(f"{path}: a wall meter's log has at least one row below its header")
    return PowerTrace("wall", tuple(times), tuple(watts))


def unix_s(text: str) -> float:
    """Read a time, ISO 8601 with zone or Unix seconds, as Unix seconds.

    Raises:
        ValueError: it is neither, has no zone, or is in another unit.
        OverflowError: it is out of range.
    """
    try:
        seconds = float(text.replace("_", "?"))  # 1_000 is a number in Python alone
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(f"utc: {shown(text)} is neither ISO 8601 nor Unix seconds") from None
        if moment.tzinfo is None:
            raise ValueError(f"utc: {shown(text)} has no time zone; write …Z for UTC") from None
        return moment.astimezone(UTC).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(f"utc: {shown(text)} is not a time")
    for digits, unit in ((1e17, "nanoseconds"), (1e14, "microseconds"), (1e11, "milliseconds")):
        if abs(seconds) >= digits:
            raise ValueError(f"utc: {shown(text)} looks like Unix time in {unit}; write seconds")
    return seconds

"""Conversion of records of schema 1 to the present schema.

Schema 1 kept in text what is now data: how a session ended and why it stopped (a ledger's `note`), what a fallback
was for (`origin`), why a window is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from joulebench.records.model import SCHEMA

_ENDINGS = {"done": "done", "interrupted": "interrupted", "crashed": "crashed"}
_STOPPED, _PRECHECK, _FALLBACK = "stopped: ", "precheck", "sobol ("
#: The version at a line's start, as records are written.
_VERSION = re.compile(rb'\{"schema_version": ?1,')
#: Every line that `upgraded` changes beyond its version holds one of these; nearly all lines hold none.
_CHANGED = (b'"fault"', b'"event"', b'"origin":"sobol (', b'"origin": "sobol (')


def renumbered(raw: bytes) -> bytes:
    """A line of schema 1 with the present version where nothing else of it changed; any other line as it is.

    Parsing a line to upgrade it takes several times as long as reading it.
    """
    if (version := _VERSION.match(raw)) is None or any(part in raw for part in _CHANGED):
        return raw
    return b'{"schema_version":%d,' % SCHEMA + raw[version.end() :]


def upgraded(line: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a record of schema 1 (trial, ledger entry, scores, manifest or replicate)."""
    record = {**_origin(line), "schema_version": SCHEMA}
    if isinstance(windows := line.get("windows"), list):
        record["windows"] = [_window(w) for w in windows]
    if isinstance(measurements := line.get("measurements"), list):
        record["measurements"] = [
            {**m, "windows": [_window(w) for w in m.get("windows", ())]} if isinstance(m, Mapping) else m
            for m in measurements
        ]
    if isinstance(proposal := line.get("proposal"), Mapping):
        record["proposal"] = _origin(proposal)
    return record | _event(line)


def _origin(line: Mapping[str, Any]) -> dict[str, Any]:
    """Split `sobol (no model yet)` into origin and fallback; no other method stood in for a stage's own."""
    origin = line.get("origin")
    if not isinstance(origin, str) or not (origin.startswith(_FALLBACK) and origin.endswith(")")):
        return dict(line)
    return {**line, "origin": "sobol", "fallback": origin.removeprefix(_FALLBACK).removesuffix(")")}


def _window(window: Any) -> Any:
    text = window.get("fault") if isinstance(window, Mapping) else None
    if not isinstance(text, str):
        return window
    return {**window, "fault": {"kind": "unclassified", "text": text} if text else None}


def _event(line: Mapping[str, Any]) -> dict[str, Any]:
    event, note = line.get("event"), line.get("note", "")
    if not isinstance(note, str):
        return {}
    if event == "end":
        ending = _ENDINGS.get(note, "failed")
        return {"ending": ending, "note": note if ending == "failed" else ""}
    if event == "span" and note.startswith(_STOPPED):
        return {"event": "stopped", "note": note.removeprefix(_STOPPED)}
    return {"event": "precheck", "note": ""} if event == "span" and note == _PRECHECK else {}

"""A card merged into a Markdown file that exists: what others wrote there stays. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from huggingface_hub import CardData, RepoCard

from joulebench.errors import InputError

#: Lines between which a card's text lies; hidden where Markdown is rendered.
BEGIN, END = "<!-- joulebench card: begin -->", "<!-- joulebench card: end -->"
_METADATA = re.compile(r"\A---\n(.*?\n)??---[ \t]*(?:\n|\Z)", re.DOTALL)
#: Lines of one key of YAML metadata: the key, and what is indented, a list's item, or empty below it.
_KEY = re.compile(r"^(?P<name>[\w-]+|\"[^\"\n]*\"|'[^'\n]*') *:.*\n(?:(?:[ \t-].*)?\n)*", re.MULTILINE)


def merged(before: str, card: str, given: Collection[str] = ()) -> str:
    """Put a card into the text of a file: between its markers, which are appended if there are none.

    Of the file's metadata, lists get the card's further items, `model-index` the card's metrics, and keys that the
    file lacks are added; other values stay, but for emissions that an earlier card states.

    Args:
        before: the file as it is; empty for a new one.
        given: names of metadata that the user asks for now, which replace those of the file.

    Raises:
        InputError: a marker is missing or there twice, or the metadata are no YAML.
    """
    end_of_line = "\r\n" if "\r\n" in before else "\n"
    top, body = _split(card)
    old_top, old_body = _split(before.replace("\r\n", "\n"))
    block = f"{BEGIN}\n{body.strip()}\n{END}"
    counts = old_body.count(BEGIN), old_body.count(END)
    if counts == (0, 0):
        text = f"{old_body.rstrip()}\n\n{block}\n" if old_body.strip() else f"\n{block}\n"
    elif counts == (1, 1) and old_body.index(BEGIN) < old_body.index(END):
        text = old_body[: old_body.index(BEGIN)] + block + old_body[old_body.index(END) + len(END) :]
    else:
        raise InputError(f"'{BEGIN}' and '{END}' must be there once, in this order")
    metadata = _metadata(old_top, top, given)
    return (f"---\n{metadata}---\n{text}" if metadata else text).replace("\n", end_of_line)


def _split(text: str) -> tuple[str, str]:
    """The metadata, without the lines around them, and what follows."""
    found = _METADATA.match(text)
    return (found[1] or "", text[found.end() :]) if found else ("", text)


def _metadata(before: str, card: str, given: Collection[str]) -> str:
    theirs, ours = _read(before), _read(card)
    wanted = theirs | {name: _value(name, theirs.get(name), value, given) for name, value in ours.items()}
    changed = {name: value for name, value in wanted.items() if theirs.get(name) != value}
    kept = _KEY.sub(lambda found: "" if found["name"].strip("\"'") in changed else found[0], before)
    added = CardData(**changed).to_yaml(line_break="\n") + "\n" if changed else ""
    text = kept + added
    if _read(text) != wanted:  # a form of YAML that is not cut by lines: written anew
        text = CardData(**wanted).to_yaml(line_break="\n") + "\n"
    return text


def _read(metadata: str) -> dict[str, Any]:
    if not metadata.strip():
        return {}
    try:
        found: dict[str, Any] = RepoCard(f"---\n{metadata}---\n").data.to_dict()  # type: ignore[no-untyped-call]
    except Exception as error:  # yaml's errors, and the library's own
        raise InputError(f"its metadata cannot be read as YAML: {error}") from None
    return found


def _value(name: str, theirs: Any, ours: Any, given: Collection[str]) -> Any:
    if theirs is None or name in given:
        return ours
    if name == "co2_eq_emissions":
        source = theirs.get("source") if isinstance(theirs, Mapping) else None
        return ours if str(source).startswith("joulebench ") else theirs
    if name == "model-index":
        return _joined(theirs, ours, "name", lambda a, b: {**a, **b, "results": _results(a, b)})
    if isinstance(theirs, list) and isinstance(ours, list):
        return [*theirs, *(item for item in ours if item not in theirs)]
    return theirs


def _results(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Any]:
    """Results of one model: a metric of the same task, data and name is replaced."""

    def measured(result: Any) -> Any:
        return (result.get("task"), result.get("dataset")) if isinstance(result, Mapping) else result

    results = list(theirs.get("results") or [])
    for new in ours.get("results") or []:
        same = next((i for i, old in enumerate(results) if measured(old) == measured(new)), None)
        if same is None:
            results.append(new)
            continue
        metrics = _joined(results[same].get("metrics") or [], new["metrics"], "name", lambda _, b: b)
        results[same] = {**results[same], "metrics": metrics}
    return results


def _joined(theirs: Any, ours: list[Any], key: str, join: Any) -> list[Any]:
    """Both lists' items, in the order of the first; two with the same `key` are joined."""
    items = list(theirs) if isinstance(theirs, list) else []
    for new in ours:
        at = (i for i, old in enumerate(items) if isinstance(old, Mapping) and old.get(key) == new.get(key))
        if (same := next(at, None)) is None:
            items.append(new)
        else:
            items[same] = join(items[same], new)
    return items

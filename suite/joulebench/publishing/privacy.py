"""Removal of what names a person, a machine or a secret from the texts of records. Pure but for who asks.

Every text of a record is looked at, keys too: a path may stand in an error, a host in a driver's message.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

#: Names that say nothing about whose they are.
COMMON_NAMES = frozenset(
    {"root", "user", "users", "admin", "ubuntu", "debian", "runner", "jovyan", "nobody", "localhost", "home"}
)
MIN_NAME = 3  # shorter ones stand in other words
#: Values under these keys are versions; four numbers there are no address.
VERSIONS = frozenset({"packages", "versions", "driver", "cuda", "os"})

_SECRETS = re.compile(
    r"""\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|npm_|pypi-|ya29\.)[A-Za-z0-9_\-.]{16,}"""
    r"""|\bA[KS]IA[0-9A-Z]{16}"""
    r"""|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"""
    r"""|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)""",
    re.DOTALL,
)
#: `token=…`, `Authorization: Bearer …`: the name stays, the value goes.
_NAMED_SECRET = re.compile(
    r"""(?i)(\b[\w-]*(?:token|passwd|password|secret|api[_-]?key|access[_-]?key|authorization)\b["']?\s*[=:]\s*)"""
    r"""(?:bearer\s+|basic\s+)?(?![\d.eE+\-]+(?:\s|$))["']?[^\s"',;&]{4,}["']?"""
)
_SECRET_NAME = re.compile(r"(?i)(?:^|[_-])(?:token|passwd|password|secret|api_?key|access_?key|authorization)$")
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@]+@")
_MAIL = re.compile(r"\b[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\b")
_HOME = re.compile(
    r"(?<![\w.])/(?:home|Users|export/home|data/home)/(?:[^/\n\"'<>|:,;]{1,64}(?=/)|[^/\s\"'<>|:,;)\]]{1,64})"
)
_PATH = re.compile(
    r"(?<![\w.:/~\-])(?:file://)?(?:~|/(?=[\w.@~]))[\w.@%+\-]*"
    r"(?:/(?:[\w.@%+\-=]+(?: [\w.@%+\-=]+)*(?=/)|[\w.@%+\-=]+))+/?"
)
_WINDOWS = re.compile(r"(?<!\w)(?:[A-Za-z]:|\\\\[\w.-]+)\\(?:[^\\\n\"'<>|:*?]+\\)*([^\\\s\"'<>|:*?]*)")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:%\w+)?(?![\w:.])")
_VERSION = re.compile(r"[\w.+-]+")
_MAC = re.compile(r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b")


@dataclass(frozen=True)
class Change:
    """A text that is published otherwise than it was recorded; `where` is its file and its place in it."""

    where: str
    before: str
    after: str


@dataclass(frozen=True)
class Scrubber:
    """Replacement of names, paths, addresses and secrets.

    Attributes:
        names: what stands for a person or a machine, with what is written for it.
    """

    names: Mapping[str, str]

    @classmethod
    def here(cls, nodes: Sequence[str] = ()) -> Scrubber:
        """For records of this machine: its user and host; `nodes` of a cluster are numbered in their order."""
        names = {node: f"node-{n}" for n, node in enumerate(dict.fromkeys(nodes), start=1) if len(node) >= MIN_NAME}
        with suppress(OSError, KeyError, ImportError):  # a user without a name
            _add(names, getpass.getuser(), "user")
        host = socket.gethostname()
        _add(names, host, "host")
        _add(names, host.partition(".")[0], "host")
        return cls(names)

    def text(self, text: str, is_version: bool = False) -> str:
        """The text without what should not be published; most are returned as they are."""
        if not _suspect(text) and not any(name in text for name in self.names):
            return text
        text = _SECRETS.sub("SECRET", text)
        text = _IN_URL.sub(r"\1SECRET@", text)
        text = _NAMED_SECRET.sub(r"\1SECRET", text)
        text = _MAIL.sub("MAIL", text.replace("SECRET@", "SECRET\0")).replace("SECRET\0", "SECRET@")
        text = _HOME.sub("~", text)
        text = _PATH.sub(_last, text)
        text = _WINDOWS.sub(lambda m: m[1] or "PATH", text)
        for name in sorted(self.names, key=len, reverse=True):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", self.names[name], text)
        if is_version and _VERSION.fullmatch(text):
            return text
        text = _MAC.sub("ADDRESS", text)
        return _IPV6.sub(_address, _IPV4.sub(_address, text))

    def value(self, value: Any, where: str, is_version: bool = False) -> Iterator[tuple[str, str, str]]:
        """Texts of a JSON value that change: place, before, after."""
        if isinstance(value, str):
            after = self.text(value, is_version)
            if after != value:
                yield where, value, after
        elif isinstance(value, dict):
            for key, part in value.items():
                inside = f"{where}.{key}" if where else key
                yield from self.value(key, inside)
                if isinstance(part, str) and part and _SECRET_NAME.search(key):
                    yield inside, part, "SECRET"
                else:
                    yield from self.value(part, inside, is_version or key in VERSIONS)
        elif isinstance(value, list):
            for i, part in enumerate(value):
                yield from self.value(part, f"{where}[{i}]", is_version)

    def cleaned(self, value: Any, is_version: bool = False) -> Any:
        """A JSON value with all of its texts scrubbed."""
        if isinstance(value, str):
            return self.text(value, is_version)
        if isinstance(value, dict):
            return {
                self.text(k): "SECRET"
                if isinstance(part, str) and part and _SECRET_NAME.search(k)
                else self.cleaned(part, is_version or k in VERSIONS)
                for k, part in value.items()
            }
        return [self.cleaned(part, is_version) for part in value] if isinstance(value, list) else value


def scrub_json(
    content: bytes, name: str, scrubber: Scrubber, indent: int | None = None
) -> tuple[bytes, list[Change]]:
    """A JSON file's content without what should not be published, and what changed; as it was if nothing did."""
    value = json.loads(content)
    changes = [Change(f"{name}: {where}", before, after) for where, before, after in scrubber.value(value, "")]
    if not changes:
        return content, []
    between = (",", ":") if indent is None else None
    return json.dumps(scrubber.cleaned(value), indent=indent, separators=between).encode(), changes


def scrub_lines(content: bytes, name: str, scrubber: Scrubber) -> tuple[bytes, list[Change]]:
    """The same of a file of one JSON object a line; lines without a change, and what is none, keep their bytes."""
    kept, changes = [], []
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        cleaned, here = line, list[Change]()
        with suppress(ValueError, RecursionError):  # torn or hostile: the checks refuse it
            cleaned, here = scrub_json(line, f"{name}, line {number}", scrubber)
        kept.append(cleaned + b"\n" if here else cleaned)
        changes += here
    return b"".join(kept), changes


def scrub_text(content: bytes, name: str, scrubber: Scrubber) -> tuple[bytes, list[Change]]:
    """The same of a text file, line by line."""
    kept, changes = [], []
    for number, line in enumerate(content.decode(errors="replace").splitlines(keepends=True), start=1):
        after = scrubber.text(line)
        if after != line:
            changes.append(Change(f"{name}, line {number}", line.strip(), after.strip()))
        kept.append(after)
    return ("".join(kept).encode(), changes) if changes else (content, [])


def _add(names: dict[str, str], name: str, word: str) -> None:
    if len(name) >= MIN_NAME and name.lower() not in COMMON_NAMES:
        names.setdefault(name, word)


def _suspect(text: str) -> bool:
    """Whether a text can hold a path, an address or a secret at all: nearly all of a record's are plain names."""
    return len(text) >= 7 and (any(c in text for c in "/\\.:@=_-~") or "KIA" in text or "SIA" in text)


def _last(match: re.Match[str]) -> str:
    return match[0].rstrip("/").rpartition("/")[2] or "PATH"


def _address(match: re.Match[str]) -> str:
    """The address replaced, if it is one; times and versions are not."""
    try:
        address = ip_address(match[0].partition("%")[0])
    except ValueError:
        return match[0]
    return match[0] if address.is_unspecified or address.is_loopback else "ADDRESS"

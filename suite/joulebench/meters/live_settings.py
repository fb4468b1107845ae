"""Settings of a live meter, as a user writes them in a TOML file of its own and names with `--meter`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from joulebench.errors import InputError, did_you_mean
from joulebench.meters.live_sources import CommandSource, HttpSource, Source
from joulebench.meters.live_track import Track
from joulebench.meters.live_values import Extract, after_words, by_metric, by_path
from joulebench.records.model import Kind
from joulebench.spec.toml import Definition, read_toml, validate

Unit = Literal["uW", "mW", "W", "kW", "uJ", "mJ", "J", "kJ", "MJ", "mWh", "Wmin", "Wh", "kWh", "MWh"]
Scope = Literal["gpu", "package", "dram", "module", "node", "wall"]

#: Watts or joules of one unit. `Wmin`, the watt-minute, is what the first generation of Shelly plugs counts in.
UNITS: Mapping[Unit, float] = {
    "uW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3,
    "uJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "MJ": 1e6,
    "mWh": 3.6, "Wmin": 60.0, "Wh": 3600.0, "kWh": 3.6e6, "MWh": 3.6e9,
}  # fmt: skip
#: What a scope may draw at most, in watts, where the settings do not say it: a reading above is an error.
MAX_W: Mapping[Scope, float] = {
    "gpu": 2000.0, "package": 4000.0, "dram": 2000.0, "module": 5000.0, "node": 30_000.0, "wall": 30_000.0,
}  # fmt: skip
#: Domains of the scopes that other meters read too: in sums, in place of these. Wider ones contain what is summed.
DOMAINS: Mapping[Scope, str] = {"package": "cpu", "dram": "ram"}

SUFFIX = ".toml"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*([^\r\n]*)")

Positive = Annotated[float, Field(gt=0, le=1e12)]


class LiveSettings(Definition):
    """What to ask, where the number stands in the answer, and what it is of."""

    url: str | None = None
    command: str | tuple[str, ...] | None = None  # run without a shell
    path: str | None = None  # into the answer's JSON
    metric: str | None = None  # of a Prometheus text
    after: str | None = None  # words before the number in any other text
    unit: Unit
    scope: Scope  # what the reading contains
    gpu: Annotated[int, Field(ge=0, le=9999)] = 0  # number of the GPU, or of the module that holds it
    kind: Kind = "measured"
    interval_s: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    max_w: Positive | None = None
    wraps_at: Positive | None = None  # of a counter: the value after which it starts at 0 again, in its unit
    time: str | None = None  # path to the time that the value is from
    delay_s: Annotated[float, Field(ge=0, le=60)] = 0.0  # by which its values are behind
    headers_env: str | None = None  # environment variable with HTTP headers, one a line
    verify_tls: bool = True
    log: str | None = None  # file that its power is appended to, for `joulebench wall`

    @field_validator("unit", "scope", mode="before")
    @classmethod
    def _known(cls, value: Any, info: Any) -> Any:
        known = get_args(Unit if info.field_name == "unit" else Scope)
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}{did_you_mean(str(value), known)}")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> LiveSettings:
        for names in (("url", "command"), ("path", "metric", "after")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) != 1:
                raise ValueError(f"give one of {', '.join(names)} (got {' and '.join(given) or 'none'})")
        for name, needs in (("time", "path"), ("headers_env", "url")):
            if getattr(self, name) is not None and getattr(self, needs) is None:
                raise ValueError(f"{name} goes with {needs} only")
        if self.wraps_at is not None and self.is_power:
            raise ValueError(f"wraps_at is of an energy counter, and {self.unit} is a power")
        if not (self.words if self.url is None else True):
            raise ValueError("command is empty")
        self.extract()
        return self

    @property
    def is_power(self) -> bool:
        return self.unit.endswith("W")

    @property
    def domain(self) -> str:
        """The domain whose joules it reads: that of another meter, or of its own for what contains several."""
        numbered = self.scope in ("gpu", "module")
        return f"{self.scope}:{self.gpu}" if numbered else DOMAINS.get(self.scope, self.scope)

    @property
    def role(self) -> Literal["primary", "check"]:
        """Primary for a part; a check, which is never summed, for what contains parts that others read."""
        return "primary" if self.scope == "gpu" or self.scope in DOMAINS else "check"

    @property
    def words(self) -> list[str]:
        """Words of the command."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command or ())

    def extract(self) -> Extract:
        """What takes the number out of an answer.

        Raises:
            ValueError: path or metric cannot be read.
        """
        if self.path is not None:
            return by_path(self.path, self.time)
        return by_metric(self.metric) if self.metric is not None else after_words(self.after or "")

    def track(self) -> Track:
        """A new account of its joules."""
        return Track(
            is_power=self.is_power,
            size=UNITS[self.unit],
            interval_s=self.interval_s,
            max_w=self.max_w or MAX_W[self.scope],
            wraps_at=self.wraps_at,
            delay_s=self.delay_s,
        )

    def source(self, file: str) -> Source:
        """What is asked.

        Raises:
            InputError: the environment lacks the headers, or they are none.
        """
        if self.url is None:
            return CommandSource(self.words, self.timeout_s)
        return HttpSource(self.url, self._headers(file), self.timeout_s, self.verify_tls)

    def _headers(self, file: str) -> dict[str, str]:
        if self.headers_env is None:
            return {}
        lines = os.environ.get(self.headers_env, "").splitlines()
        matches = [_HEADER.fullmatch(line.strip()) for line in lines if line.strip()]
        if not matches or not all(matches):
            raise InputError(
                f"{file}: headers_env: the environment variable {self.headers_env} has to hold HTTP headers, one a "
                "line, such as 'Authorization: Bearer …'"
            )
        return {match[1]: match[2] for match in matches if match is not None}

    @property
    def described(self) -> str:
        """How it is read, without address, command line or credential."""
        how = "HTTP" if self.url is not None else f"the command {Path(self.words[0]).name}"
        what = "power" if self.is_power else "energy counter"
        behind = f", taken as {self.delay_s:g} s behind" if self.delay_s else ""
        return f"{what} of the {self.scope} in {self.unit}, by {how} every {self.interval_s:g} s{behind}"


def is_settings(name: str) -> bool:
    """Whether a value of `--meter` is a file of settings rather than a meter's name."""
    return name.endswith(SUFFIX)


def read_settings(path: Path) -> LiveSettings:
    """Read a live meter's file; its name, without `.toml`, is the meter's.

    Raises:
        InputError: one line with file, field and what is allowed.
    """
    if not _NAME.fullmatch(path.stem):
        raise InputError(
            f"--meter: '{path.name}': the meter is named as its file, by small letters, digits and _ "
            "(such as plug.toml)"
        )
    settings = validate(LiveSettings, read_toml(path), path)
    if settings.url is not None:
        _check_url(settings.url, path)
    return settings


def _check_url(url: str, path: Path) -> None:
    """Refuse what is no URL of HTTP; the message does not repeat it, as it may hold a password."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise InputError(f"{path}: url: must be http://HOST[:PORT]/… or https://…, in ASCII without spaces")

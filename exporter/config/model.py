"""The shapes of ``exporter.yaml``: durations, secrets and the settings every target has."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from exporter.errors import Unauthorized

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


def parse_duration(value: Any) -> int:
    """Return milliseconds of a text such as ``90s``, ``5m``, ``1h30m`` or ``2d``."""
    if isinstance(value, str) and re.fullmatch(rf"(?:{_DURATION.pattern})+", value):
        return sum(int(n) * _UNITS[unit] for n, unit in _DURATION.findall(value))
    raise PydanticCustomError("duration", "expected a duration such as 90s, 5m, 1h or 2d")


def parse_zone(value: Any) -> str:
    """Return ``value`` if it is an IANA time zone."""
    if not isinstance(value, str) or value not in available_timezones():
        raise PydanticCustomError("zone", "{value} is not an IANA zone", {"value": repr(value)})
    return ZoneInfo(value).key


Duration: TypeAlias = Annotated[int, BeforeValidator(parse_duration)]
"""Milliseconds, written as ``90s``, ``5m``, ``1h``, ``2d``."""

Zone: TypeAlias = Annotated[str, BeforeValidator(parse_zone)]
"""An IANA time zone name."""

Strict = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Secret(BaseModel):
    """Where a secret is kept: ``{env: NAME}`` or ``{file: PATH}``; never shown.

    A literal is taken only where the file says ``allow_inline_secrets: true``.
    """

    model_config = Strict

    env: str | None = None
    file: str | None = None
    _literal: str | None = PrivateAttr(default=None)
    _base: Path = PrivateAttr(default=Path())

    @classmethod
    def literal(cls, value: str) -> "Secret":
        """Return a secret that stands in the file itself."""
        secret = cls()
        secret._literal = value
        return secret

    def relative_to(self, base: Path) -> None:
        """Take ``base`` as the folder that a relative ``file`` starts from."""
        self._base = base

    def read(self) -> str:
        """Return the secret as it is now; files are read each time, so that keys rotate."""
        if self._literal is not None:
            return self._literal
        try:
            if self.file is not None:
                return (self._base / self.file).read_text("utf-8").rstrip("\r\n")
            return os.environ[self.env or ""]
        except (OSError, UnicodeDecodeError, KeyError):
            place = f"file {self.file}" if self.file else f"environment variable {self.env}"
            raise Unauthorized(f"the secret in {place} cannot be read") from None

    def __repr__(self) -> str:
        return f"Secret(env={self.env!r}, file={self.file!r})"

    __str__ = __repr__


class Named(BaseModel):
    """An identifier with the name it is shown under: ``{id: …, alias: …}``."""

    model_config = Strict

    id: str = Field(min_length=1)
    alias: str | None = Field(default=None, min_length=1)

    @property
    def shown(self) -> str:
        """Return the alias, or the id where there is none."""
        return self.alias or self.id


class Common(BaseModel):
    """The settings that ``defaults`` may give and each target may override."""

    model_config = Strict

    interval: Duration = 300_000
    slow_interval: Duration = 3_600_000
    settle: Duration = 3_600_000
    lookback: Duration = 172_800_000
    zero_hold: Duration = 90_000
    write_off_after: Duration | Literal["never"] = 21_600_000
    start: Literal["zero", "history"] = "zero"
    timezone: Zone = "UTC"
    period_gauges: bool = True
    requests_per_second: float = Field(default=5, ge=0)


class TargetOptions(Common):
    """What every target has; each provider adds its own keys to it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    provider: str
    base_url: str = Field(pattern=r"^https?://[^/?#]+(/[^?#]*)?$")
    renamed_from: str | None = None


class Limits(BaseModel):
    """Caps on series; past them, additive label sets fold into ``other`` (``semantics.md`` G)."""

    model_config = Strict

    series_per_target: int = Field(default=5_000, ge=1)
    series_total: int = Field(default=200_000, ge=1)
    label_value_bytes: int = Field(default=128, ge=16, le=4096)
    families: dict[str, int] = Field(default_factory=dict)


class Privacy(BaseModel):
    """How much of what users wrote may be shown (``semantics.md`` G)."""

    model_config = Strict

    top_messages: Literal["none", "allowlist", "raw"] = "none"
    allow_raw_text: bool = False


class Web(BaseModel):
    """Where the exporter listens."""

    model_config = Strict

    listen: str = "127.0.0.1:10877"


class LedgerOptions(BaseModel):
    """Where counts are kept; a relative SQLite path starts from the settings file's folder."""

    model_config = Strict

    url: str = "sqlite:///ledger.db"
    max_size: str = "1GiB"
    allow_network_fs: bool = False


class Settings(BaseModel):
    """One valid ``exporter.yaml``, frozen. ``targets`` are of their providers' own classes."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, extra="forbid")

    web: Web = Web()
    ledger: LedgerOptions = LedgerOptions()
    limits: Limits = Limits()
    privacy: Privacy = Privacy()
    targets: tuple[TargetOptions, ...] = ()

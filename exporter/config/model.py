"""The shapes of ``exporter.yaml``: the settings every target has, and the file-wide ones."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from exporter.config.secret import Secret, Strict
from exporter.config.values import (
    Duration,
    LedgerUrl,
    Listen,
    Size,
    Url,
    WriteOff,
    Zone,
    check_url,
    fault,
    kind_of,
    parse_duration,
    parse_listen,
    parse_zone,
)

__all__ = [
    "Common",
    "Duration",
    "LedgerOptions",
    "Limits",
    "Named",
    "Privacy",
    "Secret",
    "Settings",
    "SettingsFile",
    "Size",
    "Strict",
    "TargetOptions",
    "Url",
    "Web",
    "Zone",
    "parse_duration",
    "parse_listen",
    "parse_zone",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SECOND_MS = 1000


def check_name(value: Any) -> str:
    """Return ``value`` if it can be the name of a target."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise fault(
        "name", "expected lower-case letters, digits and dashes, at most 63", "as in shop-eu"
    )


Name = Annotated[str, BeforeValidator(check_name)]


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
    write_off_after: WriteOff = 21_600_000
    start: Literal["zero", "history"] = "zero"
    timezone: Zone = "UTC"
    period_gauges: bool = True
    requests_per_second: float = Field(default=5, ge=0)

    @field_validator("interval", "slow_interval")
    @classmethod
    def _not_busy(cls, value: int) -> int:
        if value < _SECOND_MS:
            raise fault("interval", "below the minimum of 1s")
        return value


class TargetOptions(Common):
    """What every target has; each provider adds its own keys to it."""

    name: Name
    provider: str
    base_url: str
    renamed_from: Name | None = None

    @field_validator("base_url", mode="before")
    @classmethod
    def _is_safe(cls, value: Any) -> Any:
        # Here, and not in the field's type, so that a provider's own default keeps the check.
        return check_url(value) if isinstance(value, str) else value


class Limits(BaseModel):
    """Caps on series; past them, additive label sets fold into ``other`` (``semantics.md`` G)."""

    model_config = Strict

    series_per_target: int = Field(default=5_000, ge=1)
    series_total: int = Field(default=200_000, ge=1)
    label_value_bytes: int = Field(default=128, ge=16, le=4096)
    families: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)


class Privacy(BaseModel):
    """How much of what users wrote may be shown (``semantics.md`` G)."""

    model_config = Strict

    top_messages: Literal["none", "allowlist", "raw"] = "none"
    allow_raw_text: bool = False


class Web(BaseModel):
    """Where the exporter listens."""

    model_config = Strict

    listen: Listen = "127.0.0.1:10877"


class LedgerOptions(BaseModel):
    """Where counts are kept; a relative SQLite path starts from the settings file's folder.

    ``url`` may hold a password, so it is never shown. ``max_size`` is in bytes.
    """

    model_config = Strict

    url: LedgerUrl = Field(default="sqlite:///ledger.db", repr=False)
    max_size: Size = 2**30
    allow_network_fs: bool = False


def check_version(value: Any) -> int:
    """Return 1, the only version there is."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise fault("version", f"expected a number, found {kind_of(value)}", "write version: 1")
    if value != 1:
        raise fault("version", "this program reads version 1 only")
    return value


class SettingsFile(BaseModel):
    """The top level of ``exporter.yaml``; targets are checked by their providers' classes."""

    model_config = Strict

    version: Annotated[int, BeforeValidator(check_version)]
    web: Web = Web()
    ledger: LedgerOptions = LedgerOptions()
    defaults: Common = Common()
    targets: list[dict[str, Any]] = Field(min_length=1)
    limits: Limits = Limits()
    privacy: Privacy = Privacy()
    allow_inline_secrets: bool = False


class Settings(BaseModel):
    """One valid ``exporter.yaml``, frozen. ``targets`` are of their providers' own classes."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, extra="forbid")

    web: Web = Web()
    ledger: LedgerOptions = LedgerOptions()
    limits: Limits = Limits()
    privacy: Privacy = Privacy()
    targets: tuple[TargetOptions, ...] = ()

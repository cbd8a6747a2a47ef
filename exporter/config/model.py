"""The shapes of ``exporter.yaml``: the settings of every target, and the file-wide ones."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from exporter.config.holidays import Holidays
from exporter.config.secret import Secret, Strict
from exporter.config.source import Source
from exporter.config.values import (
    Duration,
    DurationOrZero,
    LedgerUrl,
    Listen,
    Size,
    Url,
    WriteOff,
    Zone,
    check_url,
    invalid,
    kind_of,
)
from exporter.errors import SettingsProblem
from exporter.model.query import USUAL_LABEL_BYTES
from exporter.model.samples import RETENTION_MS, SECOND_MS, Family

__all__ = ["Duration", "Secret", "Strict", "Url"]  # beside the models of this module
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def check_name(value: Any) -> str:
    """Return ``value`` if it can be the name of a target."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise invalid(
        "name", "expected lower-case letters, digits and dashes, at most 63", "as in shop-eu"
    )


Name = Annotated[
    str,
    BeforeValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"}),
]


class Named(BaseModel):
    """An identifier with the name it is shown under: ``{id: …, alias: …}``."""

    model_config = Strict

    id: str = Field(min_length=1, description="the vendor's id")
    alias: str | None = Field(
        default=None, min_length=1, description="the name that labels show; the id by default"
    )

    @property
    def shown(self) -> str:
        """Return the alias, or the id if there is none."""
        return self.alias or self.id


class Common(BaseModel):
    """The settings that ``defaults`` may give and each target may override."""

    model_config = Strict

    interval: Duration = Field(
        default=300_000, description="how often each query starts; at least `1s`, Xenioo `1h`"
    )
    slow_interval: Duration = Field(
        default=3_600_000,
        description="the same for distinct counts over days, top lists and definitions",
    )
    settle: Duration = Field(
        default=3_600_000,
        description="how long after its end a bucket counts as complete. Gauges show settled "
        "buckets; counters show every unit immediately",
    )
    lookback: Duration = Field(
        default=172_800_000,
        description="how far back each poll reads again, and so how late a revision can be seen; "
        "at least `settle`, at most `35d`",
    )
    initial_lookback: DurationOrZero = Field(
        default=3_024_000_000,
        description="how much of the past the first start reads, as baseline and at low priority; "
        "at most `35d`. `0` reads only the `lookback`",
    )
    zero_hold: Duration = Field(
        default=90_000,
        description="how long a new series shows 0 before its value, so that `increase()` sees the "
        "first step; at least 1.5 times the scrape interval",
    )
    write_off_after: WriteOff = Field(
        default=21_600_000,
        description="when a provider lowers a count, the counter stays where it is until growth "
        "has caught up; after this time it grows again regardless. `never` waits forever",
    )
    start: Literal["zero", "history"] = Field(
        default="zero",
        description="`zero`: count from now on; `history`: begin with the sum of the past, once that is read",
    )
    timezone: Zone = Field(
        default="UTC",
        description="the time zone of days, and of the week by which expected engagement is learnt",
    )
    holidays: Holidays = Field(
        default=(),
        strict=False,
        description="days with less or more engagement than usual: a country or region (`DE`, "
        "`US-CA`; needs the extra `holidays`), a list of dates (`[2026-12-24]`), or `{file: PATH}` "
        "with one date per line. A holiday is compared with the last of its name, or not judged",
    )
    period_gauges: bool = Field(
        default=True, description="show the newest settled hour and day as `chatbot_period_*`"
    )
    requests_per_second: float = Field(
        default=5, ge=0, description="maximum rate of requests to the provider; `0` is no limit"
    )

    @field_validator("lookback", "initial_lookback")
    @classmethod
    def _is_kept(cls, value: int) -> int:
        return check_lookback(value)

    @field_validator("interval", "slow_interval")
    @classmethod
    def _not_busy(cls, value: int) -> int:
        return check_interval(value)


class TargetOptions(Common):
    """The settings of every target; each provider adds its own keys."""

    name: Name = Field(
        description="the label `target`: lower-case letters, digits and dashes, at most 63; unique"
    )
    provider: str = Field(description="the vendor; each has a section below")
    base_url: str = Field(
        title="address", description="where requests go; change it for a proxy or a simulator"
    )
    renamed_from: Name | None = Field(
        default=None,
        description="the target's former name, so that its counts continue under the new one",
    )

    @property
    def vendor(self) -> str:
        """Return the label ``provider``."""
        return self.provider

    @classmethod
    def instead_of(cls, _provider: str) -> str:
        """Return the hint for a provider of this name, if one of these targets can be it."""
        return ""

    def own_families(self) -> tuple[Family, ...]:
        """Return the families that the target's own settings define, besides the provider's."""
        return ()

    def own_warnings(self) -> tuple[SettingsProblem, ...]:
        """Return warnings about valid but risky contents of a file that the target names."""
        return ()

    def settles_late(self) -> bool:
        """Return whether buckets settle only after they are last read."""
        return self.settle > self.lookback

    @field_validator("base_url", mode="before")
    @classmethod
    def _is_safe(cls, value: Any) -> Any:
        # Here, and not in the field's type, so that a provider's own default keeps the check.
        return check_url(value) if isinstance(value, str) else value


class Limits(BaseModel):
    """Caps on series; beyond them, additive label sets overflow into ``other``."""

    model_config = Strict

    series_per_target: int = Field(default=5_000, ge=1, description="maximum series of a target")
    series_total: int = Field(default=200_000, ge=1, description="maximum series in total")
    label_value_bytes: int = Field(
        default=USUAL_LABEL_BYTES,
        ge=16,
        le=4096,
        description="maximum length of a label value; longer ones are cut and end in a digest",
    )
    families: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="caps by family, such as `{chatbot_events_total: 50}`; "
        "`chatbot-exporter metrics` lists the names",
    )


class Privacy(BaseModel):
    """How much of what users wrote may be exported."""

    model_config = Strict

    top_messages: Literal["none", "allowlist", "raw"] = Field(
        default="none",
        description="what lists of frequent user messages may show: nothing, listed texts only, "
        "or all",
    )
    allow_raw_text: bool = Field(
        default=False,
        description="must be `true` for `raw`: what looks like an address, a number or a token is "
        "redacted, but that is a safety net, not a guarantee",
    )


class Web(BaseModel):
    """Where the exporter listens."""

    model_config = Strict

    listen: Listen = Field(
        default="127.0.0.1:10877",
        description="`:10877` and `[::]:10877` listen on every IPv4 and IPv6 address. A change "
        "needs a restart",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="public names that requests may give as `Host`; addresses, `localhost`, names "
        "without a dot and names under `.local`, `.internal` and `.svc` are always allowed. Not "
        "checked if users are set. Protects against web pages that use DNS rebinding",
    )


class LedgerOptions(BaseModel):
    """Where counts are kept; a relative SQLite path starts at the settings file's folder.

    ``url`` may hold a password, so it is never shown. ``max_size`` is in bytes.
    """

    model_config = Strict

    url: LedgerUrl = Field(
        default="sqlite:///ledger.db",
        repr=False,
        description="`sqlite:///FILE` (four slashes for an absolute path, else relative to the "
        "settings file) or `postgresql://USER@HOST/DATABASE`. Set a password with `PGPASSWORD` or "
        "`PGPASSFILE`, not here. A change needs a restart",
    )
    max_size: Size = Field(
        default=2**30,
        description="when 80 % of this is in use, the exporter logs a warning and retires hours as "
        "soon as no poll or gauge reads them any more (some days), not after 35 days. Not a hard "
        "limit: what polls need is kept",
    )
    allow_network_fs: bool = Field(
        default=False,
        description="accept an SQLite file on a network file system, where locks may not hold",
    )


def check_interval(value: int) -> int:
    """Return an interval at which a vendor may be asked."""
    if value < SECOND_MS:
        raise invalid("interval", "below the minimum of 1s")
    return value


def check_lookback(value: int) -> int:
    """Return ``value`` if the ledger keeps hours for that long."""
    if value > RETENTION_MS:
        raise invalid("lookback", "longer than the ledger keeps hours", "use at most 35d")
    return value


def check_version(value: Any) -> int:
    """Return 1, the only version."""
    if not isinstance(value, int) or isinstance(value, bool):
        found = "a fraction" if isinstance(value, float) else kind_of(value)
        raise invalid("version", f"expected a number, found {found}", "write version: 1")
    if value != 1:
        raise invalid("version", "only version 1 is supported")
    return value


class SettingsFile(BaseModel):
    """The top level of ``exporter.yaml``; targets are checked by their providers' classes."""

    model_config = Strict

    version: Annotated[int, BeforeValidator(check_version), WithJsonSchema({"const": 1})] = Field(
        description="the format of the file: `1`"
    )
    web: Web = Field(default=Web(), description="where to listen, see below")
    ledger: LedgerOptions = Field(
        default=LedgerOptions(), description="where counts are kept, see below"
    )
    defaults: Common = Field(
        default=Common(), description="settings for every target that does not set its own"
    )
    targets: list[dict[str, Any]] = Field(
        min_length=1, description="the accounts to read, at least one"
    )
    limits: Limits = Field(default=Limits(), description="caps on series, see below")
    privacy: Privacy = Field(
        default=Privacy(), description="how much of what users wrote may be exported, see below"
    )
    allow_inline_secrets: bool = Field(
        default=False, description="accept secrets written in this file"
    )


class Settings(BaseModel):
    """A valid ``exporter.yaml``, frozen. ``targets`` have their providers' own classes.

    ``source`` has the file's values with their positions.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, extra="forbid")

    source: Source = Field(default=Source(""), repr=False)
    web: Web = Web()
    ledger: LedgerOptions = LedgerOptions()
    limits: Limits = Limits()
    privacy: Privacy = Privacy()
    targets: tuple[TargetOptions, ...] = ()

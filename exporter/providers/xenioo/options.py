"""The settings of a Xenioo target in ``exporter.yaml``."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field, field_validator

from exporter.config.model import Duration, Secret, Strict, TargetOptions, Url
from exporter.config.values import invalid
from exporter.model.samples import HOUR_MS

TimeUnit: TypeAlias = Literal["milliseconds", "seconds", "minutes", "hours"]
ShareUnit: TypeAlias = Literal["percent", "ratio"]


def _unit_of(code: str) -> Any:
    return Field(default=None, description=f"the unit of code {code}")


class Units(BaseModel):
    """Units of values that Xenioo returns without one; None exports them as returned."""

    model_config = Strict

    conversation_length: TimeUnit | None = _unit_of("8, Conversation Length")
    time_to_pick_up: TimeUnit | None = _unit_of("9, Time To Pick Up")
    support_conversation_length: TimeUnit | None = _unit_of("11, Support Conversation Length")
    time_to_first_message: TimeUnit | None = _unit_of("16, Time To First Message")
    takeover_rate: ShareUnit | None = _unit_of("10, Takeover Rate")

    @property
    def known(self) -> Mapping[str, str]:
        """Return the units that are given, by statistic."""
        return {name: unit for name, unit in self if unit is not None}


class XeniooOptions(TargetOptions):
    """One Xenioo account: ``bot`` is ``*``, or the API key of one of its bots.

    ``label_format`` is the ``strptime`` format of group labels, if it is not a usual one.
    """

    base_url: str = "https://publicapi.xenioo.com"
    requests_per_second: float = Field(default=0, ge=0)
    interval: Duration = HOUR_MS
    account_key: Secret = Field(
        description="the account's API key. Targets with one key share its call an hour"
    )
    service_url: Url = Field(
        description="the account's service endpoint, where the key is exchanged for a token"
    )
    bot: str = Field(
        default="*", min_length=1, repr=False, description="every bot, or the API key of one"
    )
    value_field: str | None = Field(
        default=None,
        min_length=1,
        description="the member of a row that holds its number, if a row has several",
    )
    label_format: str | None = Field(
        default=None,
        min_length=1,
        description="the `strptime` format of group labels, with `%H`; tried before the usual ones",
    )
    units: Units = Field(
        default=Units(),
        description="units of values that Xenioo returns without one; a unit replaces the raw "
        "gauge by the normalised one",
    )

    @field_validator("interval")
    @classmethod
    def _is_an_hour(cls, value: int) -> int:
        if value < HOUR_MS:
            raise invalid("interval", "below the provider's limit of one call an hour", "use 1h")
        return value

    @field_validator("label_format")
    @classmethod
    def _has_hours(cls, value: str | None) -> str | None:
        if value is not None and "%H" not in value:
            raise invalid("format", "the format has no hour", "as in %d/%m/%Y %H:%M")
        return value

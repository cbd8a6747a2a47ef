"""The settings of a Chatlayer target in ``exporter.yaml``."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from exporter.config.model import Duration, Named, Secret, Strict, TargetOptions
from exporter.config.values import invalid
from exporter.model.samples import HOUR_MS
from exporter.providers.base.options import EventTarget, NotRepeated, as_named

MINUTE_MS = 60_000
REGIONS: Mapping[str, str] = {
    "eu": "https://analytics.api.chatlayer.ai",
    "us": "https://analytics.api.prod.us-east4.gcp.chatlayer.ai",
    "apac": "https://analytics.api.prod.asia-south1.gcp.chatlayer.ai",
    "sa": "https://analytics.api.prod.sa-east1.gcp.chatlayer.ai",
}
"""Where each region's data are; a token of one is not known in another."""

Collector: TypeAlias = Literal[
    "events",
    "conversations",
    "messages",
    "users",
    "knowledge_base",
    "definitions",
    "team_events",
    "team_conversations",
]
FED: Mapping[str, str] = {
    "chatbot_events_total": "events",
    "chatbot_messages_received_total": "messages",
    "chatbot_conversations_started_total": "conversations",
    "chatbot_knowledge_base_hits_total": "knowledge_base",
}
"""The collector that feeds a family which ``event_map`` may otherwise name."""


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Version: TypeAlias = Annotated[Literal["DRAFT", "LIVE"], BeforeValidator(_upper)]


class BotOptions(Named):
    """One bot; DRAFT and LIVE are separate data sets."""

    versions: NotRepeated[Version] = Field(
        default=("LIVE",), strict=False, description="each is read by itself"
    )


class EventOptions(BaseModel):
    """Which event names have a series of their own, and what else they count as.

    ``allow`` None admits every name up to the family's cap. ``active`` are the names that make a
    user or conversation active (None: all of them).
    """

    model_config = Strict

    allow: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description='names with a series of their own; the others are `event="other"`. Every name '
        "unless given",
    )
    event_map: Mapping[str, EventTarget] = Field(
        default_factory=dict,
        description="`{event name: family}` or `{event name: {family: NAME, labels: {…}}}`",
    )
    active: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description="names that make a user or conversation active; every name unless given",
    )


class AttributeFilter(BaseModel):
    """One attribute filter of the POST form; the vendor documents no operators."""

    model_config = Strict

    key: str = Field(min_length=1, description="the attribute")
    operator: str = Field(min_length=1, description="as the vendor's form takes it")
    value: tuple[str, ...] = Field(strict=False, description="what it is compared with")


class StreamOptions(BaseModel):
    """How event lists are read: see docs/providers/chatlayer.md."""

    model_config = Strict

    mode: Literal["ids", "recount"] = Field(
        default="ids", description="`recount` reads whole hours again instead and keeps no ids"
    )
    overlap: Duration = Field(
        default=15 * MINUTE_MS,
        description="each poll reads this far back again, for events that came late",
    )
    safety_lag: Duration = Field(
        default=30_000, description="events younger than this wait for the next poll"
    )
    sweep: Duration = Field(
        default=24 * HOUR_MS, description="a sweep reads this far back again; at least `overlap`"
    )
    sweep_interval: Duration = Field(default=6 * HOUR_MS, description="how often a sweep starts")
    max_age: Duration | None = Field(
        default=None,
        description="how long the vendor keeps events; an outage longer than this leaves a gap. No "
        "limit unless given",
    )
    max_pages: int = Field(
        default=100,
        ge=2,
        le=1000,
        description="pages of 100 events; a stretch of time with more is halved",
    )
    filters: tuple[AttributeFilter, ...] = Field(
        default=(),
        strict=False,
        description="attribute filters; they ask by the vendor's POST form, whose operators are "
        "not documented",
    )

    @field_validator("sweep")
    @classmethod
    def _check_overlap(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("overlap", 0):
            raise invalid("sweep", "shorter than overlap", "a sweep reads further back than a poll")
        return value


class ChatlayerOptions(TargetOptions):
    """One access token, which belongs to one team of one region."""

    region: Literal["eu", "us", "apac", "sa"] = Field(
        default="eu", description="where the team's data are"
    )
    base_url: str = Field(
        default=REGIONS["eu"],
        title="address",
        description="where calls go: to the region's own address, unless given",
    )
    token: Secret = Field(description="`tokenId:tokenSecret`, of one team")
    bots: NotRepeated[
        Annotated[BotOptions, BeforeValidator(as_named), Field(title="identifier")]
    ] = Field(strict=False, description="the bots to read")
    team_id: str | None = Field(
        default=None,
        min_length=1,
        description="needed by the collectors `team_events` and `team_conversations`",
    )
    collectors: NotRepeated[Collector] = Field(
        default=("events", "conversations", "messages", "users"),
        strict=False,
        description="what to read; each costs its own calls",
    )
    events: EventOptions = Field(
        default=EventOptions(),
        description="which event names have a series of their own, and what else they count as",
    )
    stream: StreamOptions = Field(default=StreamOptions(), description="how event lists are read")
    received_kinds: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description="the message kinds that add up to messages received; all but a total unless "
        "given",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_address(cls, data: Any) -> Any:
        if isinstance(data, dict) and "base_url" not in data:
            address = REGIONS.get(str(data.get("region", "eu")), REGIONS["eu"])
            return {**data, "base_url": address}
        return data

    @field_validator("collectors")
    @classmethod
    def _check_team(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if any(name.startswith("team_") for name in value) and not info.data.get("team_id"):
            raise invalid("team", "team collectors need team_id", "add the team's id")
        return value

    @field_validator("events")
    @classmethod
    def _check_fed_once(cls, value: EventOptions, info: ValidationInfo) -> EventOptions:
        active = {*info.data.get("collectors", ()), "events"}
        for mapped in value.event_map.values():
            if FED.get(mapped.family) in active:
                hint = "map the event to another family, or leave the collector out"
                fed = f"{mapped.family} is fed by the collector {FED[mapped.family]} already"
                raise invalid("twice", fed, hint)
        return value

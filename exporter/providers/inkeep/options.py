"""The settings of an Inkeep target in ``exporter.yaml``."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from exporter.config.model import Duration, Secret, Strict, TargetOptions
from exporter.config.values import invalid
from exporter.model.samples import DAY_MS
from exporter.providers.inkeep.event_map import EventTarget

QueryName: TypeAlias = Literal["events", "conversations", "feedback", "escalations", "active_users"]
QUERIES: tuple[QueryName, ...] = (
    "events",
    "conversations",
    "feedback",
    "escalations",
    "active_users",
)
_FIELDS = ("userProperties", "properties")


class ActiveUsers(BaseModel):
    """Whose different values are users, and over which trailing windows, in milliseconds."""

    model_config = Strict

    property: tuple[str, ...] = Field(
        default=("userProperties", "id"),
        strict=False,
        description="a field, `userProperties` or `properties`, and the key in it",
    )
    windows: tuple[Duration, ...] = Field(
        default=(DAY_MS, 7 * DAY_MS, 28 * DAY_MS),
        strict=False,
        description="trailing windows of whole days",
    )

    @field_validator("property")
    @classmethod
    def _is_a_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) < len(("field", "key")) or value[0] not in _FIELDS or "" in value:
            raise invalid("property", "expected a field and a key", "as in [userProperties, id]")
        return value

    @field_validator("windows")
    @classmethod
    def _are_different_days(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(window < DAY_MS or window % DAY_MS for window in value):
            raise invalid("window", "expected whole days", "use 1d, 7d or 28d")
        _check_set(value)
        return value


class InkeepOptions(TargetOptions):
    """One key of an API integration, which sees one project."""

    base_url: str = "https://api.analytics.inkeep.com"
    requests_per_second: float = Field(default=2, ge=0)
    api_key: Secret = Field(
        description="the key of an integration of type API; other keys can only write"
    )
    project: str = Field(min_length=1, description="the label; a key sees one project")
    queries: tuple[QueryName, ...] = Field(
        default=QUERIES, strict=False, description="what to ask; all five unless given"
    )
    active_users: ActiveUsers = Field(
        default=ActiveUsers(), description="whose different values are users, over which windows"
    )
    event_map: dict[str, EventTarget] = Field(
        default_factory=dict,
        description="adds to the built-in map: `{event name: family}` or "
        "`{event name: {family: NAME, labels: {…}}}`",
    )

    @field_validator("queries")
    @classmethod
    def _are_different(cls, value: tuple[QueryName, ...]) -> tuple[QueryName, ...]:
        _check_set(value)
        return value

    @field_validator("event_map")
    @classmethod
    def _is_used(
        cls, value: dict[str, EventTarget], info: ValidationInfo
    ) -> dict[str, EventTarget]:
        if value and "events" not in info.data.get("queries", ("events",)):
            raise invalid("unused", "no query reads events", "add events to queries")
        return value


def _check_set(values: Sequence[object]) -> None:
    if not values:
        raise invalid("empty", "nothing to read", "name at least one, or leave the key out")
    if len(set(values)) < len(values):
        raise invalid("repeated", "an entry stands here more than once")

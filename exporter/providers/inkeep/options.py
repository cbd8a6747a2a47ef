"""The settings of an Inkeep target in ``exporter.yaml``."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from exporter.config.model import Secret, Strict, TargetOptions
from exporter.config.values import fault
from exporter.model import families
from exporter.model.samples import DAY_MS
from exporter.providers.base.options import Days, EventTarget, MappedFamily, NotRepeated

QueryName: TypeAlias = Literal["events", "conversations", "feedback", "escalations", "active_users"]
QUERIES: tuple[QueryName, ...] = get_args(QueryName)
_FIELDS = ("userProperties", "properties")

FED_BY: Mapping[str, str] = {
    families.EVENTS.name: "events",
    families.CONVERSATIONS_STARTED.name: "conversations",
    families.FEEDBACK.name: "feedback",
    families.HANDOVERS.name: "escalations",
}
"""The query that counts a family, whatever the map says."""


def _check_not_fed(value: MappedFamily, info: ValidationInfo) -> MappedFamily:
    source = FED_BY.get(value.family)
    if source and source in (info.data or {}).get("queries", ()):
        raise fault("fed", f"the query {source} already feeds this family", "it would count twice")
    return value


InkeepEventTarget: TypeAlias = Annotated[EventTarget, AfterValidator(_check_not_fed)]


class ActiveUsers(BaseModel):
    """Whose different values are users, and over which trailing windows, in milliseconds."""

    model_config = Strict

    property: tuple[str, ...] = Field(
        default=("userProperties", "id"),
        strict=False,
        description="a field, `userProperties` or `properties`, and the key in it",
    )
    windows: NotRepeated[Days] = Field(
        default=(DAY_MS, 7 * DAY_MS, 28 * DAY_MS),
        strict=False,
        description="trailing windows of whole days",
    )

    @field_validator("property")
    @classmethod
    def _is_a_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) < len(("field", "key")) or value[0] not in _FIELDS or "" in value:
            raise fault("property", "expected a field and a key", "as in [userProperties, id]")
        return value


class InkeepOptions(TargetOptions):
    """One key of an API integration, which sees one project."""

    base_url: str = "https://api.analytics.inkeep.com"
    requests_per_second: float = Field(default=2, ge=0)
    api_key: Secret = Field(
        description="the key of an integration of type API; other keys can only write"
    )
    project: str = Field(min_length=1, description="the label; a key sees one project")
    queries: NotRepeated[QueryName] = Field(
        default=QUERIES, strict=False, description="what to ask; all five unless given"
    )
    active_users: ActiveUsers = Field(
        default=ActiveUsers(), description="whose different values are users, over which windows"
    )
    event_map: dict[str, InkeepEventTarget] = Field(
        default_factory=dict,
        description="adds to the built-in map: `{event name: family}` or "
        "`{event name: {family: NAME, labels: {…}}}`",
    )

    @field_validator("event_map")
    @classmethod
    def _is_used(
        cls, value: dict[str, InkeepEventTarget], info: ValidationInfo
    ) -> dict[str, InkeepEventTarget]:
        if value and "events" not in info.data.get("queries", ("events",)):
            raise fault("unused", "no query reads events", "add events to queries")
        return value

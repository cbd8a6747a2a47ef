"""Bodies of Inkeep's query language; none asks for rows, text or properties as such.

Source: https://docs.inkeep.com/analytics-api/query; checked against the vendor's npm client.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from exporter import __version__
from exporter.model.samples import Window
from exporter.providers.base.times import iso

ESCALATION = "user_escalation_indicated"
KIND_KEY = "escalationType"
MAX_NOTES = 80
USERS_PATH = "/query/conversations"

Clause: TypeAlias = Mapping[str, Any]
_IDS: Clause = {"type": "aggregation", "aggregation": "count", "field": "id"}
_INTEGRATION: Clause = {"field": "integrationId"}


@dataclass(frozen=True, slots=True)
class HourlyRequest:
    """An hourly count: which view, by which of its instants, what, by what, of which rows."""

    path: str
    instant: str
    select: Sequence[Clause]
    group_by: Sequence[Clause]
    where: Sequence[Clause] = ()

    def body(self, window: Window) -> Mapping[str, Any]:
        """Return the request for ``window``."""
        return {
            "select": [{"type": "time", "timeUnit": "hour", "field": self.instant}, *self.select],
            "groupBy": list(self.group_by),
            "where": {"and": [*_range(self.instant, window), *self.where]},
            "orderBy": [{"field": f"{self.instant}_hour", "direction": "asc"}],
            "notes": notes(self.path.removeprefix("/query/")),
        }


EVENTS = HourlyRequest(
    "/query/events",
    "createdAt",
    select=(_IDS,),
    # Which of the two holds the name is not documented, so both are asked for.
    group_by=({"field": "eventType"}, {"field": "type"}, _INTEGRATION),
)
CONVERSATIONS = HourlyRequest(
    "/query/conversations",
    "firstMessageTime",
    select=(_IDS, {"type": "aggregation", "aggregation": "sum", "field": "userMessageCount"}),
    group_by=(_INTEGRATION,),
)
FEEDBACK = HourlyRequest(
    "/query/feedback", "createdAt", select=(_IDS,), group_by=({"field": "type"}, _INTEGRATION)
)
ESCALATIONS = HourlyRequest(
    "/query/events",
    "createdAt",
    select=(_IDS,),
    group_by=({"field": "properties", "path": [KIND_KEY]}, _INTEGRATION),
    where=(
        {
            "or": [
                {"condition": {"field": field, "operator": "eq", "value": ESCALATION}}
                for field in ("type", "eventType")
            ]
        },
    ),
)


def users_body(of: Sequence[str], window: Window, *, by_integration: bool) -> Mapping[str, Any]:
    """Return the request for the number of different values of the property ``of``."""
    field, *path = of
    grouping = {"groupBy": [_INTEGRATION]} if by_integration else {}
    return {
        "select": [
            {"type": "aggregation", "aggregation": "countDistinct", "field": field, "path": path}
        ],
        **grouping,
        "where": {"and": _range("firstMessageTime", window)},
        "notes": notes("active users"),
    }


def notes(purpose: str) -> str:
    """Return who asks, and what for; the vendor allows 80 characters."""
    return f"chatbot-exporter/{__version__}: {purpose}"[:MAX_NOTES]


def _range(field: str, window: Window) -> list[Clause]:
    edges = (("gte", window.start_ms), ("lt", window.end_ms))
    return [
        {"condition": {"field": field, "operator": operator, "value": iso(instant_ms)}}
        for operator, instant_ms in edges
    ]

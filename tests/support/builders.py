"""Builders: a query and its rows with only what a test cares about."""

from dataclasses import replace
from typing import Any

from exporter.model.query import QuerySpec

RECEIVED = "chatbot_messages_received_total"
INTERACTIONS = "chatbot_interactions_total"


def received(channel: str = "", project: str = "shop") -> tuple[str, tuple[str, ...]]:
    """Return the series of messages received of ``channel``."""
    return RECEIVED, (project, "", channel)


def spec(**changes: Any) -> QuerySpec:
    """Return an hourly query of target ``shop``."""
    plain = QuerySpec(target="shop", provider="flowxo", name="hourly", meaning={"v": 1})
    return replace(plain, **changes)

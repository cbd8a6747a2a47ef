"""Builders: a query and its rows with only what a test cares about."""

from dataclasses import replace
from typing import Any

from exporter.config.model import Limits, Privacy, TargetOptions
from exporter.model.query import QuerySpec
from exporter.providers.base.plugin import LabelSettings, spec_for

RECEIVED = "chatbot_messages_received_total"
INTERACTIONS = "chatbot_interactions_total"
_OPTIONS = TargetOptions(name="shop", provider="flowxo", base_url="https://vendor.test")
_PLAIN = replace(
    spec_for(_OPTIONS, LabelSettings(Limits(), Privacy()), "hourly", ""), fields={RECEIVED: "count"}
)


def received(channel: str = "", project: str = "shop") -> tuple[str, tuple[str, ...]]:
    """Return the series of messages received of ``channel``."""
    return RECEIVED, (project, "", channel)


def spec(**changes: Any) -> QuerySpec:
    """Return an hourly query of target ``shop`` with the defaults of settings."""
    return replace(_PLAIN, **({"meaning": {"v": 1}} | changes))

"""Inkeep as the registry knows it; what reads it is loaded where a target is configured."""

from exporter.config.model import TargetOptions
from exporter.model import families
from exporter.providers.base.plugin import Provider, Rules, Target
from exporter.providers.inkeep.families import CONVERSATION_USER_MESSAGES, ESCALATIONS
from exporter.providers.inkeep.options import InkeepOptions


def _build(options: TargetOptions, rules: Rules) -> Target:
    from exporter.providers.inkeep.provider import build  # noqa: PLC0415 - see the module's docstring

    return build(options, rules)


KIND = Provider(
    name="inkeep",
    options=InkeepOptions,
    families=(ESCALATIONS, CONVERSATION_USER_MESSAGES),
    feeds=frozenset(
        {
            families.ACTIVE_USERS.name,
            families.CONVERSATIONS_STARTED.name,
            families.EVENTS.name,
            families.FEEDBACK.name,
            families.HANDOVERS.name,
            families.MESSAGES_RECEIVED.name,
            families.MESSAGES_SENT.name,
            families.SEARCHES.name,
        }
    ),
    build=_build,
)

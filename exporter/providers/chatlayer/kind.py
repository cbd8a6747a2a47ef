"""Chatlayer as the registry knows it; what reads it is loaded where a target is configured."""

from exporter.config.model import TargetOptions
from exporter.model import families
from exporter.providers.base.plugin import Provider, Rules, Target
from exporter.providers.chatlayer.families import (
    CAMPAIGN_CONVERSATIONS,
    EVENT_VOLUME,
    MESSAGES,
    USERS,
)
from exporter.providers.chatlayer.options import ChatlayerOptions


def _build(options: TargetOptions, rules: Rules) -> Target:
    from exporter.providers.chatlayer.provider import build  # noqa: PLC0415 - see the module's docstring

    return build(options, rules)


KIND = Provider(
    name="chatlayer",
    options=ChatlayerOptions,
    families=(MESSAGES, USERS, CAMPAIGN_CONVERSATIONS, EVENT_VOLUME),
    feeds=frozenset(
        {family.name for family in families.NORMALISED.values() if family.kind == "counter"}
        | {families.ACTIVE_USERS.name, families.ACTIVE_CONVERSATIONS.name}
    ),
    build=_build,
)

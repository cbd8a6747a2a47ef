"""Xenioo as the registry knows it; what reads it is loaded where a target is configured."""

from exporter.config.model import TargetOptions
from exporter.model import families
from exporter.providers.base.plugin import Provider, Rules, Target
from exporter.providers.xenioo import families as own
from exporter.providers.xenioo.options import XeniooOptions


def _build(options: TargetOptions, rules: Rules) -> Target:
    from exporter.providers.xenioo.provider import build  # noqa: PLC0415 - see the module's docstring

    return build(options, rules)


KIND = Provider(
    name="xenioo",
    options=XeniooOptions,
    families=(
        own.MESSAGES,
        own.ACTION_MESSAGES,
        own.CONVERSATION_LENGTH,
        own.TIME_TO_PICK_UP,
        own.TAKEOVER_RATE,
        own.SUPPORT_CONVERSATION_LENGTH,
        own.TIME_TO_FIRST_MESSAGE,
    ),
    feeds=frozenset(
        family.name
        for family in (
            families.NEW_USERS,
            families.FALLBACKS,
            families.NLP_MATCHES,
            families.NLP_MISSES,
            families.GOALS_REACHED,
            families.MESSAGES_RECEIVED,
            families.OUTBOUND_API_REQUESTS,
            families.OUTBOUND_API_REQUEST_ERRORS,
            families.OPERATOR_MESSAGES_SENT,
            families.RETURNING_USERS,
            families.ACTIVE_USERS,
            families.CONVERSATION_DURATION_AVERAGE_SECONDS,
            families.TIME_TO_PICK_UP_AVERAGE_SECONDS,
            families.TAKEOVER_RATIO,
            families.SUPPORT_CONVERSATION_DURATION_AVERAGE_SECONDS,
            families.TIME_TO_FIRST_MESSAGE_AVERAGE_SECONDS,
        )
    ),
    build=_build,
)

"""Voiceflow as the registry knows it; what reads it is loaded where a target is configured."""

from exporter.config.model import TargetOptions
from exporter.model import families
from exporter.providers.base.plugin import Provider, Rules, Target
from exporter.providers.voiceflow.families import CREDIT_USAGE
from exporter.providers.voiceflow.options import VoiceflowOptions


def _build(options: TargetOptions, rules: Rules) -> Target:
    from exporter.providers.voiceflow.provider import build  # noqa: PLC0415 - see the module's docstring

    return build(options, rules)


KIND = Provider(
    name="voiceflow",
    options=VoiceflowOptions,
    families=(CREDIT_USAGE,),
    feeds=frozenset(
        family.name
        for family in (
            families.INTERACTIONS,
            families.ACTIVE_USERS,
            families.FUNCTION_CALLS,
            families.FUNCTION_CALL_ERRORS,
            families.FUNCTION_INFO,
            families.OUTBOUND_API_REQUESTS,
            families.OUTBOUND_API_REQUEST_ERRORS,
            families.KNOWLEDGE_BASE_HITS,
            families.INTEGRATION_CALLS,
            families.INTEGRATION_CALL_ERRORS,
            families.TOP_INTENT_MATCHES,
        )
    ),
    build=_build,
)

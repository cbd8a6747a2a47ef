"""Flow XO as the registry knows it; what reads it is loaded where a target is configured."""

from exporter.config.model import TargetOptions
from exporter.model import families
from exporter.providers.base.plugin import Provider, Rules, Target
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.options import FlowXOOptions


def _build(options: TargetOptions, rules: Rules) -> Target:
    from exporter.providers.flowxo.provider import build  # noqa: PLC0415 - see the module's docstring

    return build(options, rules)


KIND = Provider(
    name="flowxo",
    options=FlowXOOptions,
    families=(TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES),
    feeds=frozenset(
        family.name
        for family in (
            families.MESSAGES_RECEIVED,
            families.MESSAGES_SENT,
            families.FLOW_TRIGGERS,
            families.NEW_USERS,
            families.ACTIVE_USERS,
            families.KNOWN_USERS,
        )
    ),
    build=_build,
)

"""Fake vendors whose APIs are read by the manifests that the exporter ships."""

from collections.abc import Callable

from exporter.clock import Clock
from exporter.simulator.manifests import (
    anthropic,
    botpress,
    chatwoot,
    elevenlabs,
    intercom,
    openai,
)
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic

MANIFEST_SIMULATORS: dict[str, Callable[[Clock, Traffic], Service]] = {
    "anthropic": anthropic.build,
    "botpress": botpress.build,
    "chatwoot": chatwoot.build,
    "elevenlabs": elevenlabs.build,
    "intercom": intercom.build,
    "openai": openai.build,
}
"""By the manifest's name."""

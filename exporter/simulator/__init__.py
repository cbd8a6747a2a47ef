"""Fake vendors: one scripted truth in the format of each vendor, with each vendor's faults.

``VENDORS[name](clock, traffic)`` builds a ``Service``: an ASGI app whose ``target(url)`` returns
the settings of a target that polls it.
"""

from collections.abc import Callable

from exporter.clock import Clock
from exporter.simulator import chatlayer, flowxo, inkeep, voiceflow, xenioo
from exporter.simulator.manifest_counts import botpress, chatwoot
from exporter.simulator.manifest_records import elevenlabs, intercom
from exporter.simulator.manifest_reports import anthropic, openai
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic

SIMULATORS: dict[str, Callable[[Clock, Traffic], Service]] = {
    "chatlayer": chatlayer.build,
    "flowxo": flowxo.build,
    "inkeep": inkeep.build,
    "voiceflow": voiceflow.build,
    "xenioo": xenioo.build,
}
"""Simulators of vendors that have a provider, by its name."""

MANIFEST_SIMULATORS: dict[str, Callable[[Clock, Traffic], Service]] = {
    "anthropic": anthropic,
    "botpress": botpress,
    "chatwoot": chatwoot,
    "elevenlabs": elevenlabs,
    "intercom": intercom,
    "openai": openai,
}
"""Simulators of APIs that shipped manifests read, by the manifest's name."""

VENDORS = {**SIMULATORS, **MANIFEST_SIMULATORS}

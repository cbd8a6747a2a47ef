"""Fake vendors: one scripted truth, shown in each vendor's words, with each vendor's faults.

``SIMULATORS[name](clock, traffic)`` builds a ``Service``: an ASGI app that knows by
``target(url)`` the settings that a target needs to poll it.
"""

from collections.abc import Callable

from exporter.clock import Clock
from exporter.simulator import chatlayer, flowxo, inkeep, voiceflow, xenioo
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic

SIMULATORS: dict[str, Callable[[Clock, Traffic], Service]] = {
    "chatlayer": chatlayer.build,
    "flowxo": flowxo.build,
    "inkeep": inkeep.build,
    "voiceflow": voiceflow.build,
    "xenioo": xenioo.build,
}

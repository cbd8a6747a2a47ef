"""The registry of providers: one line each, which is all that the rest of the exporter knows."""

from exporter.providers.base.plugin import Provider
from exporter.providers.chatlayer.kind import KIND as CHATLAYER
from exporter.providers.flowxo.kind import KIND as FLOWXO
from exporter.providers.inkeep.kind import KIND as INKEEP
from exporter.providers.voiceflow.kind import KIND as VOICEFLOW
from exporter.providers.xenioo.kind import KIND as XENIOO

PROVIDERS: dict[str, Provider] = {
    "voiceflow": VOICEFLOW,
    "flowxo": FLOWXO,
    "xenioo": XENIOO,
    "inkeep": INKEEP,
    "chatlayer": CHATLAYER,
}
"""Every provider, by its name in ``exporter.yaml``."""

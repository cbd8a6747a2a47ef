"""The registry of providers: one line each, which is all that the rest of the exporter knows."""

from exporter.provider import ProviderKind
from exporter.providers.chatlayer.provider import KIND as CHATLAYER
from exporter.providers.flowxo.provider import KIND as FLOWXO
from exporter.providers.inkeep.provider import KIND as INKEEP
from exporter.providers.voiceflow.provider import KIND as VOICEFLOW
from exporter.providers.xenioo.provider import KIND as XENIOO

KINDS: dict[str, ProviderKind] = {
    "voiceflow": VOICEFLOW,
    "flowxo": FLOWXO,
    "xenioo": XENIOO,
    "inkeep": INKEEP,
    "chatlayer": CHATLAYER,
}
"""Every provider, by its name in ``exporter.yaml``."""

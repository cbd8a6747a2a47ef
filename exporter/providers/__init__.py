"""The registry of providers: one line each, which is all that the rest of the exporter knows."""

from exporter.providers.base.plugin import Provider
from exporter.providers.chatlayer.provider import PROVIDER as CHATLAYER
from exporter.providers.flowxo.provider import PROVIDER as FLOWXO
from exporter.providers.inkeep.provider import PROVIDER as INKEEP
from exporter.providers.manifest.provider import PROVIDER as MANIFEST
from exporter.providers.voiceflow.provider import PROVIDER as VOICEFLOW
from exporter.providers.xenioo.provider import PROVIDER as XENIOO

BUILT_IN: dict[str, Provider] = {
    "voiceflow": VOICEFLOW,
    "flowxo": FLOWXO,
    "xenioo": XENIOO,
    "inkeep": INKEEP,
    "chatlayer": CHATLAYER,
}
"""The providers of one vendor each."""

PROVIDERS: dict[str, Provider] = {**BUILT_IN, "manifest": MANIFEST}
"""Every provider, by its name in ``exporter.yaml``."""

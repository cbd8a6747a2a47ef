"""The registry of providers: one line each, which is all that the rest of the exporter needs."""

from exporter.providers.base.plugin import Provider
from exporter.providers.chatlayer.provider import PROVIDER as CHATLAYER
from exporter.providers.flowxo.provider import PROVIDER as FLOWXO
from exporter.providers.inkeep.provider import PROVIDER as INKEEP
from exporter.providers.manifest.provider import PROVIDER as MANIFEST
from exporter.providers.voiceflow.provider import PROVIDER as VOICEFLOW
from exporter.providers.xenioo.provider import PROVIDER as XENIOO

PROVIDERS: dict[str, Provider] = {
    "voiceflow": VOICEFLOW,
    "flowxo": FLOWXO,
    "xenioo": XENIOO,
    "inkeep": INKEEP,
    "chatlayer": CHATLAYER,
    "manifest": MANIFEST,
}
"""Every provider, by its name in ``exporter.yaml``."""

BUILT_IN = {name: each for name, each in PROVIDERS.items() if each is not MANIFEST}
"""The providers that each read one vendor."""

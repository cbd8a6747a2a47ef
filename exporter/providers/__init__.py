"""The registry of providers: one line each, which is all that the rest of the exporter knows."""

from exporter.provider import ProviderKind
from exporter.providers.flowxo.provider import KIND as FLOWXO
from exporter.providers.inkeep.provider import KIND as INKEEP
from exporter.providers.voiceflow.provider import KIND as VOICEFLOW

KINDS: dict[str, ProviderKind] = {
    "voiceflow": VOICEFLOW,
    "flowxo": FLOWXO,
    "inkeep": INKEEP,
}
"""Every provider, by its name in ``exporter.yaml``."""

"""The family that only Voiceflow has."""

from exporter.model.families import counter

CREDIT_USAGE = counter(
    "chatbot_voiceflow_credit_usage_total",
    60,
    "Voiceflow credit_usage count, in the unit the API returns.",
    "model",
    "usage_type",
    meaning="Unit unclear (credits or tokens): never converted; nodes and diagrams are summed away",
)

"""The families that only Flow XO has."""

from exporter.model.samples import Family, MetricType

TOP_FLOW_TRIGGERS = Family(
    "chatbot_flowxo_top_flow_triggers",
    MetricType.GAUGE,
    "Triggers of the most used flows in the window (top N).",
    ("provider", "target", "flow_id", "flow", "window"),
    20,
    meaning="Rank set changes; do not use rate()",
)
TOP_MESSAGE_USES = Family(
    "chatbot_flowxo_top_message_uses",
    MetricType.GAUGE,
    "Uses of the most frequent user messages in the window (top N); off by default.",
    ("provider", "target", "message", "window"),
    20,
    meaning="What users wrote: only listed texts, or raw ones after two opt-ins",
)

"""The families that only Chatlayer has."""

from exporter.model.families import counter, gauge
from exporter.model.samples import Family, MetricType

MESSAGES = counter(
    "chatbot_chatlayer_messages_total",
    100,
    "Chatlayer messages series by kind, as the API names it.",
    "channel",
    "kind",
    meaning="Kinds are undocumented (understood, not understood, click …)",
)
USERS = gauge(
    "chatbot_chatlayer_users",
    60,
    "Chatlayer users series by kind for the last settled period, as the API names it.",
    "kind",
    "window",
    meaning="Kinds are undocumented (total, new, returning …); never add",
)
CAMPAIGN_CONVERSATIONS = Family(
    "chatbot_chatlayer_campaign_conversations_total",
    MetricType.COUNTER,
    "Chatlayer conversations by campaign.",
    ("provider", "target", "project", "campaign", "campaign_source"),
    100,
    meaning="The only place where campaigns appear in the API's output; counted by day",
)
EVENT_VOLUME = gauge(
    "chatbot_chatlayer_event_volume_30d",
    300,
    "Chatlayer event volume over the last 30 days, as its definitions list reports it.",
    "event",
    meaning="Cross-check against chatbot_events_total",
)

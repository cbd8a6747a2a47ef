"""The families that only Xenioo has (``metrics.md`` A.4)."""

from exporter.model.families import counter, gauge
from exporter.model.samples import Family

MESSAGES = counter(
    "chatbot_xenioo_messages_total",
    60,
    "Xenioo statistic type 3 (Messages), unmapped.",
    "channel",
    meaning="Direction undocumented; may include received and operator messages",
)
ACTION_MESSAGES = counter(
    "chatbot_xenioo_action_messages_total",
    60,
    "Xenioo statistic type 4 (Action Messages), unmapped.",
    "channel",
    meaning="Meaning undocumented",
)


def _raw(name: str, code: int) -> Family:
    return gauge(
        f"chatbot_xenioo_{name}",
        60,
        f"Xenioo statistic type {code} for the last settled period, in the unit the API returns.",
        "channel",
        "period",
        meaning="Raw until units is configured; then the normalised family replaces it",
    )


CONVERSATION_LENGTH = _raw("conversation_length", 8)
TIME_TO_PICK_UP = _raw("time_to_pick_up", 9)
TAKEOVER_RATE = _raw("takeover_rate", 10)
SUPPORT_CONVERSATION_LENGTH = _raw("support_conversation_length", 11)
TIME_TO_FIRST_MESSAGE = _raw("time_to_first_message", 16)

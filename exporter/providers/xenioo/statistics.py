"""Xenioo's statistic types and the families that they feed.

Source: https://docs.xenioo.com, "Account Statistics Data"
"""

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.model import families
from exporter.model.families import counter, gauge
from exporter.model.samples import Family
from exporter.providers.base.plugin import Feed

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


@dataclass(frozen=True, slots=True)
class StatisticType:
    """A statistic type and the family that it feeds: a counter, or a gauge that does not add up.

    ``name`` is its ``EventLabel`` in snake case. An average also has ``normalized``, the family
    that replaces ``family`` once the setting ``units`` has its unit.
    """

    name: str
    family: Family
    normalized: Family | None = None

    @property
    def event(self) -> str:
        """Return the type's ``EventLabel`` without spaces, in lower case."""
        return self.name.replace("_", "")


def _average(code: int, name: str, normalized: Family) -> StatisticType:
    raw = gauge(
        f"chatbot_xenioo_{name}",
        60,
        f"Xenioo statistic type {code} for the last settled period, in the unit the API returns.",
        "channel",
        "period",
        meaning="Raw until units is configured; then the normalised family replaces it",
    )
    return StatisticType(name, raw, normalized)


STATISTICS: Sequence[StatisticType] = (
    StatisticType("new_user", families.NEW_USERS),
    StatisticType("returning_user", families.RETURNING_USERS),
    StatisticType("active_user", families.ACTIVE_USERS),
    StatisticType("messages", MESSAGES),
    StatisticType("action_messages", ACTION_MESSAGES),
    StatisticType("fallback_reply", families.FALLBACKS),
    StatisticType("nlp_detected", families.NLP_MATCHES),
    StatisticType("nlp_missed", families.NLP_MISSES),
    _average(8, "conversation_length", families.CONVERSATION_DURATION_AVERAGE_SECONDS),
    _average(9, "time_to_pick_up", families.TIME_TO_PICK_UP_AVERAGE_SECONDS),
    _average(10, "takeover_rate", families.TAKEOVER_RATIO),
    _average(
        11,
        "support_conversation_length",
        families.SUPPORT_CONVERSATION_DURATION_AVERAGE_SECONDS,
    ),
    StatisticType("goal_reached", families.GOALS_REACHED),
    StatisticType("incoming_message", families.MESSAGES_RECEIVED),
    StatisticType("api_request", families.OUTBOUND_API_REQUESTS),
    StatisticType("api_request_error", families.OUTBOUND_API_REQUEST_ERRORS),
    _average(16, "time_to_first_message", families.TIME_TO_FIRST_MESSAGE_AVERAGE_SECONDS),
    StatisticType("operator_message", families.OPERATOR_MESSAGES_SENT),
)
"""All types; the index is the code."""

FEEDS = [
    Feed(family, f"statistic type {code} ({statistic.event})")
    for code, statistic in enumerate(STATISTICS)
    for family in (statistic.family, statistic.normalized)
    if family
]
"""Each family, and the statistic behind it."""

OWN_FAMILIES = tuple(
    each.family
    for each in STATISTICS
    if each.normalized or each.family in (MESSAGES, ACTION_MESSAGES)
)
"""The families that only Xenioo has."""

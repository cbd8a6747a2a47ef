"""The metrics that each provider feeds, by query, and how the provider's dashboard shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from exporter.providers.manifest import loader


class PanelKind(Enum):
    """How a metric is drawn."""

    COUNTER = "counter"  # increase per hour, or per day when zoomed out
    GAUGE = "gauge"  # the value itself
    TOP = "top"  # the ten highest values now
    NAMES = "names"  # a table of labels


@dataclass(frozen=True, slots=True)
class MetricPanel:
    """One family on a board.

    ``by`` is the label that has a line per value, ``note`` a warning. ``needs`` is what is missing
    if the panel of a configured and polled query is empty.
    """

    family: str
    title: str
    by: str = ""
    note: str = ""
    kind: PanelKind = PanelKind.COUNTER
    unit: str = "short"
    needs: str = ""

    @property
    def no_value(self) -> str:
        """Return the text of an empty panel once a poll has succeeded."""
        if self.needs:
            return f"Needs {self.needs}"
        if self.kind is PanelKind.COUNTER:
            return "Nothing counted yet"
        return "No current value, see Data age"


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A row of a board: the families (without ``chatbot_``) that one query feeds.

    ``setting`` is the setting that turns the query on; empty if it is on by default. ``needs``
    replaces that of each panel.
    """

    query: str
    title: str
    families: Sequence[str]
    setting: str = ""
    needs: str | None = None


def _counter(family: str, title: str, by: str = "", note: str = "") -> MetricPanel:
    return MetricPanel(f"chatbot_{family}_total", title, by, note)


def _gauge(
    family: str, title: str, by: str, note: str, unit: str = "short", *, needs: str = ""
) -> MetricPanel:
    return MetricPanel(f"chatbot_{family}", title, by, note, PanelKind.GAUGE, unit, needs)


_NEVER_ADD = "People are counted once per window: never add windows, channels or bots."
_UNITS = "the setting `units` for it, and current data"
_NO_UNITS = "current data, and no setting `units` for it"
_SECONDS = "Exists only if the target's `units` define what the API's number means."
_RAW = "In the API's own unit; the setting `units` converts it to a known one."

ALL_METRICS: tuple[MetricPanel, ...] = (
    _counter("messages_received", "Messages received", "channel"),
    _counter("messages_sent", "Messages sent", "channel", "Without messages from people."),
    _counter("operator_messages_sent", "Messages by people", "channel"),
    _counter("interactions", "Interactions", "interaction_type", "Turns as defined by the vendor."),
    _counter(
        "conversations_started",
        "Conversations started",
        "channel",
        "Counted in the hour of the start; the vendor decides when a conversation ends.",
    ),
    _counter("new_users", "New users", "channel", "First contacts."),
    _counter("flow_triggers", "Flow triggers"),
    _counter("fallbacks", "Fallback replies", "channel", "Replies, not misunderstandings."),
    _counter("nlp_matches", "Inputs matched", "channel"),
    _counter("nlp_misses", "Inputs not matched", "channel"),
    _counter("handovers", "Handovers", "channel", "Events, not conversations."),
    _counter("goals_reached", "Goals reached", "goal"),
    _counter("feedback", "Feedback", "rating", "With fewer than 20 ratings, shares are noise."),
    _counter("events", "Events", "event", "Names outside the allow list are `other`."),
    _counter("outbound_api_requests", "Outbound API requests", "tool"),
    _counter("outbound_api_request_errors", "Outbound API errors", "tool"),
    _counter("function_calls", "Function calls", "function"),
    _counter("function_call_errors", "Function errors", "function"),
    _counter("integration_calls", "Integration uses", "integration"),
    _counter("integration_call_errors", "Integration errors", "integration"),
    _counter("knowledge_base_hits", "Knowledge base documents used", "document"),
    _counter("searches", "Searches", "channel"),
    _counter("sessions_ended", "Sessions ended", "outcome"),
    _counter("llm_calls", "Language model calls", "model"),
    _counter("llm_tokens", "Language model tokens", "token_type"),
    _gauge("active_users", "Active users", "window", _NEVER_ADD),
    _gauge("returning_users", "Returning users", "window", _NEVER_ADD),
    _gauge("known_users", "Known users", "", "May fall when people are deleted."),
    _gauge(
        "active_conversations",
        "Active conversations",
        "window",
        _NEVER_ADD,
        needs="a day of events",
    ),
    MetricPanel(
        "chatbot_top_intent_matches",
        "Most used intents",
        "intent",
        "The ten most used now; the list changes.",
        PanelKind.TOP,
    ),
    MetricPanel(
        "chatbot_function_info",
        "Function names",
        "",
        "The name of each function id.",
        PanelKind.NAMES,
    ),
    _gauge(
        "conversation_duration_average_seconds",
        "Conversation duration",
        "channel",
        _SECONDS,
        "s",
        needs=_UNITS,
    ),
    _gauge(
        "support_conversation_duration_average_seconds",
        "Conversation duration with people",
        "channel",
        _SECONDS,
        "s",
        needs=_UNITS,
    ),
    _gauge(
        "time_to_pick_up_average_seconds", "Time to pick up", "channel", _SECONDS, "s", needs=_UNITS
    ),
    _gauge(
        "time_to_first_message_average_seconds",
        "Time to first message",
        "channel",
        _SECONDS,
        "s",
        needs=_UNITS,
    ),
    _gauge(
        "takeover_ratio", "Taken over by people", "channel", _SECONDS, "percentunit", needs=_UNITS
    ),
    _counter("voiceflow_credit_usage", "Credit usage", "usage_type", "In the API's own unit."),
    _counter(
        "inkeep_escalations", "Escalations by kind", "kind", "Includes `downvote`, not a handover."
    ),
    _counter(
        "inkeep_conversation_user_messages",
        "User messages by start of conversation",
        "channel",
        "An hour may still grow after its end.",
    ),
    _counter("chatlayer_messages", "Messages by kind", "kind", "Kinds are the API's own."),
    _gauge("chatlayer_users", "Users by kind", "kind", "Kinds are the API's own. " + _NEVER_ADD),
    _counter("chatlayer_campaign_conversations", "Conversations by campaign", "campaign"),
    MetricPanel(
        "chatbot_chatlayer_event_volume_30d",
        "Event volume, 30 days",
        "event",
        "As in the list of definitions; a check on Events.",
        PanelKind.TOP,
    ),
    MetricPanel(
        "chatbot_flowxo_top_flow_triggers",
        "Most used flows",
        "flow",
        "The most used now, for the account, not for one bot.",
        PanelKind.TOP,
    ),
    _counter("xenioo_messages", "Messages (type 3)", "channel", "Direction undocumented."),
    _counter("xenioo_action_messages", "Action messages (type 4)", "channel", "Undocumented."),
    _gauge(
        "xenioo_conversation_length",
        "Conversation length (type 8)",
        "channel",
        _RAW,
        needs=_NO_UNITS,
    ),
    _gauge("xenioo_time_to_pick_up", "Time to pick up (type 9)", "channel", _RAW, needs=_NO_UNITS),
    _gauge("xenioo_takeover_rate", "Takeover rate (type 10)", "channel", _RAW, needs=_NO_UNITS),
    _gauge(
        "xenioo_support_conversation_length",
        "With people (type 11)",
        "channel",
        _RAW,
        needs=_NO_UNITS,
    ),
    _gauge(
        "xenioo_time_to_first_message",
        "Time to first message (type 16)",
        "channel",
        _RAW,
        needs=_NO_UNITS,
    ),
)

_EVENT_MAP = "an event that `{}` maps to this metric"
_MAPPED = (
    *("handovers_total", "fallbacks_total", "nlp_matches_total"),
    *("nlp_misses_total", "goals_reached_total", "feedback_total"),
    *("messages_sent_total", "operator_messages_sent_total", "interactions_total"),
    *("new_users_total", "sessions_ended_total", "searches_total"),
    *("flow_triggers_total", "outbound_api_requests_total"),
    *("outbound_api_request_errors_total", "function_calls_total"),
    *("function_call_errors_total", "integration_calls_total"),
    *("integration_call_errors_total", "llm_calls_total", "llm_tokens_total"),
)
_INKEEP = ("handovers_total", "feedback_total", "messages_sent_total", "searches_total")

PROVIDERS: dict[str, tuple[str, tuple[QueryRow, ...]]] = {
    "voiceflow": (
        "Voiceflow",
        (
            QueryRow("interactions", "Interactions", ("interactions_total",)),
            QueryRow("unique_users", "Users", ("active_users",)),
            QueryRow("credit_usage", "Credits", ("voiceflow_credit_usage_total",), "queries"),
            QueryRow(
                "function_usage",
                "Functions",
                ("function_calls_total", "function_call_errors_total", "function_info"),
                "queries",
            ),
            QueryRow(
                "api_calls",
                "Outbound API requests",
                ("outbound_api_requests_total", "outbound_api_request_errors_total"),
                "queries",
            ),
            QueryRow("kb_documents", "Knowledge base", ("knowledge_base_hits_total",), "queries"),
            QueryRow(
                "integrations",
                "Integrations",
                ("integration_calls_total", "integration_call_errors_total"),
                "queries",
            ),
            QueryRow("top_intents", "Intents", ("top_intent_matches",), "queries"),
        ),
    ),
    "inkeep": (
        "Inkeep",
        (
            QueryRow(
                "events",
                "Messages and events",
                (
                    "messages_received_total",
                    "messages_sent_total",
                    "searches_total",
                    "events_total",
                ),
            ),
            QueryRow(
                "conversations",
                "Conversations",
                ("conversations_started_total", "inkeep_conversation_user_messages_total"),
            ),
            QueryRow("feedback", "Feedback", ("feedback_total",)),
            QueryRow("escalations", "Handovers", ("handovers_total", "inkeep_escalations_total")),
            QueryRow(
                "active_users",
                "Users and conversations",
                ("active_users", "active_conversations"),
                needs="",
            ),
            QueryRow(
                "events",
                "Events that count as other metrics",
                (
                    *(each for each in _MAPPED if each not in _INKEEP),
                    "knowledge_base_hits_total",
                ),
                "event_map",
                _EVENT_MAP.format("event_map"),
            ),
        ),
    ),
    "flowxo": (
        "Flow XO",
        (
            QueryRow(
                "hourly",
                "Messages, flows and users",
                (
                    *("messages_received_total", "messages_sent_total", "flow_triggers_total"),
                    *("new_users_total", "active_users", "known_users"),
                ),
            ),
            QueryRow("top_flows", "Most used flows", ("flowxo_top_flow_triggers",), "top_flows"),
        ),
    ),
    "xenioo": (
        "Xenioo",
        (
            QueryRow(
                "statistics",
                "Messages, users and outcomes",
                (
                    *("messages_received_total", "operator_messages_sent_total"),
                    *("xenioo_messages_total", "xenioo_action_messages_total"),
                    *("new_users_total", "active_users", "returning_users", "fallbacks_total"),
                    *("nlp_matches_total", "nlp_misses_total", "goals_reached_total"),
                    *("outbound_api_requests_total", "outbound_api_request_errors_total"),
                ),
            ),
            QueryRow(
                "statistics",
                "Messages of type 3 as messages sent",
                ("messages_sent_total",),
                "messages_are_sent",
                "the setting `messages_are_sent`",
            ),
            QueryRow(
                "statistics",
                "Averages, in the unit of the API",
                (
                    *("xenioo_conversation_length", "xenioo_time_to_pick_up"),
                    *("xenioo_takeover_rate", "xenioo_support_conversation_length"),
                    "xenioo_time_to_first_message",
                ),
            ),
            QueryRow(
                "statistics",
                "Averages, in a known unit",
                (
                    *("conversation_duration_average_seconds", "time_to_pick_up_average_seconds"),
                    *("takeover_ratio", "support_conversation_duration_average_seconds"),
                    "time_to_first_message_average_seconds",
                ),
                "units",
            ),
        ),
    ),
    "chatlayer": (
        "Chatlayer",
        (
            QueryRow("events", "Events", ("events_total", "active_conversations")),
            QueryRow("conversations", "Conversations", ("conversations_started_total",)),
            QueryRow(
                "messages", "Messages", ("messages_received_total", "chatlayer_messages_total")
            ),
            QueryRow("users", "Users", ("active_users", "chatlayer_users")),
            QueryRow(
                "knowledge_base", "Knowledge base", ("knowledge_base_hits_total",), "collectors"
            ),
            QueryRow(
                "definitions", "Event definitions", ("chatlayer_event_volume_30d",), "collectors"
            ),
            QueryRow(
                "team_conversations",
                "Campaigns",
                ("chatlayer_campaign_conversations_total",),
                "collectors",
            ),
            QueryRow(
                "events",
                "Events that count as other metrics",
                _MAPPED,
                "events.event_map",
                _EVENT_MAP.format("events.event_map"),
            ),
        ),
    ),
}
"""By the provider's name in the settings: its own name, and its rows in order."""

NOT_SHOWN: dict[str, str] = {
    "chatbot_flowxo_top_message_uses": "text from users: off by default, not for a public screen",
    "chatbot_period_*": "newest settled period of a counter that is shown; used by the rules",
    "chatbot_engagement_holiday": "shown as an annotation",
}
"""Families of the catalogue that no board shows, and why; ``*`` matches any ending."""


def metric_panels(row: QueryRow) -> list[MetricPanel]:
    """Return the panels of a row in order."""
    by_family = {panel.family: panel for panel in ALL_METRICS}
    found = [by_family["chatbot_" + name] for name in row.families]
    return found if row.needs is None else [replace(panel, needs=row.needs) for panel in found]


WITH_BOARD = (*PROVIDERS, *loader.shipped())
"""The providers that have a board of their own; bots of a user's manifests are on the overview."""

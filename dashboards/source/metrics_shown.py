"""Which figures each provider has, and how a provider's board shows each of them."""

from dataclasses import dataclass
from enum import Enum


class Look(Enum):
    """How a figure is drawn."""

    COUNTER = "counter"  # increase per hour, or per day when zoomed out
    GAUGE = "gauge"  # as it is
    TOP = "top"  # the greatest ten, now
    NAMES = "names"  # a table of labels


@dataclass(frozen=True, slots=True)
class Figure:
    """One family on a board: ``by`` is the label drawn apart, ``note`` what to beware of."""

    family: str
    title: str
    by: str = ""
    note: str = ""
    look: Look = Look.COUNTER
    unit: str = "short"


def _counter(family: str, title: str, by: str = "", note: str = "") -> Figure:
    return Figure(f"chatbot_{family}_total", title, by, note)


def _gauge(family: str, title: str, by: str, note: str, unit: str = "short") -> Figure:
    return Figure(f"chatbot_{family}", title, by, note, Look.GAUGE, unit)


_NEVER_ADD = "People are counted once in each window: never add windows, channels or bots."
_SECONDS = "There only when the target's `units` say what the API's number means."
_RAW = "In the unit that the API returns; `units` in the settings turns it into a known one."

ALL_FIGURES: tuple[Figure, ...] = (
    _counter("messages_received", "Messages received", "channel"),
    _counter("messages_sent", "Messages sent", "channel", "What the bot wrote; people are apart."),
    _counter("operator_messages_sent", "Messages by people", "channel"),
    _counter("interactions", "Interactions", "interaction_type", "A turn as the vendor counts it."),
    _counter(
        "conversations_started",
        "Conversations started",
        "channel",
        "Counted in the hour of the start; the vendor decides when a conversation has ended.",
    ),
    _counter("new_users", "New users", "channel", "First contacts."),
    _counter("flow_triggers", "Flow triggers"),
    _counter("fallbacks", "Fallback replies", "channel", "Replies, not misunderstandings."),
    _counter("nlp_matches", "Inputs matched", "channel"),
    _counter("nlp_misses", "Inputs not matched", "channel"),
    _counter("handovers", "Handovers", "channel", "Events, not conversations."),
    _counter("goals_reached", "Goals reached", "goal"),
    _counter("feedback", "Feedback", "rating", "Below 20 ratings a share is noise."),
    _counter("events", "Events", "event", "Names beyond the allow list are `other`."),
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
    _gauge("known_users", "Known users", "", "A level; it may fall when people are deleted."),
    _gauge("active_conversations", "Active conversations", "window", _NEVER_ADD),
    Figure(
        "chatbot_top_intent_matches",
        "Most used intents",
        "intent",
        "The ten greatest now; which ones they are changes.",
        Look.TOP,
    ),
    Figure("chatbot_function_info", "Functions", "", "Which name a function's id has.", Look.NAMES),
    _gauge(
        "conversation_duration_average_seconds", "Conversation duration", "channel", _SECONDS, "s"
    ),
    _gauge(
        "support_conversation_duration_average_seconds",
        "Conversation duration with people",
        "channel",
        _SECONDS,
        "s",
    ),
    _gauge("time_to_pick_up_average_seconds", "Time to pick up", "channel", _SECONDS, "s"),
    _gauge(
        "time_to_first_message_average_seconds", "Time to first message", "channel", _SECONDS, "s"
    ),
    _gauge("takeover_ratio", "Taken over by people", "channel", _SECONDS, "percentunit"),
    _counter(
        "voiceflow_credit_usage", "Credit usage", "usage_type", "In the unit that the API returns."
    ),
    _counter(
        "inkeep_escalations", "Escalations by kind", "kind", "Includes `downvote`, no handover."
    ),
    _counter(
        "inkeep_conversation_user_messages",
        "User messages by start of conversation",
        "channel",
        "An hour may still grow after it has closed.",
    ),
    _counter("chatlayer_messages", "Messages by kind", "kind", "Kinds are the API's own."),
    _gauge("chatlayer_users", "Users by kind", "kind", "Kinds are the API's own. " + _NEVER_ADD),
    _counter("chatlayer_campaign_conversations", "Conversations by campaign", "campaign"),
    Figure(
        "chatbot_chatlayer_event_volume_30d",
        "Event volume, 30 days",
        "event",
        "As the definitions list says: a check on Events.",
        Look.TOP,
    ),
    Figure(
        "chatbot_flowxo_top_flow_triggers",
        "Most used flows",
        "flow",
        "The greatest now; of the account, not of one bot.",
        Look.TOP,
    ),
    _counter("xenioo_messages", "Messages (type 3)", "channel", "Direction undocumented."),
    _counter("xenioo_action_messages", "Action messages (type 4)", "channel", "Undocumented."),
    _gauge("xenioo_conversation_length", "Conversation length (type 8)", "channel", _RAW),
    _gauge("xenioo_time_to_pick_up", "Time to pick up (type 9)", "channel", _RAW),
    _gauge("xenioo_takeover_rate", "Takeover rate (type 10)", "channel", _RAW),
    _gauge("xenioo_support_conversation_length", "With people (type 11)", "channel", _RAW),
    _gauge("xenioo_time_to_first_message", "Time to first message (type 16)", "channel", _RAW),
)

PROVIDERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "voiceflow": (
        "Voiceflow",
        (
            *("interactions_total", "active_users", "top_intent_matches", "function_calls_total"),
            *("function_call_errors_total", "function_info", "outbound_api_requests_total"),
            *("outbound_api_request_errors_total", "knowledge_base_hits_total"),
            *("integration_calls_total", "integration_call_errors_total"),
            "voiceflow_credit_usage_total",
        ),
    ),
    "inkeep": (
        "Inkeep",
        (
            *("messages_received_total", "messages_sent_total", "conversations_started_total"),
            *("active_users", "handovers_total", "feedback_total"),
            *("searches_total", "events_total", "inkeep_escalations_total"),
            "inkeep_conversation_user_messages_total",
        ),
    ),
    "flowxo": (
        "Flow XO",
        (
            *("messages_received_total", "messages_sent_total", "new_users_total"),
            *("active_users", "known_users", "flow_triggers_total", "flowxo_top_flow_triggers"),
        ),
    ),
    "xenioo": (
        "Xenioo",
        (
            *("messages_received_total", "operator_messages_sent_total"),
            *("new_users_total", "active_users", "returning_users", "fallbacks_total"),
            *("nlp_matches_total", "nlp_misses_total", "goals_reached_total"),
            *("outbound_api_requests_total", "outbound_api_request_errors_total"),
            *("conversation_duration_average_seconds", "takeover_ratio"),
            *("support_conversation_duration_average_seconds", "time_to_pick_up_average_seconds"),
            *("time_to_first_message_average_seconds", "xenioo_messages_total"),
            *("xenioo_action_messages_total", "xenioo_conversation_length"),
            *("xenioo_time_to_pick_up", "xenioo_takeover_rate"),
            *("xenioo_support_conversation_length", "xenioo_time_to_first_message"),
        ),
    ),
    "chatlayer": (
        "Chatlayer",
        (
            *("messages_received_total", "messages_sent_total", "operator_messages_sent_total"),
            *("conversations_started_total", "active_users", "active_conversations"),
            *("handovers_total", "fallbacks_total", "nlp_matches_total", "nlp_misses_total"),
            *("goals_reached_total", "feedback_total", "events_total"),
            *("outbound_api_requests_total", "outbound_api_request_errors_total"),
            *("knowledge_base_hits_total", "chatlayer_messages_total", "chatlayer_users"),
            *("chatlayer_campaign_conversations_total", "chatlayer_event_volume_30d"),
            *("interactions_total", "new_users_total", "sessions_ended_total", "searches_total"),
            *("flow_triggers_total", "function_calls_total", "function_call_errors_total"),
            *("integration_calls_total", "integration_call_errors_total"),
            *("llm_calls_total", "llm_tokens_total"),
        ),
    ),
}
"""Provider's name in the settings to its own name and the families that it feeds, in order."""

NOT_SHOWN: dict[str, str] = {
    "chatbot_flowxo_top_message_uses": "what users wrote: off by default, and not for a wall",
    "chatbot_period_*": "newest settled period of a counter that is shown; the rules read it",
}
"""Families of the catalogue on no board, and why; ``*`` stands for any ending."""


def figures(provider: str) -> list[Figure]:
    """Return the figures of a provider, in the board's order."""
    by_family = {figure.family: figure for figure in ALL_FIGURES}
    return [by_family["chatbot_" + name] for name in PROVIDERS[provider][1]]

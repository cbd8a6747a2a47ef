"""The normalised families, which several providers feed, and what their numbers mean."""

from exporter.model.samples import BASE, Family, MetricType


def counter(
    name: str,
    cap: int,
    help_: str,
    *labels: str,
    meaning: str = "",
    aggregated: tuple[str, ...] = (),
    per_unit: int = 1,
) -> Family:
    """Return a counter with the base labels and ``labels``; it also has a period gauge."""
    return Family(
        name,
        MetricType.COUNTER,
        help_,
        BASE + labels,
        cap,
        meaning,
        period=True,
        aggregated=aggregated,
        per_unit=per_unit,
    )


def gauge(name: str, cap: int, help_: str, *labels: str, meaning: str = "") -> Family:
    """Return a gauge with the base labels and ``labels``."""
    return Family(name, MetricType.GAUGE, help_, BASE + labels, cap, meaning)


MESSAGES_RECEIVED = counter(
    "chatbot_messages_received_total",
    60,
    "Messages received from end users, from the provider's bucketed counts or Chatlayer stream.",
    "channel",
    meaning="One unit per inbound end-user message, button press or upload, as the provider counts it",
)
MESSAGES_SENT = counter(
    "chatbot_messages_sent_total",
    60,
    "Messages sent by the bot to end users, from the provider's bucketed counts or Chatlayer stream.",
    "channel",
    meaning="Bot-authored outbound messages; humans excluded",
)
OPERATOR_MESSAGES_SENT = counter(
    "chatbot_operator_messages_sent_total",
    60,
    "Messages sent to end users by human operators.",
    "channel",
    meaning="Human-authored outbound messages",
)
INTERACTIONS = counter(
    "chatbot_interactions_total",
    40,
    "Interactions (turns or requests) handled by the bot platform.",
    "interaction_type",
    aggregated=("interaction_type",),
    meaning="A platform-defined turn; not comparable across providers",
)
CONVERSATIONS_STARTED = counter(
    "chatbot_conversations_started_total",
    60,
    "Conversations or sessions started.",
    "channel",
    meaning="Counted once, in the bucket of its start; session timeout is provider-defined",
)
SESSIONS_ENDED = counter(
    "chatbot_sessions_ended_total",
    20,
    "Sessions ended, by outcome.",
    "outcome",
    meaning="outcome = resolved, escalated, abandoned, unengaged",
)
NEW_USERS = counter(
    "chatbot_new_users_total",
    60,
    "Users seen by the bot for the first time.",
    "channel",
    meaning="First contacts. Adds over time; adding over projects counts a person once per bot",
)
FLOW_TRIGGERS = counter(
    "chatbot_flow_triggers_total",
    20,
    "Flow or workflow executions triggered.",
    meaning="Automation runs",
)
FALLBACKS = counter(
    "chatbot_fallbacks_total",
    60,
    "Fallback replies sent because the bot did not understand the user.",
    "channel",
    meaning="Counts the reply, not the misunderstanding",
)
NLP_MATCHES = counter(
    "chatbot_nlp_matches_total",
    60,
    "User inputs the NLP engine matched to an intent.",
    "channel",
    meaning="NLP detected",
)
NLP_MISSES = counter(
    "chatbot_nlp_misses_total",
    60,
    "User inputs the NLP engine failed to match.",
    "channel",
    meaning="NLP missed (no-match)",
)
HANDOVERS = counter(
    "chatbot_handovers_total",
    60,
    "Conversations handed over to a human, or requests for one.",
    "channel",
    meaning="Once per handover event, not per conversation",
)
GOALS_REACHED = counter(
    "chatbot_goals_reached_total",
    100,
    "Goals reached by users.",
    "channel",
    "goal",
    meaning="Business goal completions; goal only when the source names it",
)
FEEDBACK = counter(
    "chatbot_feedback_total",
    60,
    "User feedback events, by rating.",
    "channel",
    "rating",
    meaning="rating = positive, negative, neutral",
)
EVENTS = counter(
    "chatbot_events_total",
    300,
    "Events in the provider's event store, by allowlisted event name.",
    "channel",
    "event",
    meaning="Distinct event ids (Chatlayer) or aggregate counts (Inkeep); names that events.allow (Chatlayer) leaves out count as event=other",
)
OUTBOUND_API_REQUESTS = counter(
    "chatbot_outbound_api_requests_total",
    100,
    "Requests the bot made to external APIs.",
    "channel",
    "tool",
    meaning="Calls from flows to integrations; tool empty where the provider names none",
)
OUTBOUND_API_REQUEST_ERRORS = counter(
    "chatbot_outbound_api_request_errors_total",
    100,
    "Failed requests the bot made to external APIs.",
    "channel",
    "tool",
    meaning="Part of chatbot_outbound_api_requests_total",
)
FUNCTION_CALLS = counter(
    "chatbot_function_calls_total",
    100,
    "Calls of functions by the bot.",
    "function",
    meaning="function is the id; the name is in chatbot_function_info",
)
FUNCTION_CALL_ERRORS = counter(
    "chatbot_function_call_errors_total",
    100,
    "Failed calls of functions by the bot.",
    "function",
    meaning="Part of chatbot_function_calls_total",
)
INTEGRATION_CALLS = counter(
    "chatbot_integration_calls_total",
    60,
    "Uses of built-in integrations by the bot.",
    "integration",
)
INTEGRATION_CALL_ERRORS = counter(
    "chatbot_integration_call_errors_total",
    60,
    "Failed uses of built-in integrations by the bot.",
    "integration",
    meaning="Part of chatbot_integration_calls_total",
)
KNOWLEDGE_BASE_HITS = counter(
    "chatbot_knowledge_base_hits_total",
    60,
    "Knowledge-base documents used in answers.",
    "document",
    meaning="document is an id, capped, the rest in other",
)
SEARCHES = counter("chatbot_searches_total", 60, "Searches submitted by end users.", "channel")
LLM_CALLS = counter(
    "chatbot_llm_calls_total",
    30,
    "Language-model calls made by the bot.",
    "model",
    meaning="One request to a model, as the provider counts it",
)
LLM_TOKENS = counter(
    "chatbot_llm_tokens_total",
    60,
    "Language-model tokens used by the bot.",
    "model",
    "token_type",
    meaning="token_type = input, output as in OTel gen_ai.token.type, and cached kinds; disjoint",
)
LLM_COST = counter(
    "chatbot_llm_cost_usd_total",
    60,
    "Cost of language-model calls as the provider bills it.",
    "model",
    meaning="US dollars, exact to a millionth",
    per_unit=1_000_000,
)
ACTIVE_USERS = gauge(
    "chatbot_active_users",
    120,
    "Distinct users active in the window, by the provider's definition or a distinct-count sketch.",
    "channel",
    "window",
    meaning="Never add over any label",
)
RETURNING_USERS = gauge(
    "chatbot_returning_users",
    120,
    "Distinct users active in the window who were already known before it.",
    "channel",
    "window",
    meaning="Never add",
)
KNOWN_USERS = gauge(
    "chatbot_known_users",
    20,
    "Users known to the bot at the end of the last complete bucket.",
    meaning="A level, may fall after deletions",
)
ACTIVE_CONVERSATIONS = gauge(
    "chatbot_active_conversations",
    120,
    "Distinct conversations with activity in the window.",
    "channel",
    "window",
    meaning="Never add over windows",
)
TOP_INTENT_MATCHES = gauge(
    "chatbot_top_intent_matches",
    30,
    "Matches of the most used intents in the window (top N).",
    "intent",
    "window",
    meaning="Rank set changes; do not use rate()",
)
FUNCTION_INFO = gauge(
    "chatbot_function_info",
    100,
    "Latest name of a function; value is always 1.",
    "function",
    "name",
    meaning="join on function",
)
CONVERSATION_DURATION_AVERAGE_SECONDS = gauge(
    "chatbot_conversation_duration_average_seconds",
    60,
    "Average conversation duration in the last settled period.",
    "channel",
    "period",
    meaning="Only exported when the unit is configured",
)
SUPPORT_CONVERSATION_DURATION_AVERAGE_SECONDS = gauge(
    "chatbot_support_conversation_duration_average_seconds",
    60,
    "Average human-assisted conversation duration in the last settled period.",
    "channel",
    "period",
)
TIME_TO_PICK_UP_AVERAGE_SECONDS = gauge(
    "chatbot_time_to_pick_up_average_seconds",
    60,
    "Average time until an operator picked up a conversation in the last settled period.",
    "channel",
    "period",
)
TIME_TO_FIRST_MESSAGE_AVERAGE_SECONDS = gauge(
    "chatbot_time_to_first_message_average_seconds",
    60,
    "Average time to the first message in the last settled period.",
    "channel",
    "period",
)
TAKEOVER_RATIO = gauge(
    "chatbot_takeover_ratio",
    60,
    "Share of conversations taken over by a human in the last settled period, from 0 to 1.",
    "channel",
    "period",
)

NORMALISED: dict[str, Family] = {
    each.name: each for each in list(globals().values()) if isinstance(each, Family)
}
"""Every family above, by name."""

ENGAGEMENT = (
    gauge(
        "chatbot_engagement",
        300,
        "Engagement (messages received, else interactions, else conversations started) in the "
        "newest settled window.",
        "window",
        meaning="Absent while data is late, while an hour of the window is not known, and in the "
        "first week. Windows overlap: never add them",
    ),
    gauge(
        "chatbot_engagement_expected",
        300,
        "Engagement that the same hours usually hold.",
        "window",
        meaning="Learnt from up to five weeks of settled hours",
    ),
    gauge(
        "chatbot_engagement_deviation",
        300,
        "Usual distance between engagement and its expectation, one standard deviation.",
        "window",
        meaning="Chance included; draw the band as expected ± 3 times this",
    ),
    gauge(
        "chatbot_engagement_score",
        300,
        "Distance of engagement from its expectation in usual deviations; negative is below.",
        "window",
        meaning="After a transform that gives small and large numbers the same spread",
    ),
)
"""The gauges of a bot's engagement, by window."""

HISTORY_WEEKS = gauge(
    "chatbot_engagement_history_weeks", 50, "Weeks of history behind the expectation."
)
HOLIDAY = gauge(
    "chatbot_engagement_holiday",
    50,
    "1 while the newest settled hour lies on a configured holiday.",
    meaning="Only for targets with holidays; 0 on other days",
)

PERIOD_END = Family(
    "chatbot_period_end_timestamp_seconds",
    MetricType.GAUGE,
    "End of the period the chatbot_period_* and windowed gauges describe, as a Unix timestamp.",
    ("provider", "target", "query", "period"),
    20,
    "Join key for freshness",
)

"""What is special about each API that a shipped manifest reads: the cases of the suites."""

from collections.abc import Mapping
from typing import Any

from exporter.errors import SchemaError, Truncated
from exporter.simulator.conversations import Kind
from tests.providers.compliance import Case

Counts = Mapping[str, tuple[Kind, Mapping[str, Any]]]
FIELDS = "the labels of every series come from the answer"
LLM: Counts = {
    "chatbot_llm_tokens_total": (Kind.TOKENS, {}),
    "chatbot_llm_cost_usd_total": (Kind.LLM_COST, {}),
}


def lost(*queries: str) -> dict[tuple[str, str], type[Truncated]]:
    """Return what becomes of cursors that lead nowhere."""
    modes = ("repeated_cursor", "missing_cursor")
    return {(query, mode): Truncated for query in queries for mode in modes}


MONEY_API = {**lost("usage", "costs"), ("costs", "other_currency"): SchemaError}
CASES = {
    case.kind: case
    for case in (
        Case(
            kind="openai",
            requests=r"GET /v1/organization/(usage/completions|costs)",
            counts={**LLM, "chatbot_llm_calls_total": (Kind.LLM_CALL, {})},
            quirks=frozenset({"sparse"}),
            own_faults=MONEY_API,
            reasons={"known series": FIELDS},
        ),
        Case(
            kind="anthropic",
            requests=r"GET /v1/organizations/(usage_report/messages|cost_report)",
            counts={**LLM, "chatbot_integration_calls_total": (Kind.SEARCH, {})},
            quirks=frozenset({"strict_end"}),
            own_faults=MONEY_API,
            reasons={"known series": FIELDS},
        ),
        Case(
            kind="chatwoot",
            requests=r"GET /api/v2/accounts/7/reports",
            counts={
                "chatbot_conversations_started_total": (Kind.CONVERSATION_STARTED, {}),
                "chatbot_messages_received_total": (Kind.MESSAGE_RECEIVED, {}),
                "chatbot_messages_sent_total": (Kind.MESSAGE_SENT, {}),
                "chatbot_custom_chatwoot_resolutions_total": (Kind.FEEDBACK, {}),
                "chatbot_custom_chatwoot_bot_resolutions_total": (Kind.GOAL, {}),
                "chatbot_handovers_total": (Kind.HANDOVER, {}),
            },
            quirks=frozenset({"string_values"}),
            own_faults={
                ("reports", "missing_bucket"): Truncated,
                ("reports", "renamed_field"): SchemaError,
            },
        ),
        Case(
            kind="botpress",
            requests=r"GET /v1/admin/bots/bot-1/analytics",
            settings={"queries": ["analytics"]},
            counts={
                **LLM,
                "chatbot_llm_calls_total": (Kind.LLM_CALL, {}),
                "chatbot_conversations_started_total": (Kind.CONVERSATION_STARTED, {}),
                "chatbot_messages_received_total": (Kind.MESSAGE_RECEIVED, {}),
                "chatbot_messages_sent_total": (Kind.MESSAGE_SENT, {}),
                "chatbot_new_users_total": (Kind.NEW_USER, {}),
            },
            quirks=frozenset({"split_records", "ends_now"}),
            own_faults={
                ("analytics", mode): SchemaError for mode in ("gap", "overlap", "duplicate_row")
            },
        ),
        Case(
            kind="intercom",
            requests=r"POST /conversations/search",
            counts={
                "chatbot_conversations_started_total": (
                    Kind.CONVERSATION_STARTED,
                    {"environment": "main"},
                )
            },
            unchecked=frozenset(
                {
                    "chatbot_custom_intercom_ai_conversations_total",
                    "chatbot_handovers_total",
                    "chatbot_feedback_total",
                }
            ),
            quirks=frozenset({"late_outcomes"}),
            own_faults={
                ("conversations", "repeated_cursor"): Truncated,
                ("conversations", "fewer_than_total"): Truncated,
                ("conversations", "renamed_field"): SchemaError,  # the time
            },
            reasons={"known series": FIELDS},
        ),
        Case(
            kind="elevenlabs",
            requests=r"GET /v1/convai/conversations",
            counts={"chatbot_conversations_started_total": (Kind.CONVERSATION_STARTED, {})},
            unchecked=frozenset(
                {
                    "chatbot_custom_elevenlabs_calls_total",
                    "chatbot_custom_elevenlabs_messages_total",
                    "chatbot_custom_elevenlabs_call_duration_seconds_total",
                    "chatbot_feedback_total",
                }
            ),
            own_faults=lost("conversations"),
            reasons={"known series": FIELDS, "quirks": "need many calls: see test_simulated_traps"},
        ),
    )
}

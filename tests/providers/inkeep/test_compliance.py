"""Inkeep keeps to what every provider keeps to."""

from exporter.errors import SchemaError
from exporter.simulator.conversations import Kind
from tests.providers.compliance import Case, Compliance


class TestInkeep(Compliance):
    case = Case(
        kind="inkeep",
        requests="POST /query/(events|conversations|feedback)",
        counts={
            "chatbot_messages_received_total": (Kind.MESSAGE_RECEIVED, {}),
            "chatbot_messages_sent_total": (Kind.MESSAGE_SENT, {}),
            "chatbot_searches_total": (Kind.SEARCH, {}),
            "chatbot_conversations_started_total": (Kind.CONVERSATION_STARTED, {}),
            "chatbot_feedback_total": (Kind.FEEDBACK, {}),
            "chatbot_handovers_total": (Kind.HANDOVER, {}),
        },
        unchecked=frozenset(
            {
                "chatbot_events_total",
                "chatbot_inkeep_escalations_total",
                "chatbot_inkeep_conversation_user_messages_total",
            }
        ),
        errors={("active_users", "refused"): None},  # a server that counts nothing distinct
        quirks=frozenset(
            {"numbers_as_strings", "iso_buckets", "swapped_types", "no_count_distinct"}
        ),
        own_faults={("events", "renamed_field"): SchemaError},
    )

"""Voiceflow keeps to what every provider keeps to."""

from exporter.errors import SchemaFault, Truncated
from exporter.simulator.conversations import Kind
from tests.providers.compliance import Case, Compliance


class TestVoiceflow(Compliance):
    case = Case(
        kind="voiceflow",
        requests="POST /v2/query/usage",
        counts={
            "chatbot_interactions_total": (Kind.INTERACTION, {}),
            "chatbot_voiceflow_credit_usage_total": (Kind.TOKENS, {}),
            "chatbot_function_calls_total": (Kind.FUNCTION_CALL, {}),
            "chatbot_function_call_errors_total": (Kind.FUNCTION_CALL, {"ok": "false"}),
            "chatbot_outbound_api_requests_total": (Kind.API_CALL, {}),
            "chatbot_outbound_api_request_errors_total": (Kind.API_CALL, {"ok": "false"}),
            "chatbot_integration_calls_total": (Kind.INTEGRATION_CALL, {}),
            "chatbot_integration_call_errors_total": (Kind.INTEGRATION_CALL, {"ok": "false"}),
            "chatbot_knowledge_base_hits_total": (Kind.KB_HIT, {}),
        },
        quirks=frozenset(
            {
                "inclusive_end",
                "period_without_fraction",
                "period_without_seconds",
                "end_without_cursor",
                "end_with_cursor",
                "zero_cursor",
            }
        ),
        own_faults={
            ("interactions", "repeated_cursor"): Truncated,
            ("interactions", "renamed_field"): SchemaFault,
        },
    )

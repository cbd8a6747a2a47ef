"""Voiceflow keeps to what every provider keeps to."""

from dataclasses import replace

from exporter.errors import SchemaError
from exporter.model.samples import HOUR_MS, Window
from exporter.simulator.conversations import Kind
from tests.providers.compliance import WINDOW, Bench, Case, Compliance


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
                *("inclusive_end", "period_without_fraction", "period_without_seconds"),
                *("end_without_cursor", "end_with_cursor", "zero_cursor", "repeated_cursor"),
            }
        ),
        own_faults={
            ("interactions", "renamed_field"): SchemaError,
        },
        reasons={"known series": "only rows say which label values there are"},
    )


def test_many_pages_out_of_order_equal_what_happened() -> None:
    settings = {"queries": ["kb_documents"], "environments": ["main"]}
    long = Window(WINDOW.end_ms - 90 * HOUR_MS, WINDOW.end_ms)
    bench = Bench(replace(TestVoiceflow.case, settings=settings), window=long, per_hour=40)

    counted = bench.count()

    family = "chatbot_knowledge_base_hits_total"
    expected = bench.truth(family, environment="main")
    assert {at_ms: value for (_, at_ms), value in counted.items()} == expected
    assert len([seen for seen in bench.service.requests if seen.rows]) > 1

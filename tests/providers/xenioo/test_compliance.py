"""Xenioo keeps to what every provider keeps to."""

from collections import Counter
from dataclasses import replace

from exporter.errors import SchemaError, Unauthorized
from exporter.simulator.conversations import Kind
from tests.providers.compliance import Bench, Case, Compliance, hours


class TestXenioo(Compliance):
    case = Case(
        kind="xenioo",
        requests=(
            r"POST /authorization/integration"
            r"|GET /analytics/statistics/account/\*/[0-9,]+/(hour|day)/[0-9]+"
        ),
        counts={
            "chatbot_new_users_total": (Kind.NEW_USER, {}),
            "chatbot_xenioo_action_messages_total": (Kind.FLOW_TRIGGER, {}),
            "chatbot_fallbacks_total": (Kind.FALLBACK, {}),
            "chatbot_nlp_matches_total": (Kind.NLP_MATCH, {}),
            "chatbot_nlp_misses_total": (Kind.NLP_MISS, {}),
            "chatbot_goals_reached_total": (Kind.GOAL, {}),
            "chatbot_messages_received_total": (Kind.MESSAGE_RECEIVED, {}),
            "chatbot_outbound_api_requests_total": (Kind.API_CALL, {}),
            "chatbot_outbound_api_request_errors_total": (Kind.API_CALL, {"ok": "false"}),
            "chatbot_operator_messages_sent_total": (Kind.OPERATOR_MESSAGE_SENT, {}),
        },
        unchecked=frozenset({"chatbot_xenioo_messages_total"}),
        errors={"renamed_field": SchemaError},
        quirks=frozenset(
            {
                *("token_v1", "token_expire", "zero_filled", "same_names", "lower_keys"),
                *("codes_as_events", "shouted_events", "rolling_days"),
            }
        ),
        own_faults={
            ("statistics", "second_number"): SchemaError,
            ("statistics", "free_account"): Unauthorized,
            ("statistics", "revoked"): Unauthorized,
        },
        reasons={"known series": "only rows say which label values there are"},
    )

    def test_a_complete_read_equals_what_happened(self) -> None:
        bench = Bench(self.case)
        bench.service.faults.on("zero_filled")  # so that what never happened is told, too

        counted = bench.count()

        assert {family for family, _ in counted} == self.case.counts.keys() | self.case.unchecked
        for family in self.case.counts:
            assert hours(counted, family) == bench.truth(family), family

    def test_messages_count_as_sent_if_the_settings_say_so(self) -> None:
        sent = "chatbot_messages_sent_total"
        bench = Bench(replace(self.case, settings={"messages_are_sent": True}))
        span = (bench.window.start_ms, bench.window.end_ms)
        happened: Counter[int] = Counter()
        for kind in (Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT, Kind.OPERATOR_MESSAGE_SENT):
            for (hour_ms, *_), number in bench.service.traffic.hourly(
                kind, span, bench.clock.now_ms()
            ).items():
                happened[hour_ms] += number

        counted = bench.count()

        assert hours(counted, sent) == hours(counted, "chatbot_xenioo_messages_total") == happened
        assert hours(counted, sent)

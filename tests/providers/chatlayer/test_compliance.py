"""Chatlayer against the suite that every provider passes."""

from typing import ClassVar

from exporter.model.query import PollRequest
from exporter.model.samples import Window
from exporter.providers.base.plugin import Query
from exporter.simulator.conversations import Kind as Happening
from tests.providers.compliance import Case, Compliance
from tests.support.fault_matrix import Errors


def question(query: Query, window: Window, now_ms: int) -> PollRequest:
    """Return the request of a stream as one that has stood at the window's start since its epoch."""
    if not query.spec.stream:
        return PollRequest(window, now_ms)
    return PollRequest(
        window,
        now_ms,
        first=False,
        epoch_ms=window.start_ms,
        watermark_ms=window.start_ms,
        memo={"swept_ms": now_ms},
    )


HARMLESS: Errors = {
    (query, fault): None
    for query in (
        *("events", "conversations", "messages", "users"),
        *("knowledge_base", "team_conversations"),
    )
    for fault in ("negative", "huge", "wrong_type")
}
"""These faults hit a number of the row, and no number of these rows is read."""


class TestChatlayer(Compliance):
    case: ClassVar[Case] = Case(
        kind="chatlayer",
        requests=r"GET /v1/(bots/b7x2k9|teams/t4q8w1)/[a-z_/]+",
        counts={
            "chatbot_handovers_total": (Happening.HANDOVER, {}),
            "chatbot_messages_received_total": (Happening.MESSAGE_RECEIVED, {}),
            "chatbot_conversations_started_total": (Happening.CONVERSATION_STARTED, {}),
            "chatbot_knowledge_base_hits_total": (Happening.KB_HIT, {}),
        },
        unchecked=frozenset(
            {
                "chatbot_events_total",
                "chatbot_chatlayer_messages_total",
                "chatbot_chatlayer_campaign_conversations_total",
            }
        ),
        streamed=frozenset({"chatbot_handovers_total"}),
        errors=HARMLESS,
        quirks=frozenset(
            {
                *("short_pages", "empty_page", "unfiltered_time", "looping_token"),
                *("varied_fractions", "omit_empty", "camel_case"),
                *("series_labels", "x_epoch", "x_missing"),
                *("numbers_as_text", "with_total", "one_series"),
            }
        ),
        reasons={
            "own_faults": "bad tokens need full pages: see test_stream.py",
        },
        quiet=0.4,
        question=question,
    )

"""The traps of analytics APIs that shipped manifests do not meet: what is counted is what happened.

``test_shipped`` has those that they do, ``test_traps`` the same of the language, answer by answer.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from exporter.errors import SchemaError, Truncated
from exporter.model.samples import Reading
from exporter.providers.manifest import loader
from exporter.providers.manifest.loader import LoadedManifest
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from tests.providers.compliance import WINDOW, Bench, hours
from tests.providers.manifest.cases import CASES

STARTED = "chatbot_conversations_started_total"
STATES = "chatbot_custom_intercom_ai_conversations_total"
NUMBER = "row.metrics[name={}].value"


def changed(kind: str, query: str, changes: Mapping[str, Any]) -> LoadedManifest:
    """Return a shipped manifest with one query, changed; a key may have dots, None takes it out."""
    manifest = yaml.safe_load(loader.find(kind, loader.SHIPPED).read_text("utf-8"))
    asked = manifest["queries"][query]
    for path, value in changes.items():
        *way, last = path.split(".")
        place = asked
        for name in way:
            place = place[name]
        place.pop(last, None)
        if value is not None:
            place[last] = value
    manifest["queries"] = {query: asked}
    return loader.loads(yaml.safe_dump(manifest, sort_keys=False).encode())


def bench(kind: str, query: str, /, per_hour: float = 3, **changes: Any) -> Bench:
    """Return a shipped query at its simulator; ``changes`` are those of the manifest."""
    settings = {"manifest": changed(kind, query, changes), "queries": [query]}
    return Bench(replace(CASES[kind], settings=settings), per_hour=per_hour)


def read(made: Bench) -> list[Reading]:
    return [reading for query in made.target.queries for reading in made.read(query)]


def by_label(readings: list[Reading], family: str, place: int) -> dict[str, int]:
    """Return the sums of a counter by one of its labels."""
    sums: Counter[str] = Counter()
    for reading in readings:
        for (name, labels), _, value in reading.counts:
            if name == family:
                sums[labels[place]] += int(value)
    return dict(+sums)


NAMED = {
    "parts": None,
    "count": {
        "chatbot_llm_calls_total": {"value": NUMBER.format("num_model_requests")},
        "chatbot_llm_tokens_total": {
            "value": " + ".join(NUMBER.format(f"{part}_tokens") for part in ("input", "output"))
        },
    },
}
KEYED = {
    "rows": ["{} as hour"],
    "at": "hour.@key|epoch_s",
    "count": {"each": {"value": "hour", "missing": "error"}},
}
JSON = {
    "request.params": {
        "filter": {"json": {"after": "window.start|epoch_s", "before": "window.end|epoch_s"}},
        "page_size": 100,
    }
}
CUT = {"pages": None, "complete": {"rows_below": 12}}

EQUAL: Mapping[str, tuple[str, str, str | None, Mapping[str, Any]]] = {
    "2 a map is keyed by time": ("chatwoot", "reports", "keyed_by_time", KEYED),
    "3 an element is chosen by name": ("openai", "usage", "named_numbers", NAMED),
    "4 JSON is in a parameter": ("elevenlabs", "conversations", "json_filter", JSON),
    "5 rows are cut off silently": ("elevenlabs", "conversations", "row_limit", CUT),
    "7 a limit counts buckets": ("openai", "usage", None, {"request.params.limit": 5}),
    "11 records shift while pages are read": (
        "elevenlabs",
        "conversations",
        "shifted_pages",
        {"request.params.page_size": 5},
    ),
}


@pytest.mark.parametrize("trap", EQUAL)
def test_what_is_counted_is_what_happened(trap: str) -> None:
    kind, query, mode, changes = EQUAL[trap]
    made, plain = bench(kind, query, **changes), bench(kind, query, **changes)
    if mode:
        made.service.faults.on(mode)
        plain.read_badly(plain.target.queries[0])

    counted = made.count()

    families = {family for family, _ in counted} & made.case.counts.keys()
    for family in families:
        assert hours(counted, family) == made.truth(family), family
    assert sum(sum(made.truth(family).values()) for family in families) > 5
    assert made.answers != plain.answers, f"{mode} does nothing"


@pytest.mark.parametrize("mode", [None, "strict_bounds"])
@pytest.mark.parametrize("kind", ["intercom", "elevenlabs"])
def test_6_a_record_at_a_bound_counts_once(kind: str, mode: str | None) -> None:
    traffic = Traffic()
    made = Bench(CASES[kind], traffic=traffic)
    for at_ms in (WINDOW.start_ms - 1, WINDOW.start_ms, WINDOW.end_ms - 1, WINDOW.end_ms):
        traffic.add(Kind.CONVERSATION_STARTED, at_ms, conversation=str(at_ms))
    if mode:
        made.service.faults.on(mode)

    assert sum(hours(made.count(), STARTED).values()) == 2
    assert sum(len(seen.rows) for seen in made.service.requests) == (3 if mode else 4)


def test_9_where_the_parts_are_missing_the_total_counts() -> None:
    made = bench("openai", "usage")
    made.service.faults.on("older_answer")

    counted = made.count()

    assert "input_uncached_tokens" not in made.service.requests[0].rows[0]
    for family in ("chatbot_llm_tokens_total", "chatbot_llm_calls_total"):
        assert hours(counted, family) == made.truth(family)


def test_10_null_is_the_default_workspace() -> None:
    made = bench("anthropic", "usage")

    tokens = by_label(read(made), "chatbot_llm_tokens_total", 0)

    truth = {
        name: sum(made.truth("chatbot_llm_tokens_total", environment=environment).values())
        for name, environment in (("default", "main"), ("wrkspc_2", "staging"))
    }
    assert tokens == truth


def test_11_what_became_of_a_conversation_is_counted_again() -> None:
    made = bench("intercom", "conversations")
    made.service.faults.on("late_outcomes", hours=48)
    before = read(made)
    made.service.faults.off("late_outcomes")

    after = read(made)

    assert "user-" in repr(made.service.requests[-1].rows)
    assert "user-" not in repr(after)  # names and addresses are not decoded
    shown = Counter(
        row["ai_agent"]["resolution_state"]
        for row in made.service.requests[-1].rows
        if row["ai_agent"]["source_type"] != "workflow_preview"
    )
    assert by_label(before, STATES, 2) == {}
    assert by_label(after, STATES, 2) == {name: n for name, n in shown.items() if name}
    assert by_label(before, STARTED, 2) == by_label(after, STARTED, 2) != {}
    assert by_label(after, "chatbot_handovers_total", 0) == {"": shown["escalated"]}


def test_12_people_are_shown_by_day_and_never_added() -> None:
    made = bench("botpress", "users")
    shown = [each for reading in read(made) for each in reading.buckets]

    people = [row["returningUsers"] for seen in made.service.requests for row in seen.rows]
    assert [each.value for each in shown] == people
    assert {each.series[1][-1] for each in shown} == {"day"}
    made.service.faults.on("split_records")
    with pytest.raises(SchemaError, match="duplicate bucket"):
        read(made)


def test_13_a_running_total_is_a_level() -> None:
    level = {"chatbot_known_users": {"value": "row.value", "class": "level"}}
    one = {"metric": ["conversations_count"]}
    changes: Any = {"count": None, "labels": None, "for_each": one, "gauge": level}
    made = bench("chatwoot", "reports", **changes)
    made.service.faults.on("running_totals")
    (reading,) = read(made)
    totals = [row["value"] for row in made.service.requests[-1].rows]
    assert totals == sorted(totals)
    assert reading.levels[-1].value == totals[-1] > 5


PAGED = {
    "openai": ("usage", {"request.params.limit": 5}),
    "anthropic": ("usage", {"request.params.limit": 5}),
    "elevenlabs": ("conversations", {"request.params.page_size": 5}),
    "intercom": ("conversations", {"request.body.pagination.per_page": 5}),
}


def _later(call: Any) -> bool:
    body = call.body or {"pagination": {}}
    return bool({"page", "cursor"} & call.params.keys() or body["pagination"].get("starting_after"))


@pytest.mark.parametrize("kind", PAGED)
def test_14_a_cursor_expires_or_is_missing(kind: str) -> None:
    query, changes = PAGED[kind]
    made = bench(kind, query, **changes)
    made.service.faults.on("expired_cursor", times=1, when=_later)

    counted = made.count()

    for family in {family for family, _ in counted} & made.case.counts.keys():
        assert hours(counted, family) == made.truth(family)
    assert [seen.status for seen in made.service.requests].count(410) == 1
    made.service.faults.on("missing_cursor")
    _, error = made.read_badly(made.target.queries[0])
    assert isinstance(error, Truncated)

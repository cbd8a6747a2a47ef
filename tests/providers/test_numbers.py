"""Every provider reads numbers in each spelling, and refuses what is no count."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from exporter.errors import SchemaError
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Reading, Window, floor_to
from tests.providers.vendor import build_target, read
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)  # 2026-03-03T11:00:00Z
VOICEFLOW = {"provider": "voiceflow", "api_key": "k", "projects": ["p"]}
FLOWXO = {"provider": "flowxo", "api_key": "k", "project": "p"}
INKEEP = {"provider": "inkeep", "api_key": "k", "project": "p"}
XENIOO = {"provider": "xenioo", "account_key": "k", "service_url": "https://node.test"}
BOT = {"provider": "chatlayer", "token": "a:b", "bots": ["b1"]}
ITEM = '{"result": {"items": [{"period": "2026-03-03T11:00:00Z", "count": NUMBER}]}}'
METRIC = '{"metrics": [{"_timestamp": "2026-03-03T11:00:00.000Z", %s}]}'
INKEEP_ROWS = '{"status": "ok", "data": {"total": "1", "result": [{%s}]}}'
SERIES = '{"data": {"series": [{"values": [0, NUMBER]}]}}'
ROW = '"GroupLabel": "2026-03-03 11", "BotName": "b", "ChannelName": "web"'

ANSWERS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "voiceflow": (VOICEFLOW | {"queries": ["interactions"]}, ITEM),
    "voiceflow successes": (
        VOICEFLOW | {"queries": ["api_calls"]},
        ITEM.replace("NUMBER", '24, "successCount": NUMBER'),
    ),
    "voiceflow distinct": (VOICEFLOW | {"queries": ["unique_users"]}, ITEM),
    "voiceflow list": (
        VOICEFLOW | {"queries": ["top_intents"]},
        '{"result": {"intents": [{"name": "greeting", "count": NUMBER}]}}',
    ),
    "flowxo": (FLOWXO, METRIC % '"triggers": NUMBER}], "stats": [{"triggers": NUMBER'),
    "flowxo level": (FLOWXO, METRIC % '"total_users": NUMBER'),
    "flowxo list": (FLOWXO | {"top_flows": {}}, '[{"_id": {"id": "f"}, "count": NUMBER}]'),
    "inkeep": (
        INKEEP | {"queries": ["feedback"]},
        INKEEP_ROWS % '"createdAt_hour": "2026-03-03 11:00:00", "type": "x", "count_id": NUMBER',
    ),
    "inkeep distinct": (
        INKEEP | {"queries": ["active_users"]},
        INKEEP_ROWS % '"countDistinct_id": NUMBER',
    ),
    "xenioo": (XENIOO, '[{"EventLabel": "New User", ' + ROW + ', "Value": NUMBER}]'),
    "xenioo named": (
        XENIOO | {"value_field": "value"},
        '[{"EventLabel": "Active User", ' + ROW + ', "Other": 1, "Value": NUMBER}]',
    ),
    "chatlayer": (BOT | {"collectors": ["conversations"]}, SERIES),
    "chatlayer distinct": (BOT | {"collectors": ["users"]}, SERIES),
    "chatlayer list": (
        BOT | {"collectors": ["definitions"]},
        '{"event_definitions": [{"event": "goal", "volume_30_day": NUMBER}]}',
    ),
}


def poll(case: str, number: str) -> Reading:
    """Return what the last query of a target reads where the vendor writes ``number``."""
    settings, answer = ANSWERS[case]

    def vendor(request: httpx.Request) -> httpx.Response:
        token = '{"token": "t", "expires": NUMBER}' if "authoriz" in request.url.path else answer
        return httpx.Response(200, content=token.replace("NUMBER", number))

    target = build_target(**settings)
    request = PollRequest(Window(HOUR, HOUR + HOUR_MS), START_MS)
    (reading,) = read(target, target.queries[-1], httpx.MockTransport(vendor), request)
    return reading


@pytest.mark.parametrize("number", ["12", "12.0", "1.2e1", '"12"', '"12.0"', '"1.2e1"'])
@pytest.mark.parametrize("case", ANSWERS)
def test_a_number_counts_in_every_spelling(case: str, number: str) -> None:
    reading = poll(case, number)

    gauges = [row.value for row in (*reading.buckets, *reading.levels, *reading.lists)]
    assert {value for _, _, value in reading.counts} | set(gauges) - {0} == {12} | (
        {24} if case == "voiceflow successes" else set()
    )
    assert "unexpected_type" not in reading.drift


NOT_NUMBERS = (
    *("1e400", '"1e400"', '"NaN"', '"Infinity"', '"12 "', '"1_2"', '"\u0661\u0662"', '""'),
    *("9007199254740993", "true", "[12]", '{"n": 12}'),
)


@pytest.mark.parametrize("number", ["-1", '"-1"', *NOT_NUMBERS])
@pytest.mark.parametrize("case", ANSWERS)
def test_what_is_no_number_is_an_error(case: str, number: str) -> None:
    with pytest.raises(SchemaError) as caught:
        poll(case, number)

    # Where nothing names the member that holds the number, a row with a text there has none.
    spelled = any(each in number for each in ("-1", "1e400", "9007"))
    kind = "negative" if "-1" in number else "unexpected_type"
    assert caught.value.kind == ("missing" if case == "xenioo" and not spelled else kind)


@pytest.mark.parametrize("number", ["1.5", '"1.5"'])
@pytest.mark.parametrize("case", sorted(ANSWERS.keys() - {"xenioo named"}))
def test_a_fraction_is_no_count(case: str, number: str) -> None:
    with pytest.raises(SchemaError) as caught:
        poll(case, number)

    assert caught.value.kind == "non_integer"

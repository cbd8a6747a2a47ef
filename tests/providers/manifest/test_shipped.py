"""What holds for every provider holds for the APIs that shipped manifests read."""

from collections import Counter

import httpx
import pytest

from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from exporter.providers.base.times import iso
from exporter.providers.manifest import loader
from exporter.simulator import MANIFEST_SIMULATORS
from exporter.simulator.traffic import Traffic
from tests.providers import vendor
from tests.providers.compliance import Compliance
from tests.providers.manifest.cases import CASES
from tests.support.virtual import START_MS, VirtualClock

URL = "http://127.0.0.1:40000"


class TestShipped(Compliance):
    @pytest.fixture(autouse=True, params=sorted(CASES))
    def _of(self, request: pytest.FixtureRequest) -> None:
        type(self).case = CASES[request.param]


def test_every_shipped_manifest_has_a_simulator_and_a_case() -> None:
    assert loader.shipped() == sorted(MANIFEST_SIMULATORS) == sorted(CASES)


def calls_of(variables: dict[str, str]) -> Counter[str]:
    """Return the calls that the manifest of OpenAI counts in some hours, by project."""
    clock, traffic = VirtualClock(), Traffic(5, per_hour=20)
    service = MANIFEST_SIMULATORS["openai"](clock, traffic)
    found = vendor.build_target(**service.target(URL), variables=variables, queries=["usage"])
    until_ms = START_MS // HOUR_MS * HOUR_MS
    request = PollRequest(Window(until_ms - 6 * HOUR_MS, until_ms), clock.now_ms())
    readings = vendor.read(found, found.queries[0], httpx.ASGITransport(service), request)
    calls = Counter[str]()
    for (family, labels), _, value in readings[0].counts:
        if family == "chatbot_llm_calls_total":
            calls[labels[0]] += round(value)
    return calls


def test_one_project_of_openai_is_read_alone() -> None:
    everything = calls_of({})

    assert len(everything) == 2
    assert calls_of({"project": "proj_a1"}) == {"proj_a1": everything["proj_a1"]}


def test_intercom_begins_with_conversations_that_have_no_agent() -> None:
    until_ms = START_MS // HOUR_MS * HOUR_MS
    alone = {"id": "1", "created_at": until_ms // 1000 - 60, "source": {"type": "email"}}
    answer = {
        "conversations": [alone | {"ai_agent_participated": False}],
        "pages": {"next": None},
        "total_count": 1,
    }
    found = vendor.build_target(provider="manifest", manifest="intercom", secrets={"key": "k"})
    request = PollRequest(Window(until_ms - HOUR_MS, until_ms), START_MS)

    (reading,) = vendor.read(found, found.queries[0], vendor.played(lambda _: answer), request)

    assert [value for _, _, value in reading.counts] == [1]
    assert reading.unfit == ""


def test_botpress_is_read_on_a_day_that_is_not_over() -> None:
    day_ms = START_MS - START_MS % DAY_MS
    record = {"startDateTimeUtc": iso(day_ms), "endDateTimeUtc": iso(START_MS - 1)}
    numbers = {"userMessages": 9, "botMessages": 8, "newUsers": 2, "sessions": 3}
    llm = {"calls": 4, "inputTokens": 5, "outputTokens": 6, "cost": {"sum": 0.25}}
    found = vendor.build_target(
        provider="manifest",
        manifest="botpress",
        secrets={"key": "k"},
        variables={"bot": "b", "workspace": "w"},
    )
    request = PollRequest(Window(day_ms, day_ms + DAY_MS), START_MS)
    answer = vendor.played(lambda _: {"records": [record | numbers | {"llm": llm}]})

    (reading,) = vendor.read(found, found.queries[0], answer, request)

    counts = {series[0]: number for series, _, number in reading.counts}
    assert counts["chatbot_messages_received_total"] == 9
    assert {at_ms for _, at_ms, _ in reading.counts} == {day_ms}

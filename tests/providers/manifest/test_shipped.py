"""What holds for every provider holds for the APIs that shipped manifests read."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from exporter.providers.base.plugin import Target
from exporter.providers.base.times import iso
from exporter.providers.manifest import loader
from exporter.simulator import MANIFEST_SIMULATORS
from exporter.simulator.traffic import Traffic
from scripts.manifest_schema import FILE, schema
from tests.docs.pages import ROOT
from tests.providers import vendor
from tests.providers.compliance import WINDOW, Bench, Case, Compliance
from tests.providers.flowxo.test_compliance import TestFlowXO as FlowXO
from tests.providers.inkeep.test_compliance import TestInkeep as Inkeep
from tests.providers.manifest.cases import CASES
from tests.providers.manifest.test_language import FILES
from tests.providers.vendor import build_target, query_of
from tests.providers.voiceflow.test_compliance import TestVoiceflow as Voiceflow
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


SCHEMA = json.loads((ROOT / FILE).read_text("utf-8"))


def test_the_schema_is_current() -> None:
    assert schema() == SCHEMA, "run scripts/manifest-schema"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_the_schema_takes_a_manifest_and_no_unknown_key(path: Path) -> None:
    document = yaml.safe_load(path.read_text("utf-8"))

    jsonschema.validate(document, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"question": {}}, SCHEMA)


MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True, slots=True)
class Pair:
    """A provider's query, and the manifest that reads the same; ``alias`` is its project's label."""

    case: Case
    query: str
    counterpart: str
    variables: Mapping[str, str]


PAIRS = {
    "flowxo": Pair(FlowXO.case, "hourly", "hourly", {"project": "promo"}),
    "voiceflow": Pair(
        Voiceflow.case, "interactions/shop", "interactions", {"project": "", "alias": "shop"}
    ),
    "inkeep": Pair(Inkeep.case, "feedback", "feedback", {"project": "docs"}),
}


def _content(reading: Reading) -> tuple[Any, ...]:
    rows = [*reading.buckets, *reading.levels, *reading.lists]
    gauges = sorted((row.series, row.window, row.value) for row in rows)
    return reading.window, sorted(reading.counts), gauges, {e.digest for e in reading.events}


def by_manifest(name: str, bench: Bench) -> Target:
    given = bench.service.target(vendor.URL)
    variables = dict(PAIRS[name].variables)
    if name == "voiceflow":
        variables["project"] = given["projects"][0]["id"]
    return build_target(
        name="shop",
        provider="manifest",
        manifest=str(MANIFESTS / f"{name}.yaml"),
        base_url=given["base_url"],
        secrets={"key": given["api_key"]},
        variables=variables,
    )


def compared(readings: list[Reading]) -> list[Any]:
    kept = [(sorted(reading.kept), reading.more) for reading in readings]
    return [*map(_content, readings), *kept]


@pytest.mark.parametrize("name", PAIRS)
def test_a_manifest_reads_what_the_provider_reads(name: str) -> None:
    pair = PAIRS[name]
    long = Window(WINDOW.end_ms - 200 * HOUR_MS, WINDOW.end_ms)
    for quirk in ("", *sorted(pair.case.quirks)):
        window, per_hour = (WINDOW, 6) if quirk else (long, 0.5)
        bench = Bench(pair.case, window=window, per_hour=per_hour)
        if quirk:
            bench.service.faults.on(quirk)
        expected = bench.read(query_of(bench.target, pair.query))
        bench.target = by_manifest(name, bench)

        found = bench.read(query_of(bench.target, pair.counterpart))

        assert any(reading.counts for reading in expected)
        assert compared(found) == compared(expected), quirk

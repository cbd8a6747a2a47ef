"""Manifests of three APIs that also have a provider: what both read is equal, row by row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter.model.samples import HOUR_MS, Reading, Window
from exporter.providers.base.plugin import Target
from tests.providers.compliance import WINDOW, Bench, Case
from tests.providers.flowxo.test_compliance import TestFlowXO as FlowXO
from tests.providers.inkeep.test_compliance import TestInkeep as Inkeep
from tests.providers.vendor import build_target, query_of
from tests.providers.voiceflow.test_compliance import TestVoiceflow as Voiceflow

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
    given = bench.service.target("http://127.0.0.1")
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

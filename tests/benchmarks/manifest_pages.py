"""What a page costs that a manifest reads, beside the same page in a provider written in Python."""

import time
from collections.abc import Callable
from functools import partial

import msgspec

from exporter.http_client.client import decode
from exporter.model import families
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, Reading, Window
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import iso
from exporter.providers.manifest.mapping import Collector
from exporter.providers.manifest.provider import ManifestReader
from exporter.providers.voiceflow.mapping import (
    USAGES,
    ProjectScope,
    UsagePage,
    VoiceflowAnswer,
    collect_usage,
)
from tests.providers.manifest.test_shipped import MANIFESTS
from tests.providers.vendor import build_target

START_MS = 1_772_524_800_000
HOURS = 100
ROWS_AN_HOUR = 50
WINDOW = Window(START_MS, START_MS + HOURS * HOUR_MS)


def page() -> bytes:
    """Return a page of 5,000 rows of Voiceflow, each with its own labels and hour."""
    rows = [
        {
            "period": iso(START_MS + hour * HOUR_MS),
            "projectID": "p",
            "environmentID": f"e{number % 5}",
            "type": f"t{number // 5}",
            "count": number,
        }
        for hour in range(HOURS)
        for number in range(ROWS_AN_HOUR)
    ]
    return msgspec.json.encode({"result": {"items": rows}})


def by_provider(body: bytes, spec: QuerySpec) -> Reading:
    """Return the reading of a page as the provider makes it."""
    items = decode(body, VoiceflowAnswer[UsagePage], "POST /v2/query/usage").result.items
    rows = Rows(WINDOW, spec, {})
    collect_usage(items, rows, usage=USAGES["interactions"], scope=ProjectScope("p"))
    return rows.reading()


def by_manifest(body: bytes, query: ManifestReader) -> Reading:
    """Return the reading of the same page as a manifest makes it."""
    answer = decode(body, query.query.program.answer, "POST /v2/query/usage")
    rows = Rows(WINDOW, query.spec, {})
    collector = Collector(query.query, query.spec, rows, WINDOW.end_ms)
    collector.add([answer], WINDOW)
    collector.finish()
    return rows.reading()


def manifest_query() -> ManifestReader:
    """Return the query of the test suite's Voiceflow manifest."""
    built = build_target(
        provider="manifest",
        manifest=str(MANIFESTS / "voiceflow.yaml"),
        secrets={"key": "k"},
        variables={"project": "p", "alias": "p"},
    )
    (query,) = built.queries
    assert isinstance(query, ManifestReader)
    return query


def measure(rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of CPU that a page takes by manifest and by provider, in turns."""
    body, query = page(), manifest_query()
    ways = partial(by_manifest, body, query), partial(by_provider, body, query.spec)
    one, two = (sorted(way().counts) for way in ways)
    assert one == two
    assert len(one) == HOURS * ROWS_AN_HOUR
    assert {series[0] for series, _, _ in one} == {families.INTERACTIONS.name}
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, way in zip(found, ways, strict=True):
            times.append(_cpu_ms(way))
    return found


def _cpu_ms(way: Callable[[], Reading]) -> float:
    started = time.process_time()
    way()
    return (time.process_time() - started) * 1000

"""Every byte of a scrape of a scripted history, in both formats."""

import re
from collections import Counter
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as classic

from exporter.exposition import catalogue
from exporter.providers import PROVIDERS
from exporter.simulator.conversations import FLOWS, FUNCTIONS, Kind
from exporter.simulator.traffic import Traffic
from exporter.telemetry.counters import FAMILIES
from tests.dashboards.promtool import findings
from tests.faults.bench import Bench
from tests.support.virtual import run_virtual

HERE = Path(__file__).parent
FORMATS = {"text": False, "openmetrics": True}
OF_THE_PROCESS = (
    "process_",
    "python_",
    "chatbot_exporter_build_info",
    "chatbot_exporter_ledger_size_bytes",
    "chatbot_exporter_ledger_commit_duration_seconds",
    "chatbot_exporter_poll_duration_seconds",
    "chatbot_exporter_api_request_duration_seconds",
)
"""Families (by how they begin) that depend on the machine, the release or how the loop ran."""

SETTINGS = {"interval": "1m", "slow_interval": "2m", "lookback": "2h", "zero_hold": "1s"}


def script(bench: Bench) -> None:
    """Let a few things of each kind happen now."""
    add, now_ms = bench.traffic.add, bench.clock.now_ms()
    flow, function = next(iter(FLOWS)), next(iter(FUNCTIONS))
    add(Kind.INTERACTION, now_ms, count=9, interaction_type="live", user="ann")
    add(Kind.INTERACTION, now_ms, count=2, interaction_type="test", user="bob")
    add(Kind.FUNCTION_CALL, now_ms, count=4, function=function, ok="true")
    add(Kind.FUNCTION_CALL, now_ms, function=function, ok="false")
    add(Kind.NEW_USER, now_ms, count=2, user="ann")
    add(Kind.MESSAGE_RECEIVED, now_ms, count=6, text="hello", user="ann")
    add(Kind.MESSAGE_SENT, now_ms, count=8, user="ann")
    add(Kind.FLOW_TRIGGER, now_ms, count=3, flow=flow)


async def history(bench: Bench) -> dict[str, str]:
    """Live through some minutes with one failure; return its last scrape in both formats."""
    script(bench)
    async with bench.running():
        await bench.until(bench.all_polled, 60)
        script(bench)
        await bench.wait(180)
        for service in bench.services.values():
            service.faults.on("refused", times=4)
        script(bench)
        await bench.wait(180)
        return {name: bench.page(openmetrics=om) for name, om in FORMATS.items()}


@cache
def pages() -> dict[str, str]:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), ["flowxo", "voiceflow"], SETTINGS, Traffic())
        return run_virtual(history(bench), bench.clock)


def lasting(page: str) -> str:
    """Return the page without what depends on the machine."""
    name = r"(?:# (?:HELP|TYPE|UNIT) )?"
    other = re.compile(name + "(?:" + "|".join(OF_THE_PROCESS) + ")")
    return "".join(line for line in page.splitlines(keepends=True) if not other.match(line))


@pytest.mark.parametrize("name", FORMATS)
def test_a_scrape_is_the_golden_page(name: str, update: bool) -> None:
    golden = HERE / f"{name}.txt"
    page = lasting(pages()[name])
    if update:
        golden.write_text(page, encoding="utf-8")

    assert page.splitlines() == golden.read_text(encoding="utf-8").splitlines()


def test_the_strict_parser_reads_as_much_as_there_is() -> None:
    page = pages()["openmetrics"]

    samples = [sample for family in strict(page) for sample in family.samples]  # type: ignore[no-untyped-call]

    assert len(samples) == len([line for line in page.splitlines() if line[0] != "#"]) > 100


@pytest.mark.parametrize(("name", "parse"), [("text", classic), ("openmetrics", strict)])
def test_no_series_and_no_family_is_there_twice(name: str, parse: object) -> None:
    families = list(parse(pages()[name]))  # type: ignore[operator]
    series = Counter(
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    )

    assert [key for key, number in series.items() if number > 1] == []
    heads = [line.split()[2] for line in pages()[name].splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads)) > 40


def test_label_sets_are_the_catalogues_and_within_its_caps() -> None:
    known = {entry.family.name: entry.family for entry in catalogue.entries(PROVIDERS)}
    known |= {family.name: family for family in FAMILIES}
    samples = [
        sample
        for family in classic(pages()["text"])
        for sample in family.samples
        if sample.name in known
    ]
    assert len(samples) > 100

    for name, rows in groupby(samples, lambda sample: sample.name):
        found = list(rows)
        assert {frozenset(sample.labels) for sample in found} == {frozenset(known[name].labels)}
        one_owner = Counter(
            tuple(sample.labels.get(label) for label in ("target", "query")) for sample in found
        )
        assert max(one_owner.values()) <= known[name].cap


def test_promtool_reports_nothing_else() -> None:
    assert findings(pages()["text"]) == set()

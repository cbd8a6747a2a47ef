"""A correction of 20 days ago: found, applied once, and said by page, metric and command."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.cli.probe import taking
from exporter.clock import SystemClock
from exporter.explain.agreement import Comparer
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger.engine import read_only
from exporter.model.families import NORMALISED
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Readings, floor_to
from exporter.providers.base.plugin import CustomQuery, Target
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from exporter.status import TargetStatus
from tests.faults.bench import Bench
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.served import ServedVendors, document
from tests.support.vendors import Vendors
from tests.support.virtual import START_MS, VirtualClock, run_virtual

FAMILY = "chatbot_messages_received_total"


def audit(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", "--config", str(file), *arguments])


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be noon: in the hour after midnight the day before has not settled yet."""
    right = SystemClock.now_ms
    now_ms = SystemClock().now_ms()
    ahead_ms = floor_to(now_ms, DAY_MS) + DAY_MS // 2 - now_ms
    monkeypatch.setattr(SystemClock, "now_ms", lambda clock: right(clock) + ahead_ms)


@pytest.fixture
def bench(noon: None, tmp_path: Path) -> Bench:  # noqa: ARG001 - the clock is right before it
    """Return an exporter that begins a day ago, and its vendor with 30 messages a day until then."""
    clock = VirtualClock(SystemClock().now_ms() - DAY_MS - HOUR_MS)
    own = {"initial_lookback": "35d", "interval": "1h", "slow_interval": "6h", "zero_hold": "1s"}
    made = Bench(tmp_path, ["flowxo"], own, Traffic(None), scrape_s=300, clock=clock)
    for day in range(1, 36):
        made.traffic.add(Kind.MESSAGE_RECEIVED, back(made, day), count=30)
    return made


def back(bench: Bench, days: int) -> int:
    return bench.clock.now_ms() - days * DAY_MS + HOUR_MS


def run(bench: Bench) -> TargetStatus:
    """Run the exporter for ten minutes; return what its page shows then."""

    async def main() -> TargetStatus:
        async with bench.running():
            await bench.wait(600)
            (target,) = bench.app.status().targets
            return target

    return run_virtual(main(), bench.clock)


@pytest.mark.slow
def test_a_correction_20_days_old_is_found_applied_once_and_said(
    bench: Bench, tmp_path: Path
) -> None:
    file = tmp_path / "exporter.yaml"
    with ServedVendors(("flowxo",), bench.traffic) as vendors:
        file.write_text(yaml.safe_dump(document(tmp_path, vendors.target("flowxo"))))
        corrected_ms = back(bench, 20)
        run(bench)
        assert bench.sum_of(FAMILY) == 0
        vendors.ask(lambda: bench.traffic.add(Kind.MESSAGE_RECEIVED, corrected_ms, count=5))

        before, as_csv = audit(file), audit(file, "--format", "csv")
        bench.clock.advance(DAY_MS / 1000)
        found = run(bench)
        after = audit(file, "--format", "json", "--target", "flowxo")

    rows = csv.DictReader(as_csv.stdout.splitlines())
    different = [(r["family"], r["vendor"], r["ledger"]) for r in rows if r["difference"] != "0"]
    assert different == [(FAMILY, "35", "30")]
    assert (before.exit_code, after.exit_code) == (1, 0)
    assert "flowxo: differs from the vendor: 34 of 35 days are equal" in before.stdout
    assert json.loads(after.stdout)["problems"] == {}
    assert audit(file).stdout.endswith("\n\nflowxo: 1 of 1 queries not compared\n")
    assert bench.sum_of(FAMILY) == 5
    assert bench.own("audit_buckets", result="different") == 1
    assert bench.own("audit_difference", family=FAMILY) == 5
    assert found.history is None
    assert found.audit is not None
    assert (found.audit.days, found.audit.days_equal) == (35, 34)


def test_a_target_a_ledger_and_a_day_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/nowhere/log")  # is ignored with a warning
    file, vendors = tmp_path / "exporter.yaml", Vendors(VirtualClock())
    file.write_text(yaml.safe_dump(vendors.document()))

    assert audit(file, "--target", "other").exit_code == 2
    nothing = audit(file, "--from", "2026-03-01", "--until", "2026-03-01")
    assert (nothing.exit_code, "the day after the last one" in nothing.stderr) == (2, True)
    unread = audit(file)

    assert unread.exit_code == 1
    assert "there is no ledger yet" in unread.stderr
    assert "warning: SSLKEYLOGFILE=/nowhere/log: No such file or directory" in unread.stderr


CARE = {"name": "care", "provider": "chatlayer", "token": "a:b", "bots": ["B1"]}
PROMO = {"name": "promo", "provider": "flowxo", "api_key": "k", "project": "promo"}


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        (CARE | {"collectors": ["events"]}, 0, "care: not compared: it has no counts by hour or"),
        (PROMO, 1, "promo hourly: not compared: the ledger has schema 0"),
    ],
)
def test_a_target_of_event_streams_alone_and_a_ledger_of_another_version_are_named(
    tmp_path: Path, target: dict[str, Any], code: int, said: str
) -> None:
    file = tmp_path / "exporter.yaml"
    file.write_text(yaml.safe_dump(document(tmp_path, target)))
    (tmp_path / "ledger.db").touch()

    done = audit(file)

    assert (done.exit_code, done.stderr.startswith(said)) == (code, True), done.stderr
    assert done.stdout.endswith("promo: 1 of 1 queries not compared\n") is bool(code)


def test_amounts_of_money_are_compared_in_their_unit(tmp_path: Path) -> None:
    cost = NORMALISED["chatbot_llm_cost_usd_total"]
    asked = spec(initial_lookback_ms=0, per_unit={cost.name: cost.per_unit})
    series, at_ms = (cost.name, ("shop", "", "gpt")), START_MS - DAY_MS

    async def read(_api: ApiClient, request: PollRequest) -> Readings:
        yield Reading(request.window, counts=[(series, at_ms, 2_500_000)])

    target = Target("shop", "flowxo", "https://vendor.test", dict, 0, (CustomQuery(asked, read),))
    with LedgerDriver(tmp_path, asked, clock=VirtualClock(START_MS - HOUR_MS)) as driver:
        driver.poll(counts=[(series, at_ms, 2_000_000)])
        comparer = Comparer(
            read_only(driver.url), driver.clock, Transport(), taking(driver.url, driver.clock)
        )
        (found,) = asyncio.run(comparer.compare([target]))

    assert [(day.vendor, day.ledger) for day in found.days] == [(2.5, 2.0)], found

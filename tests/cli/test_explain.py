"""``explain``: an account that adds up to what ``/metrics`` shows."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli import main
from exporter.clock import SystemClock
from exporter.explain.reader import Explainer, Explanations
from exporter.model.samples import HOUR_MS, Family, GaugeRow, Window
from exporter.web.app import build
from exporter.web.server import start
from tests.support.driver import LedgerDriver
from tests.support.explained import by_key, explained_ledger, metrics, report
from tests.support.served import answering_json
from tests.web.served import sources

RECEIVED = 'chatbot_messages_received_total{target="shop"}'


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerDriver]:
    """Yield a ledger with a past; ``explain`` runs at the instant that its clock shows."""
    monkeypatch.setenv("FLOWXO_API_KEY", "sk-C4n4ry")
    found = explained_ledger(tmp_path)
    monkeypatch.delenv("FLOWXO_API_KEY")
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: found.clock.now_ms())
    yield found
    found.close()


def ask(driver: LedgerDriver, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["explain", "--config", str(driver.folder / "exporter.yaml"), *arguments]
    )


def explained(driver: LedgerDriver, selector: str, *arguments: str) -> list[dict[str, Any]]:
    result = ask(driver, "--format", "json", selector, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    series: list[dict[str, Any]] = json.loads(result.stdout)["series"]
    return series


def on_metrics(driver: LedgerDriver) -> dict[str, float]:
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(metrics(driver))
        for sample in family.samples
    }


def recomputed(series: dict[str, Any]) -> float:
    """Add up what the explanation says, from its buckets on."""
    if series["period"]:
        return float(sum(each["provider"] for each in series["buckets"]))
    counted = sum(each["provider"] - each["baseline"] for each in series["buckets"])
    total = series["sum"]
    counter = counted + total["retired"] + total["overhang"] + total["written_off"]
    return float(counter if total["held"] is None else total["held"])


def explainer(driver: LedgerDriver, families: Mapping[str, Family]) -> Explainer:
    return Explainer(driver.url, by_key(driver), families, driver.clock.now_ms())


def lived(driver: LedgerDriver) -> None:
    """A first poll, growth, late data, a deletion that is partly repaid, and a scrape."""
    report(driver, "shop", {9: 100, 10: 30})
    driver.clock.advance(60 * 20)
    report(driver, "shop", {9: 104, 10: 80, 11: 12})
    driver.clock.advance(60 * 5)
    report(driver, "shop", {9: 104, 10: 70, 11: 15})
    driver.confirm_zero_scraped()


def test_the_parts_add_up_to_the_exported_number(driver: LedgerDriver) -> None:
    lived(driver)

    (series,) = explained(driver, RECEIVED)

    assert series["sum"] == {
        "buckets": 59, "retired": 0, "truth": 59, "overhang": 7, "written_off": 0,
        "counter": 66, "held": None,
    }  # fmt: skip
    assert recomputed(series) == series["exported"] == 66
    assert [
        (each["phase"], each["provider"], each["baseline"], each["counted"], each["revisions"])
        for each in series["buckets"]
    ] == [
        ("settled", 104, 100, 4, 1),
        ("settling", 70, 30, 40, 2),
        ("open", 15, 0, 15, 0),
    ]
    assert (series["target"], series["query"], series["provider"]) == ("shop", "hourly", "flowxo")
    assert (series["request"], series["field"]) == ("GET /insights", "metrics[].received_messages")
    assert series["since_ms"] == driver.clock.now_ms() - 25 * 60_000


def test_every_exported_number_is_the_one_on_metrics(driver: LedgerDriver) -> None:
    lived(driver)
    driver.clock.advance(60 * 180)
    report(driver, "shop", {9: 104, 10: 70, 11: 60, 12: 9, 13: 3, 14: 1}, users=12)
    driver.confirm_zero_scraped()

    shown = explained(driver, '{target="shop"}')

    assert {each["series"].split("{")[0] for each in shown} >= {
        "chatbot_messages_received_total",
        "chatbot_known_users",
        "chatbot_period_messages_received",
    }
    assert {
        name: value for name, value in on_metrics(driver).items() if '"target": "shop"' in name
    } == {
        sample.name + json.dumps(sample.labels, sort_keys=True): each["exported"]
        for each in shown
        for family in text_string_to_metric_families(f"{each['series']} 0\n")
        for sample in family.samples
    }
    assert [each["exported"] for each in shown if each["sum"] or each["period"]] == [
        recomputed(each) for each in shown if each["sum"] or each["period"]
    ]


def test_a_new_series_is_shown_as_zero_first(driver: LedgerDriver) -> None:
    report(driver, "shop", {10: 30})
    driver.clock.advance(60 * 5)
    report(driver, "shop", {10: 30, 11: 8})

    (series,) = explained(driver, RECEIVED)

    assert (series["exported"], series["sum"]["held"], series["sum"]["counter"]) == (0, 0, 8)
    assert any("until a scrape has returned" in note for note in series["notes"])


def test_what_is_written_off_or_retired_stays_in_the_sum(driver: LedgerDriver) -> None:
    lived(driver)
    driver.clock.advance(60 * 7 * 60)
    driver.ledger.maintain()

    (series,) = explained(driver, RECEIVED)

    assert (series["sum"]["overhang"], series["sum"]["written_off"]) == (0, 7)
    assert recomputed(series) == series["exported"] == 66

    driver.clock.advance(60 * 36 * 24 * 60)
    report(driver, "shop", {})
    driver.compact()

    (series,) = explained(driver, RECEIVED)

    assert (series["sum"]["retired"], series["sum"]["written_off"]) == (59, 7)
    assert recomputed(series) == series["sum"]["counter"] == 66

    name = RECEIVED.partition("{")[0]
    families = dict(driver.families)
    families[name] = replace(families[name], per_unit=2)

    answer = explainer(driver, families).answer(RECEIVED, first=1, most=1)

    total = answer.series[0].sum
    assert total
    assert (total.retired, total.written_off, total.counter) == (29.5, 3.5, 33)


def test_a_query_that_was_removed_is_explained_but_not_exported(driver: LedgerDriver) -> None:
    lived(driver)
    driver.ledger.sync_queries([spec for spec in driver.specs if spec.target != "shop"])

    (series,) = explained(driver, RECEIVED)

    assert (series["state"], series["exported"], series["sum"]["counter"]) == ("removed", None, 66)
    assert [each["phase"] for each in series["buckets"]] == ["unknown"] * 3


def test_a_person_can_read_and_add_it_up(driver: LedgerDriver) -> None:
    lived(driver)

    result = ask(driver, RECEIVED)

    lines = result.stdout.splitlines()
    assert lines[0] == (
        'chatbot_messages_received_total{provider="flowxo",target="shop",project="shop",'
        'bot_environment="",channel=""} 66'
    )
    assert "  2026-03-03 09:00 to 10:00  settled        104       100        4          1" in lines
    assert next(line.split()[-2:] for line in lines if "overhang" in line) == ["overhang", "7"]
    assert lines[-1].startswith("  * ")


def test_a_vendors_text_does_not_command_the_terminal(driver: LedgerDriver) -> None:
    now_ms = driver.clock.now_ms()
    named = ("chatbot_known_users", ("shop", "a\x1b]0;t\x07\x9bé"))
    levels = [GaugeRow(named, Window(now_ms - HOUR_MS, now_ms), 3)]
    driver.poll(claim=driver.claim("shop"), levels=levels)

    shown = ask(driver, "chatbot_known_users").stdout
    (series,) = explained(driver, "chatbot_known_users")

    assert r'bot_environment="a\x1b]0;t\x07\x9bé"} 3' in shown
    assert 'bot_environment="a\x1b]0;t\x07\x9bé"' in series["series"]


def test_old_buckets_are_one_line_unless_all_are_wanted(
    driver: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(driver, "shop", dict.fromkeys(range(11), 10))
    driver.clock.advance(60 * 20 * 60)
    report(driver, "shop", dict.fromkeys(range(24), 10))
    driver.clock.advance(60 * 60 * 6)
    monkeypatch.setattr("exporter.cli.explain.NEWEST", 3)

    short = ask(driver, RECEIVED).stdout
    long = ask(driver, "--all", RECEIVED).stdout

    assert "21 older ones (--all)" in short
    assert "older ones" not in long
    assert len(long.splitlines()) == len(short.splitlines()) + 20


NOTHING = [
    ('chatbot_messages_received_total{target="nobody"}', "no query has read one of chatbot_mess"),
    ("chatbot_exporter_target_up", "is the exporter's own"),
    ("process_open_fds", "is the exporter's own"),
    ("process_nonsense_total", "there is no such metric family"),
    ("chatbot_message_received_total", 'did you mean "chatbot_messages_received_total"?'),
    ('{target="nobody"}', "no query has read one with these labels"),
]
BAD = [
    *((text, "") for text in ("", "{}", "a{", 'a{b="c"', 'a{b=~"("}', "a b", "a{b=c}")),
    ("rate(chatbot_messages_received_total[5m])", "functions, operators and ranges are not"),
    ("chatbot_messages_received_total[5m]", "functions, operators and ranges are not"),
    ("a + b", "functions, operators and ranges are not"),
]


@pytest.mark.parametrize("by_url", [False, True])
def test_what_cannot_be_explained_exits_with_one_or_two_and_says_why(
    driver: LedgerDriver, *, by_url: bool
) -> None:
    report(driver, "shop", {10: 30})
    with served(driver) as url:
        for selector, words in [*NOTHING, *BAD]:
            result = ask(driver, selector, *(["--url", url] if by_url else []))

            code = 2 if (selector, words) in BAD else 1
            assert (result.exit_code, result.stdout) == (code, ""), selector
            assert words in " ".join(result.stderr.split())
            assert ("SELECTOR" in result.stderr) is (code == 2)


@contextmanager
def served(driver: LedgerDriver) -> Iterator[str]:
    """Serve the ledger's explanations, two at a time, as a running exporter does."""

    def explain(selector: str, first: int) -> Explanations:
        return explainer(driver, driver.families).answer(selector, first, most=2)

    server = start("127.0.0.1:0", build(sources(explain=explain)))
    yield f"http://{server.address}/"
    server.stop(5)


def test_a_running_exporter_gives_the_same_accounts_page_by_page(
    driver: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # this machine is reached without it
    lived(driver)
    report(driver, "promo", {10: 1}, users=3)
    everything = explained(driver, '{target=~".+"}')
    with served(driver) as url:
        asked = explained(driver, '{target=~".+"}', "--url", url, "--config", "none.yaml")

    assert len(asked) > 4
    assert asked == everything


@pytest.mark.parametrize(
    "answer", ["hello", {"series": []}, b'{"selector": "s\xe9"}', b"[" * 200_000]
)
def test_another_program_at_the_address_is_an_error(driver: LedgerDriver, answer: Any) -> None:
    with answering_json(lambda _: (200, answer)) as url:
        result = ask(driver, RECEIVED, "--url", url)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --url: cannot query an exporter there: ")


def test_an_address_without_an_exporter_is_an_error_without_its_password(
    driver: LedgerDriver,
) -> None:
    result = ask(driver, RECEIVED, "--url", "http://user:canary@127.0.0.1:9")

    assert result.exit_code == 1
    assert "--url: cannot query an exporter there" in result.stderr
    assert "canary" not in result.stderr


def test_a_ledger_that_is_not_there_yet_is_said(driver: LedgerDriver, tmp_path: Path) -> None:
    file = driver.folder / "exporter.yaml"
    file.write_text(file.read_text().replace("ledger.db", "none.db"))

    result = ask(driver, RECEIVED)

    assert result.exit_code == 1
    assert "there is no ledger yet" in result.stderr
    assert not (tmp_path / "none.db").exists()


def test_explaining_keeps_no_writer_waiting(driver: LedgerDriver) -> None:
    lived(driver)
    with driver.transaction():  # the exporter is in the middle of a commit
        (series,) = explained(driver, RECEIVED)

    report(driver, "shop", {9: 104, 10: 80, 11: 20})

    assert series["exported"] == 66
    assert explained(driver, RECEIVED)[0]["exported"] == 74


def test_between_two_queries_the_write_ahead_log_can_be_shortened(driver: LedgerDriver) -> None:
    lived(driver)
    report(driver, "promo", {10: 1}, users=3)
    reader = explainer(driver, driver.families)
    records = reader.find('{target=~".+"}', range(50))

    assert next(records)
    report(driver, "shop", {9: 104, 10: 80, 11: 20})
    with closing(sqlite3.connect(driver.folder / "ledger.db")) as other:
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert busy == 0
    assert len(list(records)) > 2
    reader.close()


def test_no_part_of_a_password_in_a_wrong_url_is_repeated(driver: LedgerDriver) -> None:
    result = ask(driver, RECEIVED, "--url", "http://user:can/ary@127.0.0.1:9")

    assert (result.exit_code, "not an http or https URL" in result.output) == (1, True)
    assert "can" not in result.output.replace("cannot", "")

"""``explain``: an account that adds up to what ``/metrics`` shows."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli import main
from exporter.clock import SystemClock
from tests.support.driver import LedgerDriver
from tests.support.telling import metrics, report

RECEIVED = 'chatbot_messages_received_total{target="shop"}'


def ask(told: LedgerDriver, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Run ``explain`` at the instant that the ledger's clock shows."""
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: told.clock.now_ms())
    file = str(told.folder / "exporter.yaml")
    return CliRunner().invoke(main, ["explain", "--config", file, *arguments])


def explained(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch, selector: str
) -> list[dict[str, Any]]:
    result = ask(told, monkeypatch, "--format", "json", selector)
    assert (result.exit_code, result.stderr) == (0, "")
    series: list[dict[str, Any]] = json.loads(result.stdout)["series"]
    return series


def on_metrics(told: LedgerDriver) -> dict[str, float]:
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(metrics(told))
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


def lived(told: LedgerDriver) -> None:
    """A first poll, growth, late data, and a deletion that is partly repaid."""
    report(told, "shop", {9: 100, 10: 30})
    told.clock.advance(60 * 20)
    report(told, "shop", {9: 104, 10: 80, 11: 12})
    told.clock.advance(60 * 5)
    report(told, "shop", {9: 104, 10: 70, 11: 15})


def test_the_parts_add_up_to_the_exported_number(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.confirm_zero_scraped()

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert series["sum"] == {
        "buckets": 59, "retired": 0, "truth": 59, "overhang": 7, "written_off": 0,
        "counter": 66, "held": None,
    }  # fmt: skip
    assert recomputed(series) == series["exported"] == 66


def test_every_exported_number_is_the_one_on_metrics(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.clock.advance(60 * 180)
    report(told, "shop", {9: 104, 10: 70, 11: 60, 12: 9, 13: 3, 14: 1}, users=12)
    told.confirm_zero_scraped()

    shown = explained(told, monkeypatch, '{target="shop"}')

    assert {each["series"].split("{")[0] for each in shown} >= {
        "chatbot_messages_received_total",
        "chatbot_known_users",
        "chatbot_period_messages_received",
    }
    assert {
        name: value for name, value in on_metrics(told).items() if '"target": "shop"' in name
    } == {
        sample.name + json.dumps(sample.labels, sort_keys=True): each["exported"]
        for each in shown
        for family in text_string_to_metric_families(f"{each['series']} 0\n")
        for sample in family.samples
    }
    assert [each["exported"] for each in shown if each["sum"] or each["period"]] == [
        recomputed(each) for each in shown if each["sum"] or each["period"]
    ]


def test_a_new_series_is_shown_as_zero_first(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(told, "shop", {10: 30})
    told.clock.advance(60 * 5)
    report(told, "shop", {10: 30, 11: 8})

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert (series["exported"], series["sum"]["held"], series["sum"]["counter"]) == (0, 0, 8)
    assert any("until a scrape has returned" in note for note in series["notes"])


def test_what_is_written_off_stays_in_the_sum(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.confirm_zero_scraped()
    told.clock.advance(60 * 7 * 60)
    told.ledger.maintain()

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert (series["sum"]["overhang"], series["sum"]["written_off"]) == (0, 7)
    assert recomputed(series) == series["exported"] == 66


def test_retired_buckets_are_one_number(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.confirm_zero_scraped()
    told.clock.advance(60 * 36 * 24 * 60)
    report(told, "shop", {})
    told.ledger.compact()

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert series["sum"]["retired"] == 59
    assert recomputed(series) == series["sum"]["counter"] == 66


def test_each_bucket_has_its_phase_baseline_and_revisions(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert [
        (each["phase"], each["provider"], each["baseline"], each["counted"], each["revisions"])
        for each in series["buckets"]
    ] == [
        ("settled", 104, 100, 4, 1),
        ("settling", 70, 30, 40, 2),
        ("open", 15, 0, 15, 0),
    ]


def test_origin_and_request_are_named(told: LedgerDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(told)

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert (series["target"], series["query"], series["provider"]) == ("shop", "hourly", "flowxo")
    assert (series["request"], series["field"]) == ("GET /insights", "metrics[].received_messages")
    assert series["since_ms"] == told.clock.now_ms() - 25 * 60_000


def test_a_query_that_was_removed_is_explained_but_not_exported(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.ledger.sync_queries([spec for spec in told.specs if spec.target != "shop"])

    (series,) = explained(told, monkeypatch, RECEIVED)

    assert (series["state"], series["exported"], series["sum"]["counter"]) == ("removed", None, 66)
    assert [each["phase"] for each in series["buckets"]] == ["unknown"] * 3


def test_a_person_can_read_and_add_it_up(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.confirm_zero_scraped()

    result = ask(told, monkeypatch, RECEIVED)

    lines = result.stdout.splitlines()
    assert lines[0] == (
        'chatbot_messages_received_total{provider="flowxo",target="shop",project="shop",'
        'bot_environment="",channel=""} 66'
    )
    assert "  2026-03-03 09:00 to 10:00  settled        104       100        4          1" in lines
    assert next(line.split()[-2:] for line in lines if "overhang" in line) == ["overhang", "7"]
    assert lines[-1].startswith("  * ")


def test_old_buckets_are_one_line_unless_all_are_wanted(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(told, "shop", dict.fromkeys(range(11), 10))
    told.clock.advance(60 * 20 * 60)
    report(told, "shop", dict.fromkeys(range(24), 10))
    told.clock.advance(60 * 60 * 6)
    monkeypatch.setattr("exporter.cli.explain.NEWEST", 3)

    short = ask(told, monkeypatch, RECEIVED).stdout
    long = ask(told, monkeypatch, "--all", RECEIVED).stdout

    assert "21 older ones (--all)" in short
    assert "older ones" not in long
    assert len(long.splitlines()) == len(short.splitlines()) + 20


def test_as_many_as_there_are_are_printed_one_after_another_and_counted(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    report(told, "promo", {10: 1}, users=3)

    text = ask(told, monkeypatch, '{target=~".+"}').stdout
    series = explained(told, monkeypatch, '{target=~".+"}')

    assert len(series) > 4
    assert text.splitlines()[-1] == f"{len(series)} series"
    assert text.count("\n  query     ") == len(series)
    data = json.loads(ask(told, monkeypatch, "--format", "json", '{target=~".+"}').stdout)
    assert (data["selector"], data["total"]) == ('{target=~".+"}', len(series))
    assert data["now_ms"] == told.clock.now_ms()


def test_nothing_that_matches_exits_with_one(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ask(told, monkeypatch, 'chatbot_messages_received_total{target="nobody"}')

    assert (result.exit_code, result.stdout) == (1, "")
    assert "no series matches" in result.stderr


@pytest.mark.parametrize("selector", ["", "{}", "a{", 'a{b="c"', 'a{b=~"("}', "a b", "a{b=c}"])
def test_a_bad_selector_exits_with_two_and_says_where(
    selector: str, told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ask(told, monkeypatch, selector)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "SELECTOR" in result.stderr


def test_a_ledger_that_is_not_there_yet_is_said(
    told: LedgerDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = told.folder / "exporter.yaml"
    file.write_text(file.read_text().replace("ledger.db", "none.db"))

    result = ask(told, monkeypatch, RECEIVED)

    assert result.exit_code == 1
    assert "there is no ledger yet" in result.stderr
    assert not (tmp_path / "none.db").exists()


def test_explaining_keeps_no_writer_waiting(
    told: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(told)
    told.confirm_zero_scraped()
    with told.transaction():  # the exporter is in the middle of a commit
        (series,) = explained(told, monkeypatch, RECEIVED)

    report(told, "shop", {9: 104, 10: 80, 11: 20})

    assert series["exported"] == 66
    assert explained(told, monkeypatch, RECEIVED)[0]["exported"] == 74

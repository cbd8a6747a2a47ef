"""Each checker finds what breaks its rule, on a forged log, and nothing on a right one."""

from pathlib import Path

import pytest

from exporter.clock import SystemClock
from tests.replicas import checks
from tests.replicas.checks import Outage, Scrape, SentRequest
from tests.replicas.shifted import shift

OF_A_PROCESS = ("process_cpu_seconds_total", "chatbot_exporter_polls_total")
SERIES = 'chatbot_messages_received_total{target="a"}'


def sent(replica: str, began_s: float, ended_s: float, target: str = "a") -> SentRequest:
    return SentRequest(target, replica, began_s, ended_s)


@pytest.mark.parametrize(
    ("second", "violations"),
    [
        (sent("r2", 1.5, 3), 1),
        (sent("r2", 2, 3), 0),
        (sent("r1", 1.5, 3), 0),
        (sent("r2", 1.5, 3, target="b"), 0),
    ],
)
def test_requests_of_two_replicas_at_one_target(second: SentRequest, violations: int) -> None:
    assert len(checks.overlapping([second, sent("r1", 1, 2), sent("r1", 1.2, 1.4)])) == violations


@pytest.mark.parametrize(
    ("began_s", "value", "violations"), [(2.1, 35.0, 1), (1.9, 35.0, 0), (2.1, 36.0, 0)]
)
def test_a_counter_that_falls_between_replicas(
    began_s: float, value: float, violations: int
) -> None:
    scrapes = [
        Scrape("r2", began_s, 3, {SERIES: value} | dict.fromkeys(OF_A_PROCESS, 1.0)),
        Scrape("r1", 1, 2, {SERIES: 36.0} | dict.fromkeys(OF_A_PROCESS, 9.0)),
        Scrape("r3", 2.5, 2.6, {}),
    ]

    assert len(checks.fallen(scrapes)) == violations


def test_calls_of_a_budget_that_come_too_soon() -> None:
    log = [sent("r2", 3605, 3606), sent("r1", 1, 2), sent("r1", 7000, 7001)]

    assert [text.split()[0] for text in checks.overspent(log, 3600)] == ["SentRequest(target='a',"]
    assert checks.overspent(log[:2], 3600) == []


def test_a_replica_that_shows_series_though_it_is_cut_off() -> None:
    cut = Outage("r1", "cut", 10, 16)
    seen = [Scrape("r1", 9.9, 10.5, {}), Scrape("r2", 11, 12, {}), Scrape("r1", 15.9, 17, {})]

    assert checks.unverified(seen, [cut]) == []
    assert len(checks.unverified([*seen, Scrape("r1", 11, 12, {})], [cut])) == 1


def test_a_page_of_the_process_only() -> None:
    assert Scrape("r1", 1, 2, dict.fromkeys(OF_A_PROCESS, 1.0)).is_blind
    assert not Scrape("r1", 1, 2, {SERIES: 0.0}).is_blind


def test_a_counter_that_is_not_the_truth() -> None:
    pages = {"r1": {SERIES: 5.0}, "r2": {SERIES: 6.0}, "r3": {}}

    assert [text.split()[4] for text in checks.inexact(pages, {SERIES: 5.0})] == ["r2", "r3"]


def test_a_step_back_is_counted_twice_by_prometheus() -> None:
    assert [checks.increase(each) for each in ([0, 4, 6], [0, 4, 3, 6], [5])] == [6, 10, 0]


def test_a_series_twice_on_a_page() -> None:
    assert checks.parsed(f"# HELP x y\n{SERIES} 1\nup 2.5\n") == {SERIES: 1.0, "up": 2.5}
    with pytest.raises(AssertionError, match="twice"):
        checks.parsed(f"{SERIES} 1\n{SERIES} 1\n")


def test_a_target_that_nobody_takes_over() -> None:
    requests = [sent("r1", 1, 2), sent("r2", 40, 41), sent("r2", 1, 2, "b"), sent("r2", 3, 4, "b")]
    killed, down = Outage("r1", "kill", 2.5, 50), Outage("", "restart", 3, 5)

    assert len(checks.late(requests, [killed], 35)) == 1
    assert checks.late(requests, [killed, down], 35) == []
    assert checks.late(requests, [killed, Outage("r2", "kill", 30, 31)], 35) == []
    assert len(checks.late(requests, [killed, Outage("r2", "kill", 30, 31)], 19)) == 1
    assert checks.takeovers(requests, [killed, down]) == {"kill": [37.5]}


def test_a_machine_whose_clock_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = SystemClock()
    monkeypatch.setattr(SystemClock, "now_ms", SystemClock.now_ms)
    before_ms, file = right.now_ms(), tmp_path / "ahead"
    shift(file)

    for ahead_s in (90, -90):
        file.write_text(str(ahead_s), "utf-8")
        assert 0 <= right.now_ms() - before_ms - ahead_s * 1000 < 60_000


def test_a_replica_that_is_blind_in_calm() -> None:
    outages = [Outage("r1", "cut", 100, 110), Outage("r2", "kill", 200, 300)]
    seen = [Scrape("r1", 200 + at, 201 + at, {SERIES: 1.0} if at % 3 else {}) for at in range(10)]
    excused = [Scrape("r1", 120, 121, {}), Scrape("r2", 250, 251, {})]

    assert checks.blind_in_calm([*seen, *excused], outages) == (4, 10)
    assert checks.blind_in_calm(seen, [Outage("", "crash", 210, 220)]) == (3, 9)


def test_an_outage_beside_others() -> None:
    stop, kill, crash = (
        Outage("r1", "stop", 10, 12), Outage("r2", "kill", 11, 20), Outage("", "crash", 60, 61),
    )  # fmt: skip

    assert not checks.is_calm(stop, [stop, kill])
    assert checks.is_calm(stop, [stop, crash])
    assert not checks.is_calm(Outage("r1", "stop", 100, 101), [stop, crash])

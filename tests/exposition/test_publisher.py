"""What a scrape sees while things begin, arrive late or look wrong."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.exposition import publisher
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from tests.faults.bench import PREFIX, Bench
from tests.support.virtual import VirtualClock

pytestmark = pytest.mark.slow
SETTINGS = {"interval": "1m", "slow_interval": "1h", "lookback": "2h", "zero_hold": "1s"}
HOURS = "/api/insights"
RECEIVED = "chatbot_messages_received_total"
END = "chatbot_period_end_timestamp_seconds"
CALLS = "chatbot_function_calls_total"
VERDICTS = [
    PREFIX + name
    for name in (
        "target_up",
        "last_attempt_timestamp_seconds",
        "last_success_timestamp_seconds",
    )
]


async def test_nothing_is_shown_of_polls_before_the_first_has_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)
    bench.service.faults.on("slow", times=1, seconds=25)

    async with bench.running():
        for _ in range(2):
            assert bench.own("polls_total") == (1 if bench.clock.monotonic() else 0)
            assert [bench.values(name) for name in VERDICTS] == [[], [], []]
            await bench.wait(20)
        assert bench.values(VERDICTS[0], query="hourly") == [1]
        assert all(bench.values(name, query="hourly") for name in VERDICTS)


async def test_the_series_of_a_removed_target_are_not_counted_any_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo", "inkeep"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 120)
        inkeep = {name for name, pairs in bench.scraped if ("target", "inkeep") in pairs}
        del bench.services["inkeep"]
        assert not await bench.app.reload(bench._read_settings)
        bench.scrape()
        for name in ("series", "series_limit"):
            counted = {dict(k[1])["family"] for k in bench.scraped if k[0] == PREFIX + name}
            assert counted
            assert counted.isdisjoint(inkeep - {key[0] for key in bench.scraped})


async def test_counters_of_events_exist_before_there_is_a_late_or_repeated_one(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["chatlayer"], {"collectors": ["events"]}, Traffic())

    async with bench.running():
        await bench.wait(1)
        assert {*bench.values(PREFIX + "duplicate_events_total")} == {0}
        for outcome in ("counted", "ignored"):
            assert {*bench.values(PREFIX + "late_events_total", outcome=outcome)} == {0}


class Newcomer:
    """A function that is first called 31 s after the start; only the test itself scrapes."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        settings = SETTINGS | {"queries": ["function_usage"], "zero_hold": "90s"}
        self.bench = Bench(folder, ["voiceflow"], settings, Traffic(), 86_400, clock=clock)

    def call(self, function: str = "lookup") -> None:
        now_ms = self.bench.clock.now_ms()
        self.bench.traffic.add(Kind.FUNCTION_CALL, now_ms, count=5, function=function, ok="true")

    async def shown(self, after_s: float) -> list[float]:
        await self.bench.clock.sleep(after_s)
        self.bench.scrape()
        return self.bench.values(CALLS)

    async def shows(
        self, *waits_s: float, functions: Sequence[str] = ("lookup",)
    ) -> list[list[float]]:
        """Return what is shown after each wait, once the functions were called."""
        async with self.bench.running():
            await self.shown(31)
            for function in functions:
                self.call(function)
            return [await self.shown(seconds) for seconds in waits_s]


@pytest.fixture
def newcomer(tmp_path: Path, clock: VirtualClock) -> Newcomer:
    return Newcomer(tmp_path, clock)


async def test_a_new_series_is_0_until_a_scrape_carried_it_and_the_hold_is_over(
    newcomer: Newcomer,
) -> None:
    # The hold was over before the first scrape, which sees 0 all the same; the next does not.
    assert await newcomer.shows(200, 2, 600) == [[0], [5], [5]]


async def test_a_new_series_stays_0_while_the_hold_lasts(newcomer: Newcomer) -> None:
    shown = [sum(values) for values in await newcomer.shows(*[5] * 40)]

    first, last = len(shown) - len([v for v in shown if v]), len(shown)
    assert shown == [0] * first + [5] * (last - first)
    assert 18 <= first < 35


async def test_many_new_series_are_let_go_some_at_a_time(
    newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "CONFIRMED_AT_ONCE", 1)

    first, *later = await newcomer.shows(200, *[0.5] * 10, functions=("lookup", "other"))

    assert first == [0, 0]
    shown = [sum(values) for values in later]
    assert {*shown} - {0} == {5, 10}
    assert shown == sorted(shown)


@pytest.mark.parametrize("scraped", [True, False], ids=["scraped", "not-scraped"])
async def test_a_restart_neither_skips_the_0_nor_shows_it_after_the_value(
    newcomer: Newcomer,
    scraped: bool,
) -> None:
    async with newcomer.bench.running():
        await newcomer.shown(31)
        newcomer.call()
        await newcomer.bench.clock.sleep(200)
        if scraped:
            assert await newcomer.shown(0) == [0]
            await newcomer.bench.clock.sleep(2)
    async with newcomer.bench.running():
        shown = [newcomer.bench.values(CALLS), await newcomer.shown(2), await newcomer.shown(90)]

    assert shown == ([[5], [5], [5]] if scraped else [[0], [5], [5]])
    assert not [fall for fall in newcomer.bench.falls if PREFIX not in fall]


async def test_a_late_api_takes_the_period_gauges_away_and_leaves_the_counters(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)
    gauge = "chatbot_period_messages_received"

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        await bench.wait(300)
        shown = bench.values(gauge, period="hour")
        end_s = bench.sum_of(END, period="hour", query="hourly")
        assert len(shown) == 1
        bench.service.faults.on("server_error")
        counters = bench.counters()
        # One period after its own end, and settle (1 h), two polls and a deadline (120 s) more.
        left_s = end_s + 2 * 3600 + 2 * 60 + 120 - bench.clock.now_ms() / 1000
        assert left_s > 1800
        await bench.wait(left_s - 5)
        assert bench.values(gauge, period="hour") == shown
        await bench.wait(10)
        assert bench.values(gauge, period="hour") == []
        assert bench.values(END, period="hour", query="hourly") == []
        assert bench.counters() == counters
        assert sum(counters.values()) > 0


class Counted:
    """A Flow XO account that counted 300 messages since the first poll."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder, ["flowxo"], SETTINGS, Traffic())

    def receive(self, number: int) -> None:
        now_ms = self.bench.clock.now_ms()
        self.last = self.bench.traffic.add(Kind.MESSAGE_RECEIVED, now_ms, count=number)

    async def begin(self) -> None:
        await self.bench.until(self.bench.all_polled, 60)
        self.receive(300)
        await self.bench.until(lambda: self.state() == (300, 0, 0), 120)

    def state(self) -> tuple[float, float, float]:
        """Return the counter, whether an answer is held back, and the resets."""
        return (
            self.bench.sum_of(RECEIVED),
            self.bench.own("quarantined", query="hourly"),
            self.bench.own("provider_resets_total", query="hourly"),
        )

    async def polled(self) -> tuple[float, float, float]:
        """Wait for one more poll of the hours; return what it led to."""
        bench = self.bench
        number = bench.own("polls_total", query="hourly")
        await bench.until(lambda: bench.own("polls_total", query="hourly") > number, 120)
        return self.state()


async def test_a_collapse_is_held_back_and_confirmed_at_the_third_poll(tmp_path: Path) -> None:
    counted = Counted(tmp_path)

    async with counted.bench.running():
        await counted.begin()
        counted.bench.traffic.retract(counted.last[:250], counted.bench.clock.now_ms())
        states = [await counted.polled() for _ in range(3)]
        counted.receive(7)
        states.append(await counted.polled())

    assert states == [(300, 1, 0), (300, 1, 0), (300, 0, 1), (307, 0, 1)]
    assert counted.bench.own("overhang") == 0
    assert counted.bench.falls == set()


async def test_a_collapse_is_dropped_when_the_next_poll_is_normal(tmp_path: Path) -> None:
    counted = Counted(tmp_path)

    async with counted.bench.running():
        await counted.begin()
        faults = counted.bench.service.faults
        faults.on("empty", times=1, when=lambda call: call.path == HOURS)
        counted.receive(7)
        states = [await counted.polled() for _ in range(3)]

    assert states == [(300, 1, 0), (307, 0, 0), (307, 0, 0)]
    assert counted.bench.own("retracted_total") == 0

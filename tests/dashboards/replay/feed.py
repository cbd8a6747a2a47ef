"""Through the real counting code: what ``/metrics`` would show of a scene, hour by hour.

The API reports an hour's counts while it runs, 3 % of them up to two hours late, and once a week
takes 1 % of a settled hour back. The exporter polls every five minutes with an hour to settle; polls
between full hours settle nothing and are left out. Prometheus looks at half past, so it sees an
hour one and a half hours after its end.
"""

from collections.abc import Iterator
from pathlib import Path

from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, CountRow, Reading, Window, ceil_to
from tests.dashboards.replay.scene import WEEK, Account, Bot, MetricType
from tests.support.virtual import VirtualClock

START_MS = 1_767_571_200_000  # 2026-01-05T00:00:00Z, a Monday
RECEIVED = "chatbot_messages_received_total"
LOOKBACK_H = 6
INTERVAL_MS = 300_000
HALF_MS = HOUR_MS // 2
SWEEP_H = 6  # as the exporter sweeps
CHANNELS = ("web", "app")


class _Exporter:
    """One account's exporter: a ledger that outlives restarts."""

    def __init__(self, account: Account, spec: QuerySpec, url: str) -> None:
        self.account, self.spec, self.url = account, spec, url
        self.clock = VirtualClock(START_MS + HALF_MS)
        self.ledger = self._opened()

    def _opened(self) -> Ledger:
        ledger = Ledger(self.url, clock=self.clock, families=NORMALISED)
        ledger.sync_queries([self.spec])
        return ledger

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = self._opened()

    def poll(self, hour: int) -> None:
        """Poll at the start of ``hour``."""
        claim = self.ledger.claim()
        assert claim is not None
        now_ms = self.clock.now_ms()
        start_ms = min(claim.cursor_ms or now_ms, now_ms - LOOKBACK_H * HOUR_MS)
        window = Window(max(START_MS, start_ms), ceil_to(now_ms + 1, HOUR_MS))
        rows = list(_rows(self.account, window, hour))
        reading = Reading(window=window, counts=rows)
        applied = self.ledger.apply(claim, reading, started_ms=now_ms)
        finish = self.ledger.hold if applied.held else self.ledger.succeed
        finish(claim, next_poll_ms=now_ms + HOUR_MS)

    def shown(self) -> dict[tuple[str, ...], float]:
        """Return the hour's period gauges by project, environment and channel."""
        return {
            sample.labels[2:5]: sample.value
            for sample in self.ledger.view(self.spec.key).shown
            if sample.family == "chatbot_period_messages_received" and sample.labels[-1] == "hour"
        }


def fed(account: Account, target: str, folder: Path) -> dict[str, list[float | None]]:
    """Return the series that Prometheus would have, a value an hour, at half past."""
    spec = QuerySpec(
        target=target,
        provider=account.provider,
        name="hourly",
        meaning={"v": 1},
        interval_ms=INTERVAL_MS,
        lookback_ms=LOOKBACK_H * HOUR_MS,
    )
    exporter = _Exporter(account, spec, f"sqlite:///{folder}/{target}.db")
    hours = len(account.bots[0].counts)
    series: dict[str, list[float | None]] = {}
    for hour in range(1, hours):
        exporter.clock.step(HALF_MS)
        if hour in account.restarts:
            exporter.restart()
        if not any(start <= hour < end for start, end in account.late):
            exporter.poll(hour)
        if hour % SWEEP_H == 0:
            exporter.ledger.compact()
        exporter.clock.step(HALF_MS)
        for labels, value in exporter.shown().items():
            values = series.setdefault(_name(account, target, labels), [None] * hours)
            values[hour] = None if _gone(account, labels[0], hour) else value
    exporter.ledger.close()
    return series


def _rows(account: Account, window: Window, now: int) -> Iterator[CountRow]:
    first = (window.start_ms - START_MS) // HOUR_MS
    for bot in account.bots:
        for hour in range(first, now):
            for channel, count in zip(CHANNELS, _told(bot, hour, now), strict=True):
                key = (RECEIVED, (bot.name, "", channel))
                yield key, START_MS + hour * HOUR_MS, float(count)


def _told(bot: Bot, hour: int, now: int) -> tuple[int, ...]:
    """Return what the API says of ``hour`` at the start of hour ``now``."""
    age = now - hour
    late = 0.97 if age <= 2 else 1.0
    back = 0.99 if hour % WEEK == 100 and age > 3 else 1.0
    return tuple(round(count * late * back) for count in bot.counts[hour])


def _gone(account: Account, project: str, hour: int) -> bool:
    """Say whether the bot has been taken out of the settings."""
    bot = next(bot for bot in account.bots if bot.name == project)
    return any(e.kind is MetricType.REMOVED and e.start <= hour for e in bot.episodes)


def _name(account: Account, target: str, labels: tuple[str, ...]) -> str:
    names = zip(("project", "bot_environment", "channel"), labels, strict=True)
    more = ",".join(f'{name}="{value}"' for name, value in names)
    return (
        f'chatbot_period_messages_received{{provider="{account.provider}",target="{target}",'
        f'{more},period="hour"}}'
    )

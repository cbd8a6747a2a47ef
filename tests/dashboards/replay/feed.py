"""Through the real ledger and the real gauges: what ``/metrics`` would show of a scene, hour by hour.

The exporter starts two days before the weeks that are scored, and its first poll reads the past.
The API reports an hour's counts while it runs, 3 % of them up to two hours late, and once a week
takes 1 % of a settled hour back. The exporter polls every five minutes with an hour to settle; polls
between full hours settle nothing and are left out. Prometheus looks at half past, so it sees an
hour one and a half hours after its end. promtool evaluates the shipped rules over that, in steps of an
hour: an alert whose condition must hold for ten minutes fires in the step in which it becomes true.
"""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from dashboards.source.thresholds import Thresholds
from exporter.ledger.hours import BotLabels
from exporter.model.families import HISTORY_WEEKS
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, CountRow, Window, ceil_to
from tests.dashboards.promtool import HOUR_S, Values, firing, mutated, rules
from tests.dashboards.replay.scene import LEARNING_WEEKS, WEEK, Account, Bot, EventKind
from tests.support.builders import spec
from tests.support.driver import LedgerDriver, engagement_of
from tests.support.virtual import VirtualClock

RECEIVED = "chatbot_messages_received_total"
LOOKBACK_H = 6
INTERVAL_MS = 300_000
HALF_MS = HOUR_MS // 2
COMPACT_EVERY_H = 6
CHANNELS = ("web", "app")
DROPS = tuple(f"ChatbotEngagementDrop{drop.name}" for drop in Thresholds().drops)


class _Exporter:
    """One account's exporter: a ledger that outlives restarts, and the gauges over it."""

    def __init__(self, account: Account, spec: QuerySpec, folder: Path) -> None:
        self.account = account
        clock = VirtualClock(account.start_ms + account.starts_at * HOUR_MS - HALF_MS)
        self.driver = LedgerDriver(folder, spec, clock=clock)
        self.gauges = engagement_of(self.driver)

    def restart(self) -> None:
        self.driver.reopen()
        self.gauges = engagement_of(self.driver)

    def poll(self, hour: int) -> None:
        """Poll at the start of ``hour``."""
        claim, now_ms = self.driver.claim(), self.driver.clock.now_ms()
        start_ms = min(claim.cursor_ms or self.account.start_ms, now_ms - LOOKBACK_H * HOUR_MS)
        window = Window(start_ms, ceil_to(now_ms + 1, HOUR_MS))
        rows = list(_rows(self.account, window, hour))
        self.driver.poll(claim=claim, window=window, counts=rows)
        self.gauges.note(self.driver.spec.key)

    async def shown(self) -> dict[str, float]:
        """Return the gauges that the rules read, by series."""
        self.gauges.tick()
        await self.gauges.work()
        shown = {}
        for bot in self.gauges.bots:
            names = zip(BotLabels._fields, bot.labels, strict=True)
            labels = ",".join(f'{name}="{value}"' for name, value in names)
            shown[f"{HISTORY_WEEKS.name}{{{labels}}}"] = bot.weeks
            for hours, found in bot.scores.items():
                of_window = f'{{{labels},window="{hours}h"}}'
                shown[f"chatbot_engagement{of_window}"] = found.engagement
                shown[f"chatbot_engagement_expected{of_window}"] = found.expected
                shown[f"chatbot_engagement_score{of_window}"] = found.score
        return shown


def fed(account: Account, target: str, folder: Path) -> dict[str, list[float | None]]:
    """Return the series that Prometheus would have, a value an hour, at half past."""
    query = spec(
        target=target,
        provider=account.provider,
        interval_ms=INTERVAL_MS,
        lookback_ms=LOOKBACK_H * HOUR_MS,
        timezone=account.timezone,
        holidays=account.holidays,
    )
    with asyncio.Runner() as runner:
        return runner.run(_fed(account, _Exporter(account, query, folder)))


async def _fed(account: Account, exporter: _Exporter) -> dict[str, list[float | None]]:
    hours = len(account.bots[0].counts)
    series: dict[str, list[float | None]] = {}
    for hour in range(account.starts_at, hours):
        exporter.driver.clock.step(HALF_MS)
        if hour in account.restarts:
            exporter.restart()
        if not any(start <= hour < end for start, end in account.late):
            exporter.poll(hour)
        if hour % COMPACT_EVERY_H == 0:
            exporter.driver.compact()
        exporter.driver.clock.step(HALF_MS)
        for name, value in (await exporter.shown()).items():
            series.setdefault(name, [None] * hours)[hour] = value
    exporter.driver.close()
    for bot in account.bots:
        _remove(bot, series)
    return series


def _remove(bot: Bot, series: Mapping[str, list[float | None]]) -> None:
    """Remove what is shown of a bot after it has been taken out of the settings."""
    for gone in (e.start for e in bot.episodes if e.kind is EventKind.REMOVED):
        for name, values in series.items():
            if f'project="{bot.name}"' in name:
                values[gone:] = [None] * (len(values) - gone)


def _rows(account: Account, window: Window, now: int) -> Iterator[CountRow]:
    first = (window.start_ms - account.start_ms) // HOUR_MS
    for bot in account.bots:
        for hour in range(first, now):
            for channel, count in zip(CHANNELS, _reported(account, bot, hour, now), strict=True):
                key = (RECEIVED, (bot.name, "", channel))
                yield key, account.start_ms + hour * HOUR_MS, float(count)


def _reported(account: Account, bot: Bot, hour: int, now: int) -> tuple[int, ...]:
    """Return what the API says of ``hour`` at the start of hour ``now``."""
    age = now - hour
    late = account.prompt if age <= 2 else 1.0
    back = 0.99 if hour % WEEK == 100 and age > 3 else 1.0
    return tuple(round(count * late * back) for count in bot.counts[hour])


def alerting(folder: Path, series: Mapping[str, Values], hours: int) -> dict[str, list[bool]]:
    """Return whether any alert about a drop fires, hour by hour, by bot."""
    ruleset = mutated(rules(Thresholds(interval_s=HOUR_S), DROPS), "10m", "0s")
    probes = [hour * HOUR_S for hour in range(LEARNING_WEEKS * WEEK, hours)]
    found: dict[str, list[bool]] = {}
    for probe, samples in firing(folder, ruleset, series, probes, step_s=HOUR_S).items():
        for sample in samples:
            bot = found.setdefault(sample["project"], [False] * hours)
            bot[probe // HOUR_S] = True
    return found

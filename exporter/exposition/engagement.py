"""Puts expected engagement on the page, computed off the event loop when settled hours change.

Expectations are learnt once a day, and again when more of the past has been read.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from itertools import islice

import structlog

from exporter.clock import Clock
from exporter.config.holidays import holiday_calendar
from exporter.engagement.expectation import (
    LEARN_H,
    TAIL_H,
    WINDOWS,
    Expectation,
    HourExpectation,
    WindowScore,
    expected_hours,
    judge,
    learn,
)
from exporter.engagement.hours import DAY_H, WEEK_H, Arrivals, Calendar, HourlyCounts, no_holiday
from exporter.errors import LedgerError
from exporter.exposition.page import MetricsPage
from exporter.ledger.hours import BotLabels, SettledHours
from exporter.ledger.offload import Offload
from exporter.ledger.rows import Shown
from exporter.ledger.store import Ledger
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import HOUR_MS

log = structlog.get_logger(__name__)

OWNER = "~engagement/"
DIGITS = 3
PUBLISH_EVERY_S = 1.0
LEARN_EVERY_MS = DAY_H * HOUR_MS
LEARN_AGAIN_MS = 15_000
"""The shortest time between two learnings while the past is being read."""


@dataclass(frozen=True, slots=True)
class BotEngagement:
    """The engagement of one bot at its newest settled hour.

    ``scores`` are by window length in hours: none while the data is late, while an hour of the
    window is unknown, and in the first week.
    """

    labels: BotLabels
    late: bool
    scores: Mapping[int, WindowScore]
    _expectation: Expectation | None = field(repr=False)
    _hours: HourlyCounts = field(repr=False)
    _calendar: Calendar = field(repr=False)
    _arrived: Sequence[float] = field(repr=False)

    @property
    def end_ms(self) -> int:
        """Return the end of the newest settled hour."""
        return self._hours.end_ms

    @property
    def weeks(self) -> float:
        """Return the weeks of history learnt from; before that, the known part of a week."""
        if self._expectation:
            return self._expectation.weeks
        counts = self._hours.from_first_count().counts
        return min(1.0, sum(count is not None for count in counts) / WEEK_H)

    @property
    def holiday(self) -> bool | None:
        """Return whether the newest hour is on a holiday; None if none are configured."""
        newest = self._hours.since(self.end_ms - HOUR_MS)
        return self._calendar.holidays(newest) != (None,) if self._calendar.has_holidays else None

    def last_week(self) -> Sequence[HourExpectation]:
        """Return the last seven days by hour, oldest first, or fewer if fewer are known.

        Computed on each call in about a millisecond; safe from any thread.
        """
        if self._expectation is not None:
            found = expected_hours(self._expectation, self._hours, self._calendar, self._arrived)
            return found[-WEEK_H:]
        newest = self._hours.since(self._hours.end_ms - WEEK_H * HOUR_MS)
        return [
            HourExpectation(newest.start_ms + at * HOUR_MS, count, None, None)
            for at, count in enumerate(newest.counts)
        ]


@dataclass(frozen=True, slots=True)
class _Learnt:
    """Expectations of a query's bots, from hours between ``known_from_ms`` and ``end_ms``."""

    at_ms: int
    end_ms: int
    known_from_ms: int
    expectations: Mapping[BotLabels, Expectation | None]

    def outdated_ms(self, hours: SettledHours) -> int | None:
        """Return from when to learn again, given ``hours``; None: this is up to date.

        What was learnt while the clock was ahead ends after ``hours``.
        """
        age_ms = hours.end_ms - self.end_ms
        nothing_yet = age_ms > 0 and not any(self.expectations.values())
        new = hours.bots.keys() - self.expectations.keys()
        if new or nothing_yet or not 0 <= age_ms < LEARN_EVERY_MS:
            return 0
        older = hours.known_from_ms < self.known_from_ms
        return self.at_ms + LEARN_AGAIN_MS if older else None


@dataclass(frozen=True, slots=True)
class _Judged:
    """A query's bots as shown; ``due_ms`` is when to judge again even without a commit."""

    learnt: _Learnt
    hours: SettledHours
    bots: tuple[BotEngagement, ...]
    late: bool
    due_ms: int | None


class EngagementGauges:
    """Keeps the engagement of every bot in step with the ledger; ``note`` queries that changed."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        page: MetricsPage,
        clock: Clock,
        offload: Offload,
        computing: Offload,
    ) -> None:
        self._ledger = ledger
        self._page = page
        self._clock = clock
        self._offload = offload
        self._computing = computing
        self._specs: Mapping[QueryKey, QuerySpec] = {}
        self._judged: dict[QueryKey, _Judged] = {}
        self._arrivals: dict[QueryKey, Arrivals] = {}
        self._noted: set[QueryKey] = set()
        self._wake = asyncio.Event()

    @property
    def bots(self) -> list[BotEngagement]:
        """Return every bot with settled hours; safe from any thread."""
        return [bot for judged in list(self._judged.values()) for bot in judged.bots]

    def restart(self, specs: Mapping[QueryKey, QuerySpec]) -> None:
        """Show exactly the bots of the queries of ``specs``."""
        for key in self._judged.keys() - specs.keys():
            self._remove(key)
        changed = {key for key, spec in specs.items() if self._specs.get(key) != spec}
        for key in changed:
            self._judged.pop(key, None)  # perhaps learnt with another time zone
        self._specs = specs
        self.note(*changed)

    def note(self, *keys: QueryKey) -> None:
        """Schedule the bots of these queries to be judged again after a commit."""
        self._noted.update(keys)
        if self._noted:
            self._wake.set()

    def tick(self) -> None:
        """Schedule what is due by time alone, and retry what failed."""
        now_ms = self._clock.now_ms()
        due = [(key, judged.due_ms) for key, judged in self._judged.items()]
        self.note(*(key for key, due_ms in due if due_ms is not None and due_ms <= now_ms))

    async def run(self) -> None:
        """Judge noted queries forever; what fails is retried at the next tick."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            with suppress(LedgerError):
                await self.work()

    async def work(self) -> None:
        """Judge all noted queries, and publish the results."""
        noted, self._noted = sorted(self._noted & self._specs.keys()), set()
        published_s = self._clock.monotonic()
        try:
            while noted:
                await self._try_update(noted[0])
                noted.pop(0)
                if self._clock.monotonic() - published_s >= PUBLISH_EVERY_S:
                    self._page.publish()
                    published_s = self._clock.monotonic()
        finally:
            self._noted |= set(noted)
            self._page.publish()

    async def _try_update(self, key: QueryKey) -> None:
        """Judge the bots of a query; a bug in the arithmetic affects only that query."""
        try:
            await self._update(key)
        except LedgerError:
            raise
        except Exception:  # must not stop the exporter or other bots
            log.exception("cannot compute engagement; this is a bug", query=key)
            self._remove(key)

    async def _update(self, key: QueryKey) -> None:
        spec, before = self._specs.get(key), self._judged.get(key)
        if spec is None:  # removed by a reload
            return
        hours = await self._read(spec, TAIL_H + DAY_H)
        if hours is None:
            self._remove(key)
            return
        calendar, now_ms = calendar_of(spec), self._clock.now_ms()
        learnt = before.learnt if before else None
        outdated_ms = learnt.outdated_ms(hours) if learnt else now_ms
        if learnt is None or (outdated_ms is not None and outdated_ms <= now_ms):
            learnt = await self._learn(spec, calendar)
            outdated_ms = None
        arrivals = self._arrivals.setdefault(key, Arrivals())
        arrivals.note(hours.end_ms, hours.totals)
        late = hours.expires_ms <= now_ms
        if before and (before.hours, before.late) == (hours, late) and before.learnt is learnt:
            return
        shares, expectations = arrivals.shares, learnt.expectations

        def judge_all() -> tuple[BotEngagement, ...]:
            return tuple(
                judged(bot, counts, expectations.get(bot), calendar, shares, late=late)
                for bot, counts in _hours_of_bots(hours)
            )

        bots = await self._computing(judge_all)
        due_ms = min(outdated_ms or hours.expires_ms, hours.expires_ms)
        if self._specs.get(key) is spec:
            self._take_over(key, bots)
            self._judged[key] = _Judged(learnt, hours, bots, late, None if late else due_ms)
            self._page.put(
                (key[0], OWNER + key[1]), [sample for bot in bots for sample in gauges_of(bot)]
            )

    def _take_over(self, key: QueryKey, bots: Iterable[BotEngagement]) -> None:
        """Show no bot twice: these are now measured better than by the target's other queries."""
        mine = {bot.labels for bot in bots}
        for other, judged in list(self._judged.items()):
            same = other[0] == key[0] and other != key
            if same and not mine.isdisjoint(bot.labels for bot in judged.bots):
                self._remove(other)
                self.note(other)

    async def _learn(self, spec: QuerySpec, calendar: Calendar) -> _Learnt:
        """Learn the query's bots one by one, so that no poll waits for all of them."""
        at_ms = self._clock.now_ms()
        hours = await self._read(spec, LEARN_H)
        if hours is None:
            return _Learnt(at_ms, 0, 0, {})
        expectations = {
            bot: await self._computing(partial(learn, counts, calendar))
            for bot, counts in _hours_of_bots(hours)
        }
        return _Learnt(at_ms, hours.end_ms, hours.known_from_ms, expectations)

    def _remove(self, key: QueryKey) -> None:
        self._judged.pop(key, None)
        self._arrivals.pop(key, None)
        self._page.remove((key[0], OWNER + key[1]))

    async def _read(self, spec: QuerySpec, most: int) -> SettledHours | None:
        """Return the hours of as many bots as the target's cap allows, oldest series first."""
        hours = await self._offload(partial(self._ledger.settled_hours, spec.key, most))
        if hours is None:
            return None
        family = ENGAGEMENT[0]
        others = [
            len(judged.bots)
            for key, judged in self._judged.items()
            if key[0] == spec.target and key != spec.key
        ]
        room = max(0, spec.caps.get(family.name, family.cap) // len(WINDOWS) - sum(others))
        if len(hours.bots) > room and most == LEARN_H:  # logged once a day
            hint = f"raise limits.families.{family.name}; each bot takes {len(WINDOWS)}"
            log.warning("not all bots are judged", target=spec.target, query=spec.name, error=hint)
        return replace(hours, bots=dict(islice(hours.bots.items(), room)))


def _hours_of_bots(hours: SettledHours) -> Iterator[tuple[BotLabels, HourlyCounts]]:
    return ((bot, HourlyCounts(hours.start_ms, counts)) for bot, counts in hours.bots.items())


def calendar_of(spec: QuerySpec) -> Calendar:
    """Return the time zone and holidays of a query's bots."""
    named = spec.holidays
    return Calendar(spec.timezone, holiday_calendar(named) if named else no_holiday)


def judged(
    labels: BotLabels,
    hours: HourlyCounts,
    expectation: Expectation | None,
    calendar: Calendar,
    arrived: Sequence[float] = (),
    *,
    late: bool = False,
) -> BotEngagement:
    """Return the engagement of a bot at the newest of ``hours``."""
    scores = judge(expectation, hours, calendar, arrived) if expectation and not late else {}
    return BotEngagement(labels, late, scores, expectation, hours, calendar, arrived)


def gauges_of(bot: BotEngagement) -> Iterator[Shown]:
    """Yield the samples of a bot's gauges; windows without a score are left out."""
    for score in bot.scores.values():
        hours, *values = astuple(score)
        for family, value in zip(ENGAGEMENT, values, strict=True):
            yield Shown(family.name, (*bot.labels, f"{hours}h"), round(value, DIGITS))
    yield Shown(HISTORY_WEEKS.name, bot.labels, round(bot.weeks, DIGITS))
    if bot.holiday is not None:
        yield Shown(HOLIDAY.name, bot.labels, float(bot.holiday))

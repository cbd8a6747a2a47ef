"""Made-up bots: rhythm, noise that is correlated in time, and things that happen to them; and real counts.

Everything follows from a seed. Hours count from the scene's start, a Monday 00:00 UTC. Real counts are
taxi passengers in New York, as bots of several sizes: ``nyc_taxi.csv`` of the Numenta Anomaly Benchmark
(data/realKnownCause, MIT licence), https://github.com/numenta/NAB, passengers by half hour of local time.
It is not in this repository.
"""

import csv
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.engagement.bots import poisson

DAY = 24
WEEK = 7 * DAY
LEARNING_WEEKS = 5
VOLUMES = (40, 150, 600, 2_000, 8_000)
"""Messages a day of a bot of each class."""
DEPTHS = (0.3, 0.5, 0.7, 1.0)
SPANS = (12, 24, 48)


class EventKind(Enum):
    """What happens to a bot. Only drops should fire an alert."""

    STEP = "step"
    RAMP = "ramp"
    CHANNEL = "channel lost"
    HOLIDAY = "holiday"
    CAMPAIGN = "campaign"
    CLOCK = "clock change"
    REMOVED = "removed"


class Stress(Enum):
    """What is harder than usual, for every bot of an account."""

    NONE = "none"
    NOISE = "noise"  # twice as strong
    WEEKDAYS = "weekdays"  # each weekday has its own shape
    OFFICE = "office"  # next to nothing outside office hours
    WEEKLY = "weekly"  # a campaign at the same hours of every week
    SHORT = "short"  # the newest hours are 15 % short
    RAMP_UP = "ramp-up"  # a new bot: 10 % at first, 100 % after seven weeks


_ELSEWHERE = frozenset({EventKind.CHANNEL, EventKind.CLOCK, EventKind.REMOVED})
DROPS = frozenset({EventKind.STEP, EventKind.RAMP, EventKind.CHANNEL})


@dataclass(frozen=True, slots=True)
class Episode:
    """Something that happened in hours ``[start, end)``; ``depth`` is the part that was lost."""

    kind: EventKind
    start: int
    end: int
    depth: float


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot: ``counts`` are its true counts by hour and channel."""

    name: str
    volume: int
    counts: tuple[tuple[int, int], ...]
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """Bots read together; ``late`` are hours ``[start, end)`` in which the API does not answer.

    ``restarts`` are hours at which the exporter starts anew.
    """

    provider: str
    bots: tuple[Bot, ...]
    late: tuple[tuple[int, int], ...]
    restarts: frozenset[int]
    start_ms: int = 1_767_571_200_000  # 2026-01-05T00:00:00Z, a Monday
    timezone: str = "UTC"
    holidays: tuple[str, ...] = ()
    starts_at: int = LEARNING_WEEKS * WEEK - 2 * DAY
    """The hour of the exporter's first poll."""
    prompt: float = 0.97
    """The part of an hour's counts that the API reports before the hour is three hours old."""


@dataclass(slots=True)
class _Life:
    """The traits of one bot, drawn once."""

    rng: random.Random
    volume: int
    hours: int
    stress: Stress
    growth: float = 0.0
    peak: int = 14
    night: float = 0.1
    weekend: float = 0.6
    unsteady: float = 0.1
    weekdays: tuple[tuple[int, float], ...] = ()
    """Peak and night of each weekday, where each has its own."""
    weekly: int = 0
    """The hour of the week at which the weekly campaign begins."""
    episodes: list[Episode] = field(default_factory=list)


def account(
    seed: int, provider: str, bots: int, weeks: int, stress: Stress = Stress.NONE
) -> Account:
    """Return an account of ``bots`` bots over ``weeks`` weeks of which five are for learning.

    The same seed has the same bots and episodes under every stress.
    """
    rng = random.Random(f"{seed}/{provider}/0")  # noqa: S311 - made-up bots
    hours = weeks * WEEK
    made = tuple(
        _bot(rng, f"bot{index}", VOLUMES[index % 5], hours, stress) for index in range(bots)
    )
    first = LEARNING_WEEKS * WEEK
    late = []
    for week in range(LEARNING_WEEKS, weeks):
        start = week * WEEK + rng.randrange(WEEK - 14)
        late.append((start, start + rng.choice((5, 8, 14))))
    restarts = frozenset(rng.randrange(first, hours) for _ in range(weeks))
    prompt = 0.85 if stress is Stress.SHORT else 0.97
    return Account(provider, made, tuple(late), restarts, prompt=prompt)


def _bot(rng: random.Random, name: str, volume: int, hours: int, stress: Stress) -> Bot:
    seed = rng.random()
    life = _Life(random.Random(seed), volume, hours, stress)  # noqa: S311 - made-up bots
    life.growth = life.rng.choice((-0.02, 0.0, 0.02))
    life.peak = life.rng.randrange(10, 20)
    life.night = life.rng.uniform(0.05, 0.3)
    life.weekend = life.rng.uniform(0.4, 1.0)
    life.unsteady = life.rng.uniform(0.05, 0.15)
    _strain(life, random.Random(f"{seed}/{stress.value}"))  # noqa: S311 - made-up bots
    _happen(life)
    return Bot(name, volume, _counts(life), tuple(life.episodes))


def _strain(life: _Life, rng: random.Random) -> None:
    """Draw what the stress needs, from a generator of its own."""
    match life.stress:
        case Stress.WEEKDAYS:
            life.weekdays = tuple((rng.randrange(8, 22), rng.uniform(0.05, 0.5)) for _ in range(7))
        case Stress.OFFICE:
            life.night, life.weekend = 0.0, 0.02
        case Stress.WEEKLY:
            life.weekly = rng.randrange(5) * DAY + rng.randrange(8, 16)
        case _:
            pass


def _happen(life: _Life) -> None:
    """Draw what happens: a drop in every second bot, and in every bot things that are none."""
    rng, first = life.rng, LEARNING_WEEKS * WEEK
    holiday = rng.randrange(LEARNING_WEEKS * 7) * DAY
    life.episodes.append(Episode(EventKind.HOLIDAY, holiday, holiday + DAY, 0.6))
    campaign = rng.randrange(2 * WEEK, life.hours - DAY)
    life.episodes.append(
        Episode(EventKind.CAMPAIGN, campaign, campaign + rng.randrange(6, 30), -3.0)
    )
    if rng.random() < 0.1:
        life.episodes.append(
            Episode(EventKind.CLOCK, rng.randrange(first, life.hours), life.hours, 0)
        )
    fate = rng.random()
    if fate < 0.05:
        gone = rng.randrange(first, life.hours)
        life.episodes.append(Episode(EventKind.REMOVED, gone, life.hours, 0))
    elif fate < 0.55:
        life.episodes.append(_drop(rng, first, life.hours))


def _drop(rng: random.Random, first: int, hours: int) -> Episode:
    kind = rng.choices((EventKind.STEP, EventKind.RAMP, EventKind.CHANNEL), (8, 1, 1))[0]
    depth = 0.6 if kind is EventKind.CHANNEL else rng.choice(DEPTHS)
    span = rng.choice(SPANS) if kind is not EventKind.RAMP else 72
    start = rng.randrange(first, hours - span - DAY)
    if span < DAY:  # half a day means the busy half: a night holds next to nothing to lose
        start = start - start % DAY + 8
    return Episode(kind, start, start + span, depth)


def _counts(life: _Life) -> tuple[tuple[int, int], ...]:
    rng, by_day, by_hour = life.rng, 0.0, 0.0
    noise = 2 if life.stress is Stress.NOISE else 1
    counts = []
    for hour in range(life.hours):
        if hour % DAY == 0:
            by_day = 0.5 * by_day + rng.gauss(0, noise * 0.08)
        by_hour = 0.8 * by_hour + rng.gauss(0, noise * life.unsteady * 0.6)
        mean = _mean(life, hour) * math.exp(by_day + by_hour)
        lost = _is(life, hour, EventKind.CHANNEL)
        others = poisson(rng, 0.4 * mean)
        counts.append((0 if lost else poisson(rng, 0.6 * mean), others))
    return tuple(counts)


def _mean(life: _Life, hour: int) -> float:
    shifted = hour + _is(life, hour, EventKind.CLOCK)
    peak, night = life.peak, life.night
    if life.weekdays:
        peak, night = life.weekdays[shifted // DAY % 7]
    wave = (1 + math.cos((shifted - peak) % DAY / DAY * 2 * math.pi)) / 2
    if life.stress is Stress.OFFICE:
        wave = 1.5 if 8 <= shifted % DAY < 17 else 0.01
    of_day = night + (1 - night) * wave
    of_week = life.weekend if shifted // DAY % 7 in {5, 6} else 1.0
    grown = math.exp(life.growth * hour / WEEK)
    average = night + (1 - night) / 2
    factor = _stressed(life, hour)
    for episode in life.episodes:
        factor *= _factor(episode, hour)
    return life.volume / DAY * of_day / average * of_week * grown * factor


def _stressed(life: _Life, hour: int) -> float:
    if life.stress is Stress.WEEKLY and 0 <= hour % WEEK - life.weekly < 8:
        return 3.0
    if life.stress is Stress.RAMP_UP:
        return min(1.0, 0.1 * math.pow(10, hour / (7 * WEEK)))
    return 1.0


def _factor(episode: Episode, hour: int) -> float:
    if not episode.start <= hour < episode.end or episode.kind in _ELSEWHERE:
        return 1.0
    if episode.kind is EventKind.RAMP:
        return 1 - episode.depth * min(1.0, (hour - episode.start + 1) / DAY)
    return 1 - episode.depth


def _is(life: _Life, hour: int, kind: EventKind) -> bool:
    return any(e.kind is kind and e.start <= hour < e.end for e in life.episodes)


ZONE = ZoneInfo("America/New_York")
UNUSUAL = (
    (date(2014, 7, 4), 3),  # Independence Day and its weekend
    (date(2014, 9, 1), 1),  # Labor Day
    (date(2014, 11, 2), 1),  # marathon
    (date(2014, 11, 27), 2),  # Thanksgiving
    (date(2014, 12, 24), 3),  # Christmas
    (date(2014, 12, 31), 2),  # New Year
    (date(2015, 1, 26), 3),  # snow storm
)
"""Days that are unusual in the counts, from a day on for so many: no alert there is wrong."""
DROP_EVERY_H = 2 * WEEK


def taxi_account(path: Path, seed: int, bots: int, holidays: tuple[str, ...] = ()) -> Account:
    """Return bots with the counts of the file, thinned to their size, and drops injected."""
    start, counts = hourly(path)
    hours = len(counts)
    unusual = tuple(_episode(start, day, days) for day, days in UNUSUAL)
    unusual = tuple(each for each in unusual if each.start >= 0 and each.end <= hours)
    mean = sum(counts) / hours * DAY
    made = []
    for index in range(bots):
        rng = random.Random(f"{seed}/taxi/{index}")  # noqa: S311 - made-up drops
        volume = VOLUMES[index % len(VOLUMES)]
        drops = _drops(rng, hours, unusual)
        thinned = tuple(
            _thinned(rng, count * volume / mean, hour, drops) for hour, count in enumerate(counts)
        )
        made.append(Bot(f"bot{index}", volume, thinned, (*unusual, *drops)))
    return Account(
        "flowxo",
        tuple(made),
        late=(),
        restarts=frozenset(),
        start_ms=round(start.timestamp() * 1000),
        timezone=ZONE.key,
        holidays=holidays,
    )


def hourly(path: Path) -> tuple[datetime, list[float]]:
    """Return the first hour of the file and the counts of all hours from it on.

    In the night in which the clock goes back, one row holds both hours of the same name.
    """
    by_hour: dict[datetime, float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            local = datetime.fromisoformat(row["timestamp"]).replace(minute=0)
            by_hour[local] = by_hour.get(local, 0.0) + float(row["value"])
    start = min(by_hour).replace(tzinfo=ZONE).astimezone(UTC)
    end = max(by_hour).replace(tzinfo=ZONE).astimezone(UTC)
    counts = []
    for hour in range((end - start) // timedelta(hours=1) + 1):
        local = (start + timedelta(hours=hour)).astimezone(ZONE)
        twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
        counts.append(by_hour[local.replace(tzinfo=None, fold=0)] / (2 if twice else 1))
    return start, counts


def _episode(start: datetime, day: date, days: int) -> Episode:
    begins = datetime(day.year, day.month, day.day, tzinfo=ZONE)
    first = round((begins - start) / timedelta(hours=1))
    return Episode(EventKind.HOLIDAY, first, first + days * DAY, 0)


def _drops(rng: random.Random, hours: int, unusual: tuple[Episode, ...]) -> tuple[Episode, ...]:
    """Draw a drop for every two weeks, apart from the unusual days."""
    found = []
    for first in range(LEARNING_WEEKS * WEEK, hours - DROP_EVERY_H + 1, DROP_EVERY_H):
        span = rng.choice(SPANS)
        start = first + rng.randrange(DROP_EVERY_H - 4 * DAY)
        if span < DAY:  # half a day means the busy half
            start += (12 - start) % DAY
        drop = Episode(EventKind.STEP, start, start + span, rng.choice(DEPTHS))
        if all(drop.end + 2 * DAY < each.start or each.end + 2 * DAY < start for each in unusual):
            found.append(drop)
    return tuple(found)


def _thinned(
    rng: random.Random, mean: float, hour: int, drops: tuple[Episode, ...]
) -> tuple[int, int]:
    left = next((1 - drop.depth for drop in drops if drop.start <= hour < drop.end), 1.0)
    return poisson(rng, 0.6 * mean * left), poisson(rng, 0.4 * mean * left)

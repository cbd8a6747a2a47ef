"""Made-up bots: rhythm, noise that is correlated in time, and things that happen to them.

Everything follows from a seed. Hours count from the scene's start, a Monday 00:00 UTC.
"""

import math
import random
from dataclasses import dataclass, field
from enum import Enum

DAY = 24
WEEK = 7 * DAY
LEARNING_WEEKS = 5
VOLUMES = (40, 150, 600, 2_000, 8_000)
"""Messages a day of a bot of each class."""
DEPTHS = (0.3, 0.5, 0.7, 1.0)
SPANS = (12, 24, 48)


class MetricType(Enum):
    """What happens to a bot. Only drops are to be told."""

    STEP = "step"
    RAMP = "ramp"
    CHANNEL = "channel lost"
    HOLIDAY = "holiday"
    CAMPAIGN = "campaign"
    CLOCK = "clock change"
    REMOVED = "removed"


_ELSEWHERE = frozenset({MetricType.CHANNEL, MetricType.CLOCK, MetricType.REMOVED})
DROPS = frozenset({MetricType.STEP, MetricType.RAMP, MetricType.CHANNEL})


@dataclass(frozen=True, slots=True)
class Episode:
    """Something that happened in hours ``[start, end)``; ``depth`` is the part that was lost."""

    kind: MetricType
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


@dataclass(slots=True)
class _Life:
    """The traits of one bot, drawn once."""

    rng: random.Random
    volume: int
    hours: int
    growth: float = 0.0
    peak: int = 14
    night: float = 0.1
    weekend: float = 0.6
    unsteady: float = 0.1
    episodes: list[Episode] = field(default_factory=list)


def account(seed: int, provider: str, bots: int, weeks: int) -> Account:
    """Return an account of ``bots`` bots over ``weeks`` weeks of which five are for learning."""
    rng = random.Random(f"{seed}/{provider}/0")  # noqa: S311 - made-up bots
    hours = weeks * WEEK
    made = tuple(_bot(rng, f"bot{index}", VOLUMES[index % 5], hours) for index in range(bots))
    first = LEARNING_WEEKS * WEEK
    late = []
    for week in range(LEARNING_WEEKS, weeks):
        start = week * WEEK + rng.randrange(WEEK - 14)
        late.append((start, start + rng.choice((5, 8, 14))))
    restarts = frozenset(rng.randrange(first, hours) for _ in range(weeks))
    return Account(provider, made, tuple(late), restarts)


def _bot(rng: random.Random, name: str, volume: int, hours: int) -> Bot:
    life = _Life(random.Random(rng.random()), volume, hours)  # noqa: S311 - made-up bots
    life.growth = life.rng.choice((-0.02, 0.0, 0.02))
    life.peak = life.rng.randrange(10, 20)
    life.night = life.rng.uniform(0.05, 0.3)
    life.weekend = life.rng.uniform(0.4, 1.0)
    life.unsteady = life.rng.uniform(0.05, 0.15)
    _happen(life)
    return Bot(name, volume, _counts(life), tuple(life.episodes))


def _happen(life: _Life) -> None:
    """Draw what happens: a drop in every second bot, and in every bot things that are none."""
    rng, first = life.rng, LEARNING_WEEKS * WEEK
    holiday = rng.randrange(LEARNING_WEEKS * 7) * DAY
    life.episodes.append(Episode(MetricType.HOLIDAY, holiday, holiday + DAY, 0.6))
    campaign = rng.randrange(2 * WEEK, life.hours - DAY)
    life.episodes.append(
        Episode(MetricType.CAMPAIGN, campaign, campaign + rng.randrange(6, 30), -3.0)
    )
    if rng.random() < 0.1:
        life.episodes.append(
            Episode(MetricType.CLOCK, rng.randrange(first, life.hours), life.hours, 0)
        )
    fate = rng.random()
    if fate < 0.05:
        gone = rng.randrange(first, life.hours)
        life.episodes.append(Episode(MetricType.REMOVED, gone, life.hours, 0))
    elif fate < 0.55:
        life.episodes.append(_drop(rng, first, life.hours))


def _drop(rng: random.Random, first: int, hours: int) -> Episode:
    kind = rng.choices((MetricType.STEP, MetricType.RAMP, MetricType.CHANNEL), (8, 1, 1))[0]
    depth = 0.6 if kind is MetricType.CHANNEL else rng.choice(DEPTHS)
    span = rng.choice(SPANS) if kind is not MetricType.RAMP else 72
    start = rng.randrange(first, hours - span - DAY)
    if span < DAY:  # half a day means the busy half: a night holds next to nothing to lose
        start = start - start % DAY + 8
    return Episode(kind, start, start + span, depth)


def _counts(life: _Life) -> tuple[tuple[int, int], ...]:
    rng, by_day, by_hour = life.rng, 0.0, 0.0
    counts = []
    for hour in range(life.hours):
        if hour % DAY == 0:
            by_day = 0.5 * by_day + rng.gauss(0, 0.08)
        by_hour = 0.8 * by_hour + rng.gauss(0, life.unsteady * 0.6)
        mean = _mean(life, hour) * math.exp(by_day + by_hour)
        lost = _is(life, hour, MetricType.CHANNEL)
        others = _poisson(rng, 0.4 * mean)
        counts.append((0 if lost else _poisson(rng, 0.6 * mean), others))
    return tuple(counts)


def _mean(life: _Life, hour: int) -> float:
    shifted = hour + _is(life, hour, MetricType.CLOCK)
    of_day = life.night + (1 - life.night) * (
        (1 + math.cos((shifted - life.peak) % DAY / DAY * 2 * math.pi)) / 2
    )
    of_week = life.weekend if shifted // DAY % 7 in {5, 6} else 1.0
    grown = math.exp(life.growth * hour / WEEK)
    average = life.night + (1 - life.night) / 2
    factor = 1.0
    for episode in life.episodes:
        factor *= _factor(episode, hour)
    return life.volume / DAY * of_day / average * of_week * grown * factor


def _factor(episode: Episode, hour: int) -> float:
    if not episode.start <= hour < episode.end or episode.kind in _ELSEWHERE:
        return 1.0
    if episode.kind is MetricType.RAMP:
        return 1 - episode.depth * min(1.0, (hour - episode.start + 1) / DAY)
    return 1 - episode.depth


def _is(life: _Life, hour: int, kind: MetricType) -> bool:
    return any(e.kind is kind and e.start <= hour < e.end for e in life.episodes)


def _poisson(rng: random.Random, mean: float) -> int:
    """Return a Poisson number; a rounded normal one where that is as good."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, number = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        number += 1
    return number

"""``python -m scripts.counting_pictures`` draws how counting works, with a real ledger.

Each story is polled into a ledger. The picture shows the sum of the vendor's hours since the first
poll, and the counter, over time.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from exporter.model.samples import HOUR_MS, floor_to
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MINUTE_MS = 60_000
FIRST_MS = floor_to(START_MS, HOUR_MS) + HOUR_MS
WIDTH, HEIGHT, LEFT, TOP, FOOT = 720, 240, 48, 40, 56

SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="#fff"/>
<text x="{left}" y="20" font-size="14">{title}</text>
<polygon points="{area}" fill="#E69F00" fill-opacity="0.3"/>
<polyline points="{vendor}" fill="none" stroke="#0072B2" stroke-width="2"/>
<polyline points="{counter}" fill="none" stroke="#D55E00" stroke-width="2" stroke-dasharray="6 3"/>
{marks}
<text x="8" y="{top}">{highest}</text>
<text x="8" y="{base}">0</text>
<text x="48" y="{legend}" fill="#0072B2">— the vendor's hours, since the first poll</text>
<text x="330" y="{legend}" fill="#D55E00">- - the counter</text>
<text x="450" y="{legend}" fill="#8a5a00">shaded: the difference</text>
</svg>
"""


@dataclass(frozen=True, slots=True)
class Story:
    """Polls by minute: the values of all hours then, from the one before the first poll on."""

    name: str
    title: str
    polls: Mapping[int, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Point:
    """The state after one poll: minutes since the first, the vendor's growth, the counter."""

    minute: int
    vendor: float
    counter: float


STORIES = (
    Story(
        "counting-late",
        "Late rows are added when they arrive; the first read is the baseline",
        {0: (100, 30), 20: (100, 55), 50: (100, 55, 0), 70: (104, 80, 12), 90: (104, 95, 30)}
        | {110: (104, 95, 48), 130: (104, 97, 60, 9)},
    ),
    Story(
        "counting-retraction",
        "Counts that the vendor takes back are overhang, which later growth repays",
        {0: (100, 30), 20: (100, 60), 40: (100, 90, 10), 60: (100, 62, 20), 80: (100, 62, 34)}
        | {100: (100, 62, 51), 120: (100, 62, 70), 140: (100, 62, 88, 6)},
    ),
    Story(
        "counting-write-off",
        "Overhang is written off after six hours, so that growth counts again",
        {0: (100, 30), 60: (100, 120), 120: (100, 60, 5)}
        | {120 + 60 * n: (100, 60, 5, *(6 for _ in range(n))) for n in range(1, 10)},
    ),
)


def counted(story: Story) -> list[Point]:
    """Return the vendor's growth and the counter after each poll of ``story``."""
    with tempfile.TemporaryDirectory() as folder:
        driver = LedgerDriver(Path(folder), clock=VirtualClock(FIRST_MS))
        points = [_polled(driver, minute, hours) for minute, hours in story.polls.items()]
        driver.close()
    first = points[0].vendor
    return [Point(each.minute, each.vendor - first, each.counter) for each in points]


def _polled(driver: LedgerDriver, minute: int, hours: Sequence[float]) -> Point:
    driver.clock.step(max(0, FIRST_MS + minute * MINUTE_MS - driver.clock.now_ms()))
    driver.ledger.maintain()
    driver.poll({FIRST_MS + (at - 1) * HOUR_MS: value for at, value in enumerate(hours)})
    return Point(minute, sum(hours), driver.counter())


def drawn(story: Story) -> str:
    """Return an SVG of ``story``."""
    points = counted(story)
    across = (WIDTH - LEFT - 32) / points[-1].minute
    highest = max(max(each.vendor, each.counter) for each in points)
    base, up = HEIGHT - FOOT, (HEIGHT - TOP - FOOT) / highest
    vendor = _steps([(LEFT + p.minute * across, base - p.vendor * up) for p in points])
    counter = _steps([(LEFT + p.minute * across, base - p.counter * up) for p in points])
    return SVG.format(
        title=escape(story.title),
        highest=f"{highest:g}",
        vendor=_text(vendor),
        counter=_text(counter),
        area=_text([*counter, *reversed(vendor)]),
        marks="".join(_mark(LEFT + p.minute * across, f"{p.minute} min") for p in points),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        top=TOP + 4,
        base=base + 4,
        legend=HEIGHT - 10,
    )


def _steps(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a line that stays level between polls."""
    bent = [places[0]]
    for x, y in places[1:]:
        bent += [(x, bent[-1][1]), (x, y)]
    return bent


def _text(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _mark(x: float, label: str) -> str:
    y = HEIGHT - FOOT
    return (
        f'<path d="M{x:.1f} {y}v4" stroke="#555"/>'
        f'<text x="{x:.1f}" y="{y + 17}" text-anchor="middle" font-size="10">{label}</text>'
    )


if __name__ == "__main__":
    for each in STORIES:
        (FOLDER / f"{each.name}.svg").write_text(drawn(each), "utf-8")

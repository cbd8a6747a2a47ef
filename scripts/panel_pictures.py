"""``python -m scripts.panel_pictures`` draws panels from their own queries into docs/pictures.

The demo's history goes into a real Prometheus. The results of a panel's queries are drawn with the
title, colours and lines of the board's JSON, but without Grafana.
"""

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import httpx

from dashboards.source.files import FOLDER
from dashboards.source.thresholds import Thresholds
from exporter.clock import Clock
from exporter.logs import configure_logs
from exporter.providers import BUILT_IN
from exporter.simulator.conversations import relative_volume
from exporter.simulator.traffic import Crowd, Traffic
from tests.dashboards.live import HOUR_S, Span, history, prometheus, ranged, substituted
from tests.dashboards.promtool import rules
from tests.dashboards.replay.feed import DROPS
from tests.support.vendors import Vendors

FOLDER_OF_PICTURES = Path(__file__).parents[1] / "docs/pictures"
NOW_S = 1_772_712_000  # 2026-03-05T12:00:00Z
DAY_S = 24 * HOUR_S
STEP_S = 900
OUTAGE_S = (NOW_S - 44 * HOUR_S, NOW_S - 35 * HOUR_S)
DROP_S = (NOW_S - 12 * HOUR_S, NOW_S)
DROP_SHARE = 0.3
BAND = "Engagement in 3 hours and expected band"
PANELS = (
    ("chatbot-flowxo", BAND, 3),
    ("chatbot-flowxo", "Messages received", 2),
    ("chatbot-exporter", "Polls per hour", 1),
)
"""Board, panel, and how many days to draw."""
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
WIDTH, HEIGHT, LEFT, TOP, FOOT = 860, 300, 56, 34, 64
LEGEND_MOST = 8
ALERT_AFTER_S = 600

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line of a panel: its name, its SVG attributes, its points (seconds, value)."""

    name: str
    look: str
    points: Line


@dataclass(frozen=True, slots=True)
class Mark:
    """An event at an instant of a picture."""

    at_s: int
    text: str


def spans() -> list[Span]:
    """Return three days after four idle weeks; other vendors only appear in the last six hours."""
    first_s, awake_s, since_s = NOW_S - 33 * DAY_S, NOW_S - 3 * DAY_S, NOW_S - DAY_S // 4
    return [
        Span(first_s, first_s + HOUR_S, ("flowxo",)),
        Span(awake_s, since_s, ("flowxo",)),
        Span(since_s, NOW_S, tuple(BUILT_IN)),
    ]


def vendors(clock: Clock) -> Vendors:
    """Return the demo's vendors with a drop under way, and an API that was down for nine hours."""

    def volume(hour: int) -> float:
        dropped = DROP_S[0] <= hour * HOUR_S < DROP_S[1]
        return 100 * relative_volume(hour) * (DROP_SHARE if dropped else 1)

    made = Vendors(clock, traffic=Traffic(crowd=Crowd(1, volume, live_ms=1000 * NOW_S)))
    made.services["flowxo"].faults.on(
        "unavailable", when=lambda _: OUTAGE_S[0] <= clock.now_ms() / 1000 < OUTAGE_S[1]
    )
    return made


def main() -> None:
    """Draw all pictures."""
    configure_logs("error")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = history(folder, spans(), every_s=STEP_S, build=vendors)
        with prometheus(folder, files, STEP_S) as client:
            draw(client)


def draw(client: httpx.Client) -> None:
    """Write the pictures of all panels."""
    FOLDER_OF_PICTURES.mkdir(exist_ok=True)
    for uid, title, days in PANELS:
        panel = panel_of(uid, title)
        span = (NOW_S - days * DAY_S, NOW_S - STEP_S)
        grafana = {"$__rate_interval": "1h", "$__interval": "1h", "$__range": f"{days}d"}
        lines: list[Drawn] = []
        for target in panel["targets"]:
            found = ranged(client, substituted(target["expr"], grafana), span, STEP_S)
            lines += list(_lines(panel, target, found, len(lines)))
        if not any(line.points for line in lines):
            raise SystemExit(f"{uid}, {title}: no data")
        path = path_of(uid, title)
        marks = list(_marks(client, span)) if title == BAND else []
        path.write_text(picture(title, span, lines, marks), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


def _marks(client: httpx.Client, span: tuple[int, int]) -> Iterator[Mark]:
    """Yield the outage, the drop, and the first alert about it."""
    yield Mark(OUTAGE_S[0], "API down: no value, no alert")
    yield Mark(DROP_S[0], f"{1 - DROP_SHARE:.0%} fewer messages")
    found = [
        (int(one["values"][0][0]) + ALERT_AFTER_S, rule["alert"])
        for rule in rules(Thresholds(), DROPS)["groups"][0]["rules"]
        for one in ranged(client, rule["expr"], span, STEP_S)
        if one["metric"]["target"] == "flowxo" and not rule["labels"].get("provisional")
    ]
    if found:
        yield Mark(*min(found))


def path_of(uid: str, title: str) -> Path:
    """Return the path of a panel's picture."""
    return FOLDER_OF_PICTURES / f"{uid}-{title.lower().replace('.', '').replace(' ', '-')}.svg"


def panel_of(uid: str, title: str) -> dict[str, Any]:
    """Return a panel from the board's JSON."""
    board = json.loads((FOLDER / f"{uid}.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(p for p in board["panels"] if p["title"] == title)
    return found


def _lines(
    panel: Mapping[str, Any], target: Mapping[str, Any], found: list[Any], before: int
) -> Iterator[Drawn]:
    """Yield the lines of one query, with the look that the panel's overrides define."""
    set_by = {
        each["id"]: each["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == target["refId"]
        for each in override["properties"]
    }
    for number, one in enumerate(found):
        name = target["legendFormat"]
        for label, value in one["metric"].items():
            name = name.replace(f"{{{{{label}}}}}", value)
        name = " ".join(word for word in name.split() if "{{" not in word)
        colour = set_by.get("color", {}).get(
            "fixedColor", PALETTE[(before + number) % len(PALETTE)]
        )
        width = set_by.get(
            "custom.lineWidth", panel["fieldConfig"]["defaults"]["custom"].get("lineWidth", 1)
        )
        dash = ' stroke-dasharray="6 5"' if "custom.lineStyle" in set_by else ""
        look = f'fill="none" stroke="{colour}" stroke-width="{width}"{dash}'
        yield Drawn(name, look, [(float(at), float(value)) for at, value in one["values"]])


def picture(
    title: str, span: tuple[int, int], lines: list[Drawn], marks: Sequence[Mark] = ()
) -> str:
    """Return an SVG of the lines over the span."""
    most = max((value for line in lines for _, value in line.points), default=1) * 1.08 or 1.0

    def place(at_s: float, value: float) -> str:
        across = LEFT + (at_s - span[0]) / (span[1] - span[0]) * (WIDTH - LEFT - 12)
        down = HEIGHT - FOOT - value / most * (HEIGHT - FOOT - TOP)
        return f"{across:.1f},{down:.1f}"

    head = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="#333"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {head}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
        *_axes(span, most, place),
    ]
    for line in lines:
        for stretch in _unbroken(line.points):
            points = " ".join(place(at_s, value) for at_s, value in stretch)
            parts.append(f'<polyline {line.look} points="{points}"/>')
    for number, mark in enumerate(marks):
        x, y = place(mark.at_s, 0).split(",")
        down = TOP + 12 + 14 * number
        side = "end" if float(x) > WIDTH / 2 else "start"
        parts.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{y}" stroke="#D55E00"/>')
        parts.append(f'<text x="{x}" y="{down}" text-anchor="{side}">{escape(mark.text)}</text>')
    return "\n".join([*parts, *_legend(lines), "</svg>", ""])


def _axes(span: tuple[int, int], most: float, place: Any) -> Iterator[str]:
    for number in range(int(most / _step(most)) + 1):
        value = number * _step(most)
        start, end = place(span[0], value), place(span[1], value)
        (x1, y1), (x2, _) = start.split(","), end.split(",")
        yield f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y1}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{float(y1) + 4:.1f}" text-anchor="end">{value:,.6g}</text>'
    every_s = DAY_S if span[1] - span[0] > 2 * DAY_S else 4 * HOUR_S
    for at_s in range(-(-span[0] // every_s) * every_s, span[1], every_s):
        x, y = place(at_s, 0).split(",")
        shown = datetime.fromtimestamp(at_s, UTC).strftime(
            "%a %d %b" if every_s == DAY_S else "%H:%M"
        )
        yield f'<line x1="{x}" y1="{y}" x2="{x}" y2="{float(y) + 4:.1f}" stroke="#999"/>'
        yield f'<text x="{x}" y="{float(y) + 16:.1f}" text-anchor="middle">{shown}</text>'


def _step(most: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 … that is at least a fifth of ``most``."""
    power: float = 10 ** math.floor(math.log10(most / 5))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= most / 5)


def _unbroken(points: Line) -> Iterator[Line]:
    """Yield spans without a gap of more than two hours, as the boards draw them."""
    stretch: list[tuple[float, float]] = []
    for point in points:
        if stretch and point[0] - stretch[-1][0] > 2 * HOUR_S:
            yield stretch
            stretch = []
        stretch.append(point)
    if stretch:
        yield stretch


def _legend(lines: list[Drawn]) -> Iterator[str]:
    across, down = LEFT, HEIGHT - 26
    for line in lines[:LEGEND_MOST]:
        width = 30 + 6 * len(line.name)
        if across + width > WIDTH:
            across, down = LEFT, down + 16
        yield f'<line {line.look} x1="{across}" y1="{down - 4}" x2="{across + 16}" y2="{down - 4}"/>'
        yield f'<text x="{across + 20}" y="{down}">{escape(line.name)}</text>'
        across += width
    if len(lines) > LEGEND_MOST:
        yield f'<text x="{across}" y="{down}">and {len(lines) - LEGEND_MOST} more</text>'


if __name__ == "__main__":
    main()

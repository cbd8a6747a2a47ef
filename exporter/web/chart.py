"""The polls of the last hour as a small bar chart: two SVG paths and a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.status import OK, PollStatus

HOUR_MS = 3_600_000
SLOTS = 30
SLOT_MS = HOUR_MS // SLOTS
BAR = 4
HEIGHT = 24
LEAST = 6


@dataclass(frozen=True, slots=True)
class Chart:
    """Path data of the bars of good and of failed polls, and what they say.

    One bar covers two minutes; its height is the longest poll in it against the longest of the
    hour; one failure makes it a failed one.
    """

    good: str
    failed: str
    text: str
    width: int = SLOTS * BAR
    height: int = HEIGHT


def draw(polls: Iterable[PollStatus], now_ms: int) -> Chart:
    """Return the chart of those of ``polls`` that began in the hour before ``now_ms``."""
    recent = [poll for poll in polls if 0 <= now_ms - poll.at_ms < HOUR_MS]
    longest = max((poll.duration_s for poll in recent), default=0.0) or 1.0
    tall: dict[int, float] = {}
    bad = set()
    for poll in recent:
        slot = SLOTS - 1 - (now_ms - poll.at_ms) // SLOT_MS
        tall[slot] = max(tall.get(slot, 0.0), poll.duration_s / longest)
        if poll.outcome != OK:
            bad.add(slot)
    return Chart(
        good="".join(_bar(slot, share) for slot, share in tall.items() if slot not in bad),
        failed="".join(_bar(slot, share) for slot, share in tall.items() if slot in bad),
        text=_text(recent),
    )


def _bar(slot: int, share: float) -> str:
    height = LEAST + round(share * (HEIGHT - LEAST))
    return f"M{slot * BAR} {HEIGHT}v-{height}h{BAR - 1}v{height}z"


def _text(polls: list[PollStatus]) -> str:
    failed = sum(poll.outcome != OK for poll in polls)
    noun = "poll" if len(polls) == 1 else "polls"
    return f"{len(polls)} {noun}, {failed} failed" if failed else f"{len(polls)} {noun}"

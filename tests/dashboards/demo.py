"""History of the demo: the exporter over every simulator, in virtual time, scraped as it went.

What a Prometheus would have stored, as OpenMetrics with instants: whatever ``/metrics`` showed at
each scrape, and what Prometheus adds of its own.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from exporter.app import App, Environment
from exporter.clock import Clock
from exporter.config.model import Settings
from exporter.providers import BUILT_IN, PROVIDERS
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, inline, run_virtual

HOUR_S = 3600
FAST = 60
"""Minutes, not seconds, of the wall pass while the loop waits a second: fewer ticks, same polls."""
OWN = 'job="chatbot-exporter",instance="demo"'


@dataclass(frozen=True, slots=True)
class Span:
    """Hours ``[start_s, end_s)`` to live through with some of the vendors.

    ``kept`` are beginnings of the names of what is written down, for less to import.
    """

    start_s: int
    end_s: int
    vendors: Collection[str]
    kept: tuple[str, ...] = ("",)


class HastyClock(VirtualClock):
    """A virtual clock whose wall runs ``FAST`` times as fast as its loop."""

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.step(round(seconds * 1000 * (FAST - 1)))


def history(
    folder: Path, spans: Iterable[Span], *, every_s: int, build: Callable[[Clock], Vendors]
) -> list[Path]:
    """Live through the spans, oldest first; return a file of OpenMetrics for each.

    Between them the exporter sleeps, as a laptop with its lid closed.
    """
    spans = list(spans)
    clock = HastyClock(spans[0].start_s * 1000)
    vendors = build(clock)
    for service in vendors.services.values():
        service.keeps_log = False
    settings = vendors.document(
        {
            # Pauses between requests would last minutes here.
            name: {"requests_per_second": 0} | ({} if name == "xenioo" else {"interval": "1h"})
            for name in BUILT_IN
        }
    )
    settings["ledger"] = {"url": f"sqlite:///{folder}/ledger.db"}
    outside = Environment(
        clock=clock,
        rng=random.Random(5),  # noqa: S311 - the same jitter each time
        providers=PROVIDERS,
        offload=inline,
        transport=vendors,
    )
    made = [
        (span, read(_narrowed(settings, span)), folder / f"{span.start_s}.om") for span in spans
    ]
    run_virtual(_lived(clock, outside, made, every_s), clock)
    return [path for _, _, path in made]


async def _lived(
    clock: HastyClock, outside: Environment, made: list[tuple[Span, Settings, Path]], every_s: int
) -> None:
    app = App(made[0][1], outside)
    await app.open()
    running = asyncio.create_task(app.run())
    for span, settings, path in made:
        clock.step(max(0, span.start_s * 1000 - clock.now_ms()))
        await app.reload(partial(_loaded, settings))
        with path.open("w", encoding="utf-8") as file:
            for at_s in range(span.start_s, span.end_s, every_s):
                await clock.sleep(max(0.0, at_s - clock.now_ms() / 1000) / FAST)
                file.writelines(_scraped(app, at_s, span.kept))
            file.write("# EOF\n")
    app.stop()
    await running


def _loaded(settings: Settings) -> tuple[Settings, str]:
    return settings, "demo"


def _narrowed(settings: dict[str, Any], span: Span) -> dict[str, Any]:
    targets = [each for each in settings["targets"] if each["provider"] in span.vendors]
    return settings | {"targets": targets}


def _scraped(app: App, at_s: int, kept: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a scrape with their instant, and those that Prometheus adds."""
    lines = b"".join(app.page.scrape(openmetrics=False, gzip=False)).decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    for line in samples:
        if line.startswith(kept):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            more = f",{labels}" if labels else "}"
            yield f"{name}{{{OWN}{more} {value} {at_s}\n"
    yield f"up{{{OWN}}} 1 {at_s}\n"
    yield f"scrape_samples_post_metric_relabeling{{{OWN}}} {len(samples)} {at_s}\n"

"""Real servers on loopback: Prometheus over the demo's history, and its kin.

The history is what a Prometheus would have stored of the exporter over every simulator, in virtual time, as
OpenMetrics with instants: whatever ``/metrics`` showed at each scrape, and what Prometheus adds of its own.
"""

import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from exporter.app import App
from exporter.clock import Clock
from exporter.config.model import Settings
from exporter.providers import BUILT_IN
from tests.dashboards.promtool import DEADLINE_S, Build, needed
from tests.e2e.processes import ROOT, free_port, wait_for
from tests.packaging.programs import said
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual

GRAFANA = {"$__rate_interval": "1h", "$__interval": "1h", "$__range": "2h"}


@contextmanager
def prometheus(
    folder: Path,
    files: Sequence[Path],
    step_s: int,
    build: Build = "installed",
    features: str = "",
) -> Iterator[httpx.Client]:
    """Start Prometheus over files of OpenMetrics with instants; yield a client of its API."""
    settings, data = folder / "prometheus.yml", folder / "data"
    settings.write_text("global: {scrape_interval: 1h}\n", encoding="utf-8")
    for file in files:
        promtool = needed("promtool", build)
        said(promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", file, data)
    command = [
        needed("prometheus", build),
        f"--config.file={settings}",
        f"--storage.tsdb.path={data}",
        f"--enable-feature={features}",
        "--storage.tsdb.retention.time=10y",
        f"--query.lookback-delta={step_s}s",
    ]
    with started(command) as client:
        yield client


@contextmanager
def started(
    command: Sequence[str], port: int | None = None, folder: Path = ROOT
) -> Iterator[httpx.Client]:
    """Start a server in ``folder``; yield a client once it is ready, and end it with the block."""
    address = f"127.0.0.1:{port or free_port()}"
    listening = [*command, f"--web.listen-address={address}"]
    with (
        subprocess.Popen(  # noqa: S603 - Prometheus and its kin
            listening, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        httpx.Client(base_url=f"http://{address}", timeout=60) as client,
    ):
        try:
            wait_for(lambda: process.poll() is not None or is_ready(client), DEADLINE_S)
            assert process.poll() is None, f"{command} ended"
            yield client
        finally:
            process.terminate()


def is_ready(client: httpx.Client) -> bool:
    """Say whether a server of the kind answers queries."""
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


def asked(client: httpx.Client, expr: str, at_s: int) -> list[Any]:
    """Return the result of an instant query; its error fails the test."""
    return _result(client, "query", {"query": expr, "time": str(at_s)})


def ranged(client: httpx.Client, expr: str, span: tuple[int, int], step_s: int) -> list[Any]:
    """Return the result of a query over a span."""
    times = {"start": str(span[0]), "end": str(span[1]), "step": str(step_s)}
    return _result(client, "query_range", {"query": expr, **times})


def substituted(expr: str, grafana: dict[str, str]) -> str:
    """Return the query with Grafana's variables in place, those of boards as all."""
    for name, value in grafana.items():
        expr = expr.replace(name, value)
    return re.sub(r'"\$\w+"', '".*"', expr)


def _result(client: httpx.Client, kind: str, data: dict[str, str]) -> list[Any]:
    body = client.post(f"/api/v1/{kind}", data=data).json()
    assert body["status"] == "success", f"{body.get('error')}: {data['query']}"
    result: list[Any] = body["data"]["result"]
    return result


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
    made = [
        (span, read(_narrowed(settings, span)), folder / f"{span.start_s}.om") for span in spans
    ]
    run_virtual(_lived(clock, vendors, made, every_s), clock)
    return [path for _, _, path in made]


async def _lived(
    clock: HastyClock, vendors: Vendors, made: list[tuple[Span, Settings, Path]], every_s: int
) -> None:
    async with exporter(made[0][1], clock, vendors) as app:
        for span, settings, path in made:
            clock.step(max(0, span.start_s * 1000 - clock.now_ms()))
            await app.reload(lambda s=settings: s)  # type: ignore[misc]
            with path.open("w", encoding="utf-8") as file:
                for at_s in range(span.start_s, span.end_s, every_s):
                    await clock.sleep(max(0.0, at_s - clock.now_ms() / 1000) / FAST)
                    file.writelines(_scraped(app, at_s, span.kept))
                file.write("# EOF\n")


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

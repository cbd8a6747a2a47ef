"""A real Prometheus reads a compressed page of many blocks whole, in the format it asks for."""

from pathlib import Path

import pytest

from exporter.exposition.page import MetricsPage
from exporter.ledger.rows import Shown
from exporter.model.families import NORMALISED
from exporter.web import app as web
from exporter.web import server
from tests.dashboards.promtool import BUILDS, Build, needed
from tests.e2e.processes import wait_for
from tests.e2e.test_prometheus import prometheus
from tests.web import served

pytestmark = pytest.mark.slow
RECEIVED, KNOWN = "chatbot_messages_received_total", "chatbot_known_users"
TARGETS, CHANNELS = 400, 25


def _values(target: int, step: int) -> list[Shown]:
    name = f"shop-{target}"
    counted = [
        Shown(RECEIVED, ("flowxo", name, "p", "main", f'c{at} "%\\é'), target + at + step, 1_000)
        for at in range(CHANNELS)
    ]
    return [*counted, Shown(KNOWN, ("flowxo", name, "p", "main"), target + 0.5)]


@pytest.mark.parametrize("build", BUILDS)
def test_prometheus_ingests_every_sample_of_a_page_of_many_blocks(
    tmp_path: Path, build: Build
) -> None:
    needed("prometheus", build)
    board = MetricsPage(NORMALISED)
    for target in range(TARGETS):
        board.put((f"shop-{target}", "hourly"), _values(target, 0))
    board.publish()
    running = server.start("127.0.0.1:0", web.build(served.sources(exposition=board)))
    lines = b"".join(board.scrape(openmetrics=True, gzip=False)).splitlines()
    samples = [line for line in lines if not line.startswith(b"#")]
    total = sum(target + at for target in range(TARGETS) for at in range(CHANNELS))

    port = int(running.address.rpartition(":")[2])

    with prometheus(tmp_path, port, build) as scraper:
        wait_for(lambda: scraper.ask("up") != {}, 60)
        first = scraper.ask("scrape_samples_scraped")
        before = scraper.ask(f"sum({RECEIVED})")
        for target in range(0, TARGETS, 7):
            board.put((f"shop-{target}", "hourly"), _values(target, 1))
        board.publish()
        grown = total + CHANNELS * len(range(0, TARGETS, 7))
        wait_for(lambda: list(scraper.ask(f"sum({RECEIVED})").values()) == [grown], 30)
        levels = scraper.ask(f"sum({KNOWN})")
        up = scraper.ask("min_over_time(up[5m])")
    running.stop(2)

    assert list(first.values()) == [len(samples)] == [TARGETS * (2 * CHANNELS + 1)]
    assert list(before.values()) == [total]
    assert list(levels.values()) == [sum(target + 0.5 for target in range(TARGETS))]
    assert list(up.values()) == [1]

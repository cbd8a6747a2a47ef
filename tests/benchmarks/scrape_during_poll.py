"""How long a scrape takes while one target's poll reads many pages.

A vendor answers 500 rows a page, evenly spread over the time; the exporter runs in a process of its
own; this one scrapes as Prometheus does, every 20 ms.
"""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.filled import write
from tests.benchmarks.processes import OPENMETRICS, exporter, scrape
from tests.benchmarks.table import spread_ms

ROWS_A_PAGE = 500
PROJECT = "64b1f0aa11bb22cc33dd44ee"


class Vendor(ThreadingHTTPServer):
    """Answers ``pages`` full pages, one every ``gap`` seconds, then an empty one."""

    def __init__(self, pages: int, gap: float) -> None:
        self.pages, self.gap, self.done = pages, gap, threading.Event()
        super().__init__(("127.0.0.1", 0), PageHandler)

    def target(self) -> dict[str, object]:
        return {
            "name": "slow",
            "provider": "voiceflow",
            "api_key": "VF.DM.none",
            "base_url": f"http://127.0.0.1:{self.server_port}",
            "projects": [{"id": PROJECT, "alias": "shop"}],
            "queries": ["interactions"],
            "requests_per_second": 0,
        }


class PageHandler(BaseHTTPRequestHandler):
    server: Vendor

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        page = int(asked["data"]["filter"].get("cursor", 0))
        time.sleep(self.server.gap)  # noqa: TID251 - a slow vendor is the point
        rows = [row(page, i) for i in range(ROWS_A_PAGE)] if page < self.server.pages else []
        if not rows:
            self.server.done.set()
        body = json.dumps({"result": {"items": rows, "cursor": page + 1}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def row(page: int, number: int) -> dict[str, object]:
    """Return one of many rows of the last two days."""
    hour = datetime.now(UTC) - timedelta(hours=(page * 7 + number) % 47)  # noqa: TID251
    return {
        "period": hour.strftime("%Y-%m-%dT%H:00:00.000Z"),
        "projectID": PROJECT,
        "environmentID": f"64b1f0aa11bb22cc33dd{number % 10:04d}",
        "count": 1 + number,
        "type": f"kind-{page % 4}",
    }


def measure(pages: int, seconds: float) -> dict[str, float]:
    """Return how many scrapes there were, and their milliseconds on the wall."""
    vendor = Vendor(pages, seconds / pages)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    times = []
    with TemporaryDirectory() as folder, exporter(write(Path(folder), vendor.target())) as server:
        while not vendor.done.is_set():
            began = time.perf_counter()
            scrape(server.connect(), accept=OPENMETRICS)
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.02)  # noqa: TID251 - a scraper's own pace
    return {"scrapes": len(times), **spread_ms(times)}

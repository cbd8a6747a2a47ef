"""How long a scrape takes while one target's poll reads 500 pages for a minute.

    python -m tests.benchmarks.scrape_during_poll [PAGES] [SECONDS]

Three processes: a vendor that answers 500 rows a page, evenly spread over the time; the exporter
(``run``); and this one, which scrapes as Prometheus does, every 20 ms. Prints wall times.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROWS_A_PAGE = 500
PROJECT = "64b1f0aa11bb22cc33dd44ee"
SETTINGS = """version: 1
allow_inline_secrets: true
targets:
  - name: slow
    provider: voiceflow
    api_key: VF.DM.none
    base_url: http://127.0.0.1:{port}
    projects: [{{id: {project}, alias: shop}}]
    queries: [interactions]
    requests_per_second: 0
"""


class Vendor(ThreadingHTTPServer):
    """Answers ``pages`` full pages, one every ``gap`` seconds, then an empty one."""

    def __init__(self, pages: int, gap: float) -> None:
        self.pages, self.gap, self.done = pages, gap, threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    """One page of made-up interactions."""

    server: Vendor

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        page = int(asked["data"]["filter"].get("cursor", 0))
        time.sleep(self.server.gap)  # noqa: TID251 - a slow vendor is the point
        rows = [] if page >= self.server.pages else [row(page, i) for i in range(ROWS_A_PAGE)]
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


def scrape(address: str) -> float:
    """Return the seconds that one scrape took."""
    request = urllib.request.Request(
        f"http://{address}/metrics",
        headers={"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"},
    )
    started = time.perf_counter()
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        answer.read()
    return time.perf_counter() - started


def main(pages: int = 500, seconds: float = 60.0) -> None:
    """Run it and print the figures."""
    vendor = Vendor(pages, seconds / pages)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "exporter.yaml"
        settings.write_text(SETTINGS.format(port=vendor.server_port, project=PROJECT))
        command = [sys.executable, "-m", "exporter", "run", "--config", str(settings)]
        command += ["--listen", "127.0.0.1:0", "--log.format", "json"]
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        with process:
            assert process.stderr is not None
            address = next(
                json.loads(line)["address"] for line in process.stderr if "serving" in line
            )
            times = []
            while not vendor.done.is_set():
                times.append(scrape(address))
                time.sleep(0.02)  # noqa: TID251 - a scraper's own pace
            process.terminate()
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    print(  # noqa: T201 - the figures are what this is for
        f"{pages} pages of {ROWS_A_PAGE} rows in about {seconds:g} s, {len(times)} scrapes: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {times[-1] * 1000:.1f} ms"
    )


if __name__ == "__main__":
    main(*(float(each) if "." in each else int(each) for each in sys.argv[1:]))  # type: ignore[arg-type]

"""A Flow XO in which every account has the same two days, hour by hour; prints its address.

Each answer is encoded once a minute; the newest hour grows, so that each poll finds a change.
"""

import json
from functools import lru_cache
from urllib.parse import parse_qs

from exporter.clock import SystemClock
from exporter.simulator.flowxo import ADDED, hour_id, hours
from exporter.simulator.server import milliseconds, stamp
from tests.benchmarks.peers.serving import serve

MINUTE_MS = 60_000
LEVELS: dict[str, str | int] = {"active_users": 10, "total_users": 1_000}


@lru_cache(maxsize=64)
def insights(query: str, minute: int) -> bytes:
    """Return hours, whatever is asked but the range."""
    asked = parse_qs(query)
    start_ms, end_ms = (milliseconds(asked[name][0]) for name in ("start", "end"))
    rows = [
        {"_id": hour_id(hour_ms), "_timestamp": stamp(hour_ms)}
        | {name: _count(hour_ms, until_ms, minute) for name in ADDED}
        | LEVELS
        for hour_ms, (_, until_ms) in hours((start_ms, end_ms))
    ]
    sums = {name: sum(int(row[name]) for row in rows) for name in ADDED}
    return json.dumps({"stats": [{"_id": None} | sums | LEVELS], "metrics": rows}).encode()


def _count(start_ms: int, end_ms: int, minute: int) -> int:
    return 3 * max(0, min(end_ms // MINUTE_MS, minute) - start_ms // MINUTE_MS)


if __name__ == "__main__":
    clock = SystemClock()
    serve(lambda query: insights(query, clock.now_ms() // MINUTE_MS))

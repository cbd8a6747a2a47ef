"""Vendors that cost next to nothing, so that a benchmark measures the exporter; each prints its address.

``python -m tests.benchmarks.peers.vendors`` is a Flow XO in which every account has the same two days,
hour by hour. Each answer is encoded once a minute; the newest hour grows, so that each poll finds a
change. With ``START_MS TOTAL`` it is a Chatlayer event list: 100 events a second, page n is second n
of time. Pages are encoded once; only page numbers and seconds are replaced.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import parse_qs

import uvicorn
from starlette.types import Receive, Scope, Send

from exporter.clock import SystemClock
from exporter.simulator.chatlayer import BOT
from exporter.simulator.flowxo import ADDED, hour_id, hours
from exporter.simulator.server import milliseconds, stamp

MINUTE_MS = 60_000
LEVELS: dict[str, str | int] = {"active_users": 10, "total_users": 1_000}
PER_PAGE = 100
PAGE_MS = 1000
STEP_MS = PAGE_MS // PER_PAGE
NAMES = ("handover", "goal_booked", "feedback_given", "order_status_checked")
CHANNELS = ("web", "whatsapp", "messenger", "")
USERS = 5_000
_PAGE, _SECOND, _USERS = b"0PAGE00000", b"2000-01-01T00:00:00", b"U-GRP"


def serve(answer: Callable[[str], bytes]) -> None:
    """Serve the JSON that ``answer`` returns for a query string; print the address first."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        body = answer(scope["query_string"].decode())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Accepted sockets inherit it; without it head and body of an answer are 40 ms apart.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the answer
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


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


def _encoded() -> bytes:
    events = [
        {
            "id": f"0b6a3e0e-{_PAGE.decode()}-4a1c-{number:04}",
            "event": NAMES[number % 4],
            "bot_id": BOT,
            "version": "LIVE",
            "user_id": f"{_USERS.decode()}-{number}",
            "channel_id": "64f0aa",
            "channel_type": CHANNELS[number % 3],
            "conversation_id": f"c-{_USERS.decode()}-{number}",
            "attributes": {"flow": "orders", "step_name": "ask_number"},
            "timestamp": f"{_SECOND.decode()}.{number * STEP_MS:03}Z",
        }
        for number in range(PER_PAGE)
    ]
    return json.dumps({"events": events})[:-1].encode()


class EventPages:
    """``total`` events from ``start_ms`` on."""

    def __init__(self, start_ms: int, total: int) -> None:
        self._first = start_ms // PAGE_MS
        self._last = self._first + total // PER_PAGE
        self._body = _encoded()

    def page(self, query: str) -> bytes:
        """Return one page, whatever is asked but times and token."""
        asked = parse_qs(query)
        start, end = (
            -(-milliseconds(asked[key][0]) // PAGE_MS) for key in ("start_time", "end_time")
        )
        page = int(asked["page_token"][0]) if "page_token" in asked else max(start, self._first)
        end = min(end, self._last)
        if page >= end:
            return b'{"events": []}'
        body = self._body.replace(_PAGE, f"{page:010}".encode())
        body = body.replace(_SECOND, stamp(page * PAGE_MS, 0)[:-1].encode())
        body = body.replace(_USERS, f"{page % (USERS // PER_PAGE):05}".encode())
        return body + (f', "next_page_token": "{page + 1}"}}'.encode() if page + 1 < end else b"}")


if __name__ == "__main__":
    if numbers := [*map(int, sys.argv[1:])]:
        serve(EventPages(*numbers).page)
    clock = SystemClock()
    serve(lambda query: insights(query, clock.now_ms() // MINUTE_MS))

"""A fake Flow XO that costs next to nothing: every account has the same two days, hour by hour.

Prints its URL. Each answer is encoded once a minute; the newest hour grows, so that each poll
finds something changed.
"""

import asyncio
import json
import socket
from urllib.parse import parse_qs

import uvicorn
from starlette.types import Receive, Scope, Send

from exporter.clock import SystemClock
from exporter.simulator.flowxo import ADDED, hour_id, hours
from exporter.simulator.times import milliseconds, stamp

MINUTE_MS = 60_000


class Insights:
    """The ASGI app; answers are kept by what was asked, those of the minute only."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._minute = 0
        self._kept: dict[bytes, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with hours, whatever is asked but the range."""
        del receive
        if scope["type"] != "http":
            return
        minute = self._clock.now_ms() // MINUTE_MS
        if minute != self._minute:
            self._minute, self._kept = minute, {}
        asked = scope["query_string"]
        body = self._kept.get(asked)
        if body is None:
            body = self._kept[asked] = _answer(asked.decode(), minute)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _answer(asked: str, minute: int) -> bytes:
    said = parse_qs(asked)
    start_ms, end_ms = (milliseconds(said[name][0]) for name in ("start", "end"))
    rows = [
        {"_id": hour_id(hour_ms), "_timestamp": stamp(hour_ms)}
        | {name: _count(hour_ms, until_ms, minute) for name in ADDED}
        | {"active_users": 10, "total_users": 1_000}
        for hour_ms, (_, until_ms) in hours((start_ms, end_ms))
    ]
    sums = {name: sum(int(row[name]) for row in rows) for name in ADDED}
    levels = {"active_users": 10, "total_users": 1_000}
    return json.dumps({"stats": [{"_id": None} | sums | levels], "metrics": rows}).encode()


def _count(start_ms: int, end_ms: int, minute: int) -> int:
    """Return three a minute."""
    return 3 * max(0, min(end_ms // MINUTE_MS, minute) - start_ms // MINUTE_MS)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the answer
        config = uvicorn.Config(Insights(), lifespan="off", log_config=None, access_log=False)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))

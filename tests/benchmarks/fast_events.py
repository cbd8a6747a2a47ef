"""A cheap Chatlayer event list, so that a benchmark measures its client: 100 events a second.

Pages are encoded once; only page numbers and seconds are replaced.
"""

import json
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from exporter.simulator.chatlayer_format import BOT
from exporter.simulator.times import milliseconds, stamp

PER_PAGE = 100
PAGE_MS = 1000
STEP_MS = PAGE_MS // PER_PAGE
NAMES = ("handover", "goal_booked", "feedback_given", "order_status_checked")
CHANNELS = ("web", "whatsapp", "messenger", "")
USERS = 5_000
_PAGE, _SECOND, _USERS = b"0PAGE00000", b"2000-01-01T00:00:00", b"U-GRP"


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


class FastEvents:
    """An ASGI app: page n of the list is second n of time, ``total`` events from ``start_ms`` on."""

    def __init__(self, start_ms: int, total: int) -> None:
        self._first = start_ms // PAGE_MS
        self._last = self._first + total // PER_PAGE
        self._body = _encoded()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with one page, whatever is asked but times and token."""
        del receive
        if scope["type"] != "http":
            return
        said = parse_qs(scope["query_string"].decode())
        start, end = (
            -(-milliseconds(said[key][0]) // PAGE_MS) for key in ("start_time", "end_time")
        )
        page = int(said["page_token"][0]) if "page_token" in said else max(start, self._first)
        end = min(end, self._last)
        body = self._page(page, page + 1 < end) if page < end else b'{"events": []}'
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _page(self, page: int, more: bool) -> bytes:  # noqa: FBT001 - whether another follows
        body = self._body.replace(_PAGE, f"{page:010}".encode())
        body = body.replace(_SECOND, stamp(page * PAGE_MS, 0)[:-1].encode())
        body = body.replace(_USERS, f"{page % (USERS // PER_PAGE):05}".encode())
        return body + (f', "next_page_token": "{page + 1}"}}'.encode() if more else b"}")

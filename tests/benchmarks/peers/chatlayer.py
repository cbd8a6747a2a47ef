"""A Chatlayer event list: 100 events a second, page n is second n of time; prints its address.

python -m tests.benchmarks.peers.chatlayer START_MS TOTAL

Pages are encoded once; only page numbers and seconds are replaced.
"""

import json
import sys
from urllib.parse import parse_qs

from exporter.simulator.chatlayer import BOT
from exporter.simulator.server import milliseconds, stamp
from tests.benchmarks.peers.serving import serve

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
    serve(EventPages(*map(int, sys.argv[1:])).page)

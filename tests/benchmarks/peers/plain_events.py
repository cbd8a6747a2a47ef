"""The plain alternative for an event stream: httpx and pydantic, counted in memory only.

It reads the same list as ``chatlayer_events``, drops ids seen before and adds up by event name;
nothing is durable, nothing is checked against a schema but the fields that are counted.
"""

import asyncio
import time
from collections import Counter
from datetime import datetime

import httpx
from pydantic import BaseModel

from exporter.simulator.chatlayer_format import BOT
from exporter.simulator.times import stamp
from tests.benchmarks.chatlayer_events import served
from tests.benchmarks.peers.chatlayer import PAGE_MS, PER_PAGE


class Event(BaseModel):
    """One event, as far as it is counted."""

    id: str
    event: str
    version: str
    user_id: str
    channel_type: str
    conversation_id: str
    timestamp: datetime


class Page(BaseModel):
    """One page of events."""

    events: list[Event]
    next_page_token: str | None = None


async def _read(url: str, start_ms: int, end_ms: int) -> Counter[str]:
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    params = {"start_time": stamp(start_ms, 0), "end_time": stamp(end_ms, 0)}
    async with httpx.AsyncClient(base_url=url) as client:
        token: str | None = None
        while True:
            more = {} if token is None else {"page_token": token}
            answer = await client.get(f"/v1/bots/{BOT}/events", params=params | more)
            page = Page.model_validate_json(answer.content)
            for event in page.events:
                if event.id not in seen:
                    seen.add(event.id)
                    counts[event.event] += 1
            token = page.next_page_token
            if token is None:
                return counts


def measure(total: int) -> dict[str, float]:
    """Return how many of ``total`` events are counted in a second of processor time."""
    with served(total) as (url, start_ms):
        cpu = time.process_time()
        counts = asyncio.run(_read(url, start_ms, start_ms + total // PER_PAGE * PAGE_MS))
        spent = time.process_time() - cpu
    assert sum(counts.values()) == total
    return {"events_per_core_s": total / spent}

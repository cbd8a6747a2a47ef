"""What the web tests serve: scripted sources, and ways to ask for them."""

import asyncio
import gzip as gzip_codec
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp

from exporter.engagement.expectation import HourExpectation, WindowScore
from exporter.explain.reader import Explanations
from exporter.ledger.rows import BudgetState
from exporter.status import (
    BotStatus,
    PollErrorStatus,
    PollStatus,
    QueryStatus,
    State,
    Status,
    TargetStatus,
    Verdict,
)
from exporter.web.app import Sources

HOUR_MS = 3_600_000
NOW_MS = 1_772_536_800_000
PROCESS_BODY = b"chatbot_exporter_ledger_reachable 0\n"
TEXT_BODY = b'chatbot_up{target="shop"} 1.0\n'
OPENMETRICS_BODY = TEXT_BODY + b"# EOF\n"


@dataclass
class ScriptedExposition:
    """Serves two fixed bodies, or raises ``fault``; ``scrapes`` counts what it was asked."""

    fault: Exception | None = None
    scrapes: int = 0

    def scrape(self, *, openmetrics: bool, gzip: bool) -> list[bytes]:
        self.scrapes += 1
        if self.fault is not None:
            raise self.fault
        body = OPENMETRICS_BODY if openmetrics else TEXT_BODY
        return [gzip_codec.compress(body) if gzip else body]

    def scrape_process(self, *, openmetrics: bool, gzip: bool) -> list[bytes]:
        body = PROCESS_BODY + (b"# EOF\n" if openmetrics else b"")
        return [gzip_codec.compress(body) if gzip else body]


@dataclass
class ScriptedReload:
    """Answers with ``errors`` and counts how often it was asked."""

    errors: tuple[str, ...] = ()
    asked: int = 0

    async def __call__(self) -> tuple[str, ...]:
        self.asked += 1
        return self.errors


def status(*targets: TargetStatus) -> Status:
    return Status(
        version="0.1.0",
        now_ms=NOW_MS,
        started_ms=NOW_MS - 7_200_000,
        config_hash="9f2c1a",
        config_loaded_ms=NOW_MS - 60_000,
        targets=targets,
    )


def target(name: str = "shop", *queries: QueryStatus) -> TargetStatus:
    return TargetStatus(name, "voiceflow", queries or (query(),))


def query(name: str = "interactions", **changes: Any) -> QueryStatus:
    traits: dict[str, Any] = {
        "state": State.OK,
        "last_success_ms": NOW_MS - 90_000,
        "last_attempt_ms": NOW_MS - 90_000,
        "next_poll_ms": NOW_MS + 210_000,
        "data_end_ms": NOW_MS - 3_600_000,
        "series": 12,
        "polls": (PollStatus(NOW_MS - 90_000, 0.8, "ok", 24),),
    }
    return QueryStatus(name, **(traits | changes))


def bot(project: str = "shop", **changes: Any) -> BotStatus:
    """Return a bot with a usual week of 100 an hour."""
    day = WindowScore(24, 2400, 2390.4, 60, 0.1)
    start_ms = NOW_MS // HOUR_MS * HOUR_MS - 168 * HOUR_MS
    traits: dict[str, Any] = {
        "environment": "main",
        "verdict": Verdict.EXPECTED,
        "window": day,
        "windows": (day,),
        "weeks": 5.0,
        "late": False,
        "holiday": None,
        "end_ms": start_ms + 168 * HOUR_MS,
        "hours": tuple(HourExpectation(start_ms + at * HOUR_MS, 100, 99, 10) for at in range(168)),
    }
    return BotStatus(project, **(traits | changes))


def failing_query(sentence: str = "the provider does not accept the key") -> QueryStatus:
    return query(
        "unique_users",
        state=State.CIRCUIT_OPEN,
        last_success_ms=None,
        last_error=PollErrorStatus("auth", sentence, NOW_MS - 30_000),
        fail_streak=3,
        overhang=4.5,
        revisions=7,
        budget=BudgetState(0, NOW_MS + 1_800_000),
        polls=(
            PollStatus(NOW_MS - 1_200_000, 2.0, "ok", 10),
            PollStatus(NOW_MS - 30_000, 0.1, "auth", 0),
        ),
    )


def sources(**changes: Any) -> Sources:
    parts: dict[str, Any] = {
        "exposition": ScriptedExposition(),
        "ready": lambda: True,
        "healthy": lambda: True,
        "status": lambda: status(target()),
        "explain": lambda selector, first: Explanations(selector, NOW_MS, first, 1, 0, ()),
        "reload": ScriptedReload(),
    }
    return Sources(**(parts | changes))


def ask(app: ASGIApp, method: str, path: str, **request: Any) -> httpx.Response:
    """Return what ``app`` answers, in process; errors of the application are its answer."""

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter.test") as http:
            return await http.request(method, path, **request)

    return asyncio.run(main())

"""One Chatlayer target on its simulator with a real ledger, in virtual time, that can be killed."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from exporter.http_client.transport import Transport
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from exporter.model.query import QuerySpec
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery, poll
from exporter.providers.base.plugin import Query, Target
from exporter.providers.chatlayer.provider import PROVIDER
from exporter.simulator.chatlayer import build
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.traffic import Traffic
from exporter.telemetry.counters import Telemetry
from tests.providers.vendor import build_target, client_of, query_of
from tests.support.driver import Killed, LedgerDriver
from tests.support.virtual import START_MS, VirtualClock, run_virtual

T = TypeVar("T")

URL = "http://127.0.0.1"
MINUTE = 60_000
HOUR = 60 * MINUTE
EVENTS = "events/care/live"
FAMILIES = NORMALISED | {family.name: family for family in PROVIDER.families}


class Care:
    """A target with one bot; ``settings`` change what the simulator suggests."""

    def __init__(self, folder: Path, *, traffic: Traffic | None = None, **settings: Any) -> None:
        self.clock = VirtualClock(START_MS)
        self.traffic = traffic or Traffic()
        self.service = build(self.clock, self.traffic)
        self.settings = {"collectors": ["events"], "requests_per_second": 0} | settings
        self.commits_left: int | None = None
        self.kill_after_commit = False
        self.driver = LedgerDriver(folder, *self._configured(), clock=self.clock, families=FAMILIES)

    @property
    def ledger(self) -> Ledger:
        return self.driver.ledger

    def _configured(self) -> list[QuerySpec]:
        self.target = target(self.service.target(URL) | self.settings)
        return [query.spec for query in self.target.queries]

    def restart(self, **settings: Any) -> None:
        """Stop and start, perhaps with other settings."""
        self.settings |= settings
        self.driver.reopen(*self._configured())

    def happen(
        self,
        kind: Kind = Kind.HANDOVER,
        *,
        ago: int = 0,
        late: int = 0,
        count: int = 1,
        **attributes: str,
    ) -> Sequence[Occurrence]:
        """Let events happen ``ago`` before now that show ``late`` after they happened."""
        at_ms = self.clock.now_ms() - ago
        all_of: dict[str, Any] = {"user": "u-1", "conversation": "c-1", "channel": "web"}
        return self.traffic.add(
            kind, at_ms, count=count, visible_ms=at_ms + late, **all_of | attributes
        )

    def wait(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.step(milliseconds)

    def query(self, name: str = EVENTS) -> Query:
        """Return a query of the target."""
        return query_of(self.target, name)

    def poll(self, name: str = EVENTS) -> PollResult:
        """Poll once, as soon as the query is due; raise ``Killed`` where a kill was planned."""
        return run_virtual(self._poll(self._claim(name)), self.clock)

    def poll_or_die(self, *, commits: int, after: bool) -> None:
        """Poll, but be killed at the commit after ``commits`` ones: before it, or just after."""
        self.commits_left, self.kill_after_commit = commits, after
        try:
            self.poll()
        except (Killed, BaseExceptionGroup):
            pass
        finally:
            self.commits_left = None
        self.restart()

    async def _poll(self, claim: Claim) -> PollResult:
        transport = Transport(httpx.ASGITransport(self.service))
        rate = self.target.requests_per_second
        api = client_of(self.target, transport, self.clock, rate)
        rng = random.Random(self.clock.now_ms())  # noqa: S311 - jitter
        context = PollContext(self.ledger, self.clock, rng, Telemetry(), self._offload, _published)
        return await poll(context, ScheduledQuery(self.query(claim.query), api), claim)

    async def _offload(self, call: Callable[[], T]) -> T:
        if self.commits_left is None:
            return call()
        self.commits_left -= 1
        if self.commits_left < 0 and not self.kill_after_commit:
            raise Killed
        done = call()
        if self.commits_left < 0:
            raise Killed
        return done

    def shown(self, family: str, name: str = EVENTS) -> dict[tuple[str, ...], float]:
        """Return the values of ``family`` by the labels after provider and target, zeros scraped."""
        self.driver.confirm_zero_scraped()
        return self.driver.shown(family, self.query(name).spec)

    def events(self) -> float:
        """Return how many events were counted."""
        return sum(self.shown("chatbot_events_total").values())

    def counted(self, name: str, **labels: str) -> float:
        """Return a persisted self counter, over the labels that are not given."""
        return self.driver.counted(name, **labels)

    def claimed(self) -> Claim:
        """Return the state of the stream: its epoch and watermark, as the next poll sees them."""
        claim = self._claim(EVENTS)
        self.driver.end(claim, held=True)
        return claim

    def _claim(self, name: str) -> Claim:
        """Claim the query ``name`` when it is due; the others wait for a year."""
        while (claim := self.driver.claim()).query != name:
            self.ledger.hold(claim, next_poll_ms=self.clock.now_ms() + 365 * 24 * HOUR)
        return claim


def target(entries: dict[str, Any]) -> Target:
    """Return the target that ``entries`` describe, secrets inline."""
    return build_target(**{"name": "care", "provider": "chatlayer", **entries})


async def _published(_key: tuple[str, str]) -> None:
    return None


Open = Callable[..., Care]
"""What begins a target, by its settings."""

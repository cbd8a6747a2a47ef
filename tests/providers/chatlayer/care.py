"""One Chatlayer target on its simulator with a real ledger, in virtual time, that can be killed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from exporter.ledger.rows import Claim
from exporter.polling.past import read_slice
from exporter.polling.poll import PollResult
from exporter.providers.base.plugin import Query, Target
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.traffic import Traffic
from tests.providers.vendor import Polled, build_target, query_of
from tests.support.driver import Killed
from tests.support.virtual import run_virtual

T = TypeVar("T")

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EVENTS = "events/care/live"


class Care(Polled):
    """A target with one bot; ``settings`` change what the simulator suggests."""

    def __init__(self, folder: Path, *, traffic: Traffic | None = None, **settings: Any) -> None:
        self.settings = {"name": "care", "collectors": ["events"], "requests_per_second": 0}
        self.settings |= settings
        self.commits_left: int | None = None
        self.kill_after_commit = False
        super().__init__(folder, "chatlayer", traffic or Traffic(), self.settings)

    def reconfigure(self, **settings: Any) -> None:
        """Stop and start with other settings."""
        self.settings |= settings
        self.set_targets(self.settings)
        self.restart()

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
        return query_of(self.targets[0], name)

    def poll(self, name: str = EVENTS) -> PollResult:
        """Poll once, as soon as the query is due; raise ``Killed`` where a kill was planned."""
        claim = self._claim(name)
        return run_virtual(self.poll_claimed(claim, offload=self._offload), self.clock)

    def read_past(self) -> None:
        """Read every slice of the past that is due."""
        while claim := self.ledger.claim_slice():
            run_virtual(self.poll_claimed(claim, read=read_slice), self.clock)

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
            self.ledger.end_poll(claim, next_poll_ms=self.clock.now_ms() + 365 * 24 * HOUR)
        return claim


def target(entries: dict[str, Any]) -> Target:
    """Return the target that ``entries`` describe, secrets inline."""
    return build_target(**{"name": "care", "provider": "chatlayer", **entries})


Open = Callable[..., Care]
"""What begins a target, by its settings."""

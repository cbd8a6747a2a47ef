"""Many queries are read in parts: what befalls a later part loses nothing of an earlier one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from exporter.errors import LedgerError
from exporter.exposition import publisher
from exporter.exposition.page import MetricsPage
from exporter.exposition.publisher import Publisher
from exporter.ledger.rows import QueryState, View
from exporter.model.query import Budget, QueryKey
from exporter.telemetry.counters import FAMILIES, Telemetry
from tests.support.builders import spec
from tests.support.virtual import VirtualClock, run_virtual

FIRST, SECOND, THIRD = KEYS = [("shop", name) for name in ("first", "second", "third")]
ACCOUNT = Budget("account", 60_000)
SPECS = {key: spec(name=key[1]) for key in KEYS}
SHARED = SPECS | {key: replace(SPECS[key], budget=ACCOUNT) for key in (FIRST, THIRD)}


class Unused:
    """What a publisher asks of rooms that have no part here."""

    failing = False

    def note(self, *_keys: QueryKey) -> None:
        pass

    def restart(self, _specs: object) -> None:
        pass

    def tick(self) -> None:
        pass


class Parts:
    """A publisher that reads one query at a time, of a ledger that is made up.

    Where ``fails_at`` is read next, the ledger fails; where ``reloads_at``, a reload leaves that
    query alone.
    """

    shared = False

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.states = {
            key: QueryState(
                *key, "flowxo", 0, 0, 0, 0, 0, 0, None, None, 0, "closed", quarantined=False
            )
            for key in KEYS
        }
        self.pending: dict[QueryKey, tuple[tuple[int, int], ...]] = {}
        self.read: list[QueryKey] = []
        self.confirmed: list[int] = []
        self.fails_at: QueryKey | None = None
        self.reloads_at: QueryKey | None = None
        families = {family.name: family for family in FAMILIES}
        unused: Any = Unused()
        self.page = MetricsPage(families)
        self.publisher = Publisher(
            ledger=cast("Any", self), writes=unused, clock=self.clock, page=self.page,
            telemetry=Telemetry("test"), families=families, engagement=unused,
            offload=self.offload,
        )  # fmt: skip

    async def offload(self, call: Any) -> Any:
        asked = call.args[0] if getattr(call, "func", None) == self.views else ()
        if self.fails_at in asked:
            self.fails_at = None
            raise LedgerError("gone")
        if self.reloads_at is not None and self.reloads_at in asked:
            left, self.reloads_at = self.reloads_at, None
            await self.publisher.restart({left: SPECS[left]})
        return call()

    def views(self, keys: Sequence[QueryKey]) -> dict[QueryKey, View]:
        self.read += keys
        found = [key for key in keys if key in self.states]
        return {key: View(self.states[key], (), self.pending.get(key, ())) for key in found}

    def confirm_zero_scraped(self, numbers: list[int]) -> None:
        self.confirmed += numbers

    def maintain(self) -> tuple[frozenset[QueryKey], dict[Any, float]]:
        return frozenset(), {}

    def compact(self) -> None:
        pass

    def sizes(self) -> tuple[int, int, dict[str, int]]:
        return 0, 0, {}

    async def refresh_failing(self, *keys: QueryKey) -> None:
        """Refresh ``keys``, where the ledger fails at the last one; then let a tick follow."""
        self.fails_at = keys[-1]
        with pytest.raises(LedgerError):
            await self.publisher.refresh(*keys)
        self.read.clear()
        self.publisher.show_liveness()
        await self.publisher.tick()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(publisher, "CONFIRMED_AT_ONCE", 1)
    return Parts()


def test_a_reload_may_remove_a_query_of_a_part_that_was_read(parts: Parts) -> None:
    async def main() -> None:
        await parts.publisher.restart(SHARED)
        parts.reloads_at = SECOND
        await parts.publisher.refresh(FIRST, SECOND)

    run_virtual(main(), parts.clock)

    assert [state.query for state, _ in parts.publisher.states] == ["second"]


def test_what_shares_a_budget_is_read_though_a_later_part_fails(parts: Parts) -> None:
    async def main() -> None:
        await parts.publisher.restart(SHARED)
        await parts.refresh_failing(FIRST, SECOND)

    run_virtual(main(), parts.clock)

    assert {*parts.read} == {SECOND, THIRD}


def test_who_waits_for_the_target_is_read_anew_though_an_earlier_part_read_it(parts: Parts) -> None:
    async def main() -> None:
        await parts.publisher.restart(SPECS)
        asked = replace(parts.states[SECOND], last_reason="throttled", next_poll_ms=900_000)
        parts.states[SECOND] = asked
        parts.read.clear()
        await parts.publisher.refresh(FIRST, SECOND)

    run_virtual(main(), parts.clock)

    assert sorted(parts.read) == [FIRST, FIRST, SECOND, THIRD]


def test_a_target_is_published_though_a_later_part_fails(parts: Parts) -> None:
    async def main() -> bytes:
        other = ("store", "first")
        await parts.publisher.restart(SPECS | {other: spec(target="store", name="first")})
        parts.states[FIRST] = replace(parts.states[FIRST], last_success_ms=77_000)
        await parts.refresh_failing(FIRST, other)
        return b"".join(parts.page.scrape(openmetrics=False, gzip=False))

    page = run_virtual(main(), parts.clock).decode()

    assert [line for line in page.splitlines() if line.endswith(" 77")]


def test_new_series_of_a_query_that_is_gone_keep_back_no_others(parts: Parts) -> None:
    async def main() -> None:
        parts.pending = {FIRST: ((1, 0),), SECOND: ((2, 0),)}
        await parts.publisher.restart(SPECS)
        parts.page.scrape(openmetrics=False, gzip=False)
        del parts.states[FIRST]  # such as by newer settings of another replica
        for _ in range(3):
            await parts.publisher.tick()

    run_virtual(main(), parts.clock)

    assert 2 in parts.confirmed

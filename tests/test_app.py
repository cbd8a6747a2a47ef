"""What the exporter leaves behind, however it ends."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from exporter.app import App
from exporter.errors import LedgerError
from exporter.exposition import publisher
from exporter.exposition.publisher import Publisher
from exporter.ledger.store import Ledger
from exporter.ledger.tables import self_counter
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock

Start = Callable[[], AbstractAsyncContextManager[App]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def start(url: str, clock: VirtualClock) -> Start:
    """Return what starts the exporter, each time on the same ledger."""
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": url}})
    return lambda: exporter(settings, clock, vendors)


def scraped(app: App) -> str:
    return b"".join(app.page.scrape(openmetrics=False, gzip=False)).decode()


async def test_the_ledger_is_free_where_nothing_could_be_shown(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_publisher: Publisher, _specs: object) -> None:
        raise LedgerError("gone")

    with monkeypatch.context() as failing:
        failing.setattr(Publisher, "restart", fail)
        with pytest.raises(LedgerError, match="gone"):
            await start().__aenter__()
    async with start() as app:
        assert app.ready()


async def test_a_counter_of_another_version_stays_in_the_ledger(
    start: Start, url: str, clock: VirtualClock
) -> None:
    former = json.dumps({"provider": "flowxo", "target": "flowxo"})
    async with start():
        await clock.sleep(60)
    engine = sa.create_engine(url)
    with engine.begin() as tx:
        for name in ("chatbot_exporter_former_total", "chatbot_exporter_polls_total"):
            row = {"name": name, "labels": former, "v": 1, "target": "flowxo"}
            tx.execute(sa.insert(self_counter).values(row))
    async with start() as app:
        await clock.sleep(60)
        page = scraped(app)

    assert 'chatbot_exporter_target_up{provider="flowxo",target="flowxo",query="hourly"} 1' in page
    assert "former" not in page


@pytest.mark.parametrize("every_s", [600, 1])
async def test_a_long_compaction_leaves_the_ledger_to_polls_in_between(
    every_s: float, start: Start, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_s: list[float] = []

    def compact(_ledger: Ledger) -> Iterator[None]:
        for _ in range(20):
            clock.advance(0.1)
            at_s.append(clock.monotonic())
            yield

    monkeypatch.setattr(Ledger, "compact", compact)
    monkeypatch.setattr(publisher, "COMPACT_EVERY_S", every_s)
    async with start() as app:
        await clock.sleep(60)
        assert "chatbot_exporter_ledger_size_bytes" in scraped(app)

    gaps = [later - earlier for earlier, later in pairwise(at_s)]
    assert len(at_s) == 20 or every_s < 20 * 0.1
    assert max(map(len, "".join("x" if gap < 0.2 else " " for gap in gaps).split())) < 4


async def test_the_ledger_is_free_after_a_failure(start: Start, clock: VirtualClock) -> None:
    async def dies() -> None:
        async with start() as app:
            await clock.sleep(1)
            assert app.ready()
            raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup) as failed:
        await dies()

    assert failed.group_contains(RuntimeError, match="a bug")
    async with start() as app:
        await clock.sleep(1)
        assert app.ready()

"""What the exporter leaves behind, however it ends."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from exporter.errors import LedgerError
from exporter.exposition import publisher
from exporter.exposition.publisher import Publisher
from exporter.ledger.store import Ledger
from exporter.ledger.tables import self_counter
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual


def test_the_ledger_is_free_where_nothing_could_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}})

    async def fail(_publisher: Publisher, _specs: object) -> None:
        raise LedgerError("gone")

    async def main() -> None:
        async with exporter(settings, clock, vendors) as app:
            assert app.ready()

    with monkeypatch.context() as failing:
        failing.setattr(Publisher, "restart", fail)
        with pytest.raises(LedgerError, match="gone"):
            run_virtual(main(), clock)
    run_virtual(main(), clock)


def test_a_counter_of_another_version_stays_in_the_ledger(tmp_path: Path) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    url = f"sqlite:///{tmp_path}/ledger.db"
    settings = read(vendors.document() | {"ledger": {"url": url}})
    former = {"provider": "flowxo", "target": "flowxo"}
    names = {"chatbot_exporter_former_total": former, "chatbot_exporter_polls_total": former}

    async def main() -> str:
        async with exporter(settings, clock, vendors) as app:
            await clock.sleep(60)
            return b"".join(app.page.scrape(openmetrics=False, gzip=False)).decode()

    run_virtual(main(), clock)
    engine = sa.create_engine(url)
    with engine.begin() as tx:
        for name, labels in names.items():
            tx.execute(
                sa.insert(self_counter).values(
                    name=name, labels=json.dumps(labels), v=1, target="flowxo"
                )
            )
    page = run_virtual(main(), clock)

    assert 'chatbot_exporter_target_up{provider="flowxo",target="flowxo",query="hourly"} 1' in page
    assert "former" not in page


@pytest.mark.parametrize("every_s", [600, 1])
def test_a_long_compaction_leaves_the_ledger_to_polls_in_between(
    every_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}})
    at_s: list[float] = []

    def compact(_ledger: Ledger) -> Iterator[None]:
        for _ in range(20):
            clock.advance(0.1)
            at_s.append(clock.monotonic())
            yield

    async def main() -> None:
        async with exporter(settings, clock, vendors) as app:
            await clock.sleep(60)
            page = b"".join(app.page.scrape(openmetrics=False, gzip=False)).decode()
            assert "chatbot_exporter_ledger_size_bytes" in page

    with monkeypatch.context() as slow:
        slow.setattr(Ledger, "compact", compact)
        slow.setattr(publisher, "COMPACT_EVERY_S", every_s)
        run_virtual(main(), clock)

    gaps = [later - earlier for earlier, later in pairwise(at_s)]
    assert len(at_s) == 20 or every_s < 20 * 0.1
    assert max(map(len, "".join("x" if gap < 0.2 else " " for gap in gaps).split())) < 4


def test_the_ledger_is_free_after_a_failure(tmp_path: Path) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}})

    async def main() -> None:
        async with exporter(settings, clock, vendors) as app:
            await clock.sleep(1)
            assert app.ready()
            if not again:
                raise RuntimeError("a bug")

    again = False
    with pytest.raises(ExceptionGroup):
        run_virtual(main(), clock)
    again = True
    run_virtual(main(), clock)

"""An older ledger is put back: no counter falls, and nothing is counted twice."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.cli.demo import ZERO_HOLD_MS
from tests.e2e.processes import free_port, pause, wait_for
from tests.e2e.test_prometheus import (
    LONGEST_READ_S,
    all_read,
    all_up,
    counted_exactly,
    exporter_on,
    live,
    prometheus,
    vendors,
)

pytestmark = pytest.mark.slow


def restore(folder: Path, url: str) -> Result:
    """Raise the counters of the ledger in ``folder``."""
    given = ["--config", str(folder / "exporter.yaml"), "--floor-from", url]
    return CliRunner().invoke(main, ["ledger", "restore", *given])


def test_increase_over_a_restore_is_what_happened_at_the_vendor(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "ledger.db"
    with vendors() as (served, clock), prometheus(tmp_path, port) as scraper:

        def lived(seconds: int) -> int:
            """Return when the last of what happened meanwhile did, once it was scraped."""
            to_ms = live(served, clock, seconds)
            wait_for(lambda: all_read(scraper, to_ms / 1000 + LONGEST_READ_S), 90, every=0.5)
            pause(2 * ZERO_HOLD_MS / 1000)
            return to_ms

        with exporter_on(served, tmp_path, port):
            from_ms = clock.now_ms()
            wait_for(lambda: all_up(scraper), 90, every=0.5)
            lived(3)
            with (
                closing(sqlite3.connect(file)) as now,
                closing(sqlite3.connect(tmp_path / "old")) as old,
            ):
                now.backup(old)
            lived(5)
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "old").replace(file)
        restored = restore(tmp_path, scraper.url)
        assert restored.exit_code == 0, restored.output
        with exporter_on(served, tmp_path, port):
            wait_for(lambda: all_up(scraper), 90, every=0.5)
            to_ms = lived(3)
            # The exporter's own may restart at 0 with the process.
            fallen = [name for name in scraper.fallen() if "_exporter_" not in name]
            assert fallen == []
            for name, service in served.services.items():
                counted_exactly(scraper, service.traffic, name, from_ms, to_ms)

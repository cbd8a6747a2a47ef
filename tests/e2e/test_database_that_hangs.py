"""A program whose database does not answer is stopped all the same; a missing driver is named."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.processes import ended, free_port, page, program, wait_for
from tests.support.postgresql import server, way_to
from tests.support.served import ServedVendors, document

pytestmark = pytest.mark.slow
STARTS_WITHIN_S = 30
POLLED = 'target_up{provider="flowxo",target="flowxo",query="hourly"} 1'
WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from exporter.__main__ import main
main()
"""


def settings(folder: Path, vendors: ServedVendors, port: int, **ledger: Any) -> str:
    """Write settings that poll a vendor each second; return the file's name."""
    target = vendors.target("flowxo") | {"interval": "1s", "top_flows": None}
    given = document(folder, target) | {"web": {"listen": f"127.0.0.1:{port}"}} | ledger
    file = folder / "exporter.yaml"
    file.write_text(yaml.safe_dump(given), "utf-8")
    return str(file)


def rows(database: Path) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT id, c, retired, overhang FROM series").fetchall()


def test_a_stop_while_another_process_holds_the_database_loses_no_count(tmp_path: Path) -> None:
    port, database = free_port(), tmp_path / "ledger.db"
    url = {"url": f"sqlite:///{database}"}
    with (
        ServedVendors(["flowxo"]) as vendors,
        program("run", "--config", settings(tmp_path, vendors, port, ledger=url)) as process,
        closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as other,
    ):
        wait_for(lambda: POLLED in (page(port) or ""), STARTS_WITHIN_S)
        other.execute("BEGIN EXCLUSIVE")
        committed = rows(database)

        ended(process, signal.SIGTERM)
        other.rollback()

    assert committed == rows(database) != []


@pytest.mark.skipif(shutil.which("initdb") is None, reason="no PostgreSQL on this machine")
def test_a_stop_does_not_wait_for_a_silent_postgresql(tmp_path: Path) -> None:
    port = free_port()
    with (
        server() as postgresql,
        way_to(postgresql.port) as way,
        ServedVendors(["flowxo"]) as vendors,
    ):
        url = {"url": postgresql.url(postgresql.database(), port=way.port)}
        with program("run", "--config", settings(tmp_path, vendors, port, ledger=url)) as process:
            wait_for(lambda: POLLED in (page(port) or ""), STARTS_WITHIN_S)
            way.silent.set()
            wait_for(lambda: "ledger_errors_total" in (page(port) or ""), STARTS_WITHIN_S)

            ended(process, signal.SIGTERM)


def test_a_missing_driver_is_wrong_configuration(tmp_path: Path) -> None:
    url = {"url": "postgresql://shop@db.invalid/ledger"}
    with ServedVendors(["flowxo"]) as vendors:
        file = settings(tmp_path, vendors, free_port(), ledger=url)
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", WITHOUT_DRIVER, "run", "--config", file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("ledger.url: psycopg, the driver for PostgreSQL, cannot be")
    assert ended.stderr.endswith("; install the wheel with [postgresql], see docs/install.md\n")
    assert ended.stderr.count("\n") == 1

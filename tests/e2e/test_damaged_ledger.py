"""A ledger whose file is damaged is never served."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import filled

PAGE = 4096


def run(settings: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", "run", "--config", str(settings)]
    return subprocess.run(  # noqa: S603 - our own program
        [*command, "--listen", "127.0.0.1:0"], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", ["a page of rows", "the header"])
def test_a_damaged_ledger_is_refused_in_words(tmp_path: Path, first: str) -> None:
    settings = filled.settings(tmp_path, 2)
    filled.fill(settings, 200)
    ledger = tmp_path / "ledger.db"
    whole = bytearray(ledger.read_bytes())
    at = 0 if first == "the header" else len(whole) // 2 // PAGE * PAGE
    whole[at : at + PAGE] = b"\xff" * PAGE
    ledger.write_bytes(whole)

    ended = run(settings)

    assert ended.returncode == 1
    assert str(ledger) in ended.stderr
    assert "serving" not in ended.stderr
    assert ("restore a backup" if at else "is it a ledger?") in ended.stderr
    assert "Traceback" not in ended.stderr

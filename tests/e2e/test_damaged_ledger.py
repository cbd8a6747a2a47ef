"""A ledger whose file is damaged is never served."""

from pathlib import Path

import pytest

from tests.benchmarks import filled
from tests.e2e.processes import program

PAGE = 4096


@pytest.mark.parametrize("first", ["a page of rows", "the header"])
def test_a_damaged_ledger_is_an_error_that_names_the_file(tmp_path: Path, first: str) -> None:
    settings = filled.settings(tmp_path, 2)
    filled.fill(settings, 200)
    ledger = tmp_path / "ledger.db"
    whole = bytearray(ledger.read_bytes())
    at = 0 if first == "the header" else len(whole) // 2 // PAGE * PAGE
    whole[at : at + PAGE] = b"\xff" * PAGE
    ledger.write_bytes(whole)

    with program("run", "--config", str(settings), "--listen", "127.0.0.1:0") as process:
        output, _ = process.communicate()

    assert process.returncode == 1
    assert str(ledger) in output
    assert "serving" not in output
    assert ("restore a backup" if at else "is it a ledger?") in output
    assert "Traceback" not in output

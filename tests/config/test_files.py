"""Files that settings name are read only if that can neither block nor exhaust the exporter."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import load
from exporter.config.files import SECRET_BYTES, read_regular
from exporter.errors import SettingsError
from tests.support.settings import OPTIONS


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def endless(_path: Path) -> Path:
    return Path("/dev/zero")


def large(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(1024**3)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


BAD = pytest.mark.parametrize(
    ("make", "message"),
    [
        (fifo, "not a regular file"),
        (endless, "not a regular file"),
        (large, "larger than 64 KiB"),
        (folder, "it is a folder"),
    ],
)


@BAD
def test_what_is_not_a_small_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(OSError, match=f"{message}|Is a directory"):
        read_regular(make(tmp_path / "key"), SECRET_BYTES)


@BAD
def test_a_key_file_of_such_a_kind_is_an_error_of_the_settings(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    file = tmp_path / "exporter.yaml"
    file.write_text(
        "version: 1\n"
        "targets:\n"
        f"  - {{name: a, provider: flowxo, project: p, api_key: {{file: {make(tmp_path / 'key')}}}}}\n"
    )

    with pytest.raises(SettingsError) as caught:
        load(file, OPTIONS, {})

    assert f"the file cannot be read: {message}" in str(caught.value)


@pytest.mark.parametrize("make", [fifo, endless])
def test_settings_in_such_a_file_are_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(SettingsError, match="the file cannot be read"):
        load(make(tmp_path / "exporter.yaml"), OPTIONS, {})

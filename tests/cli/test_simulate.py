"""``simulate``: a fake vendor on a port."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.check_config import command as check_config
from exporter.cli.simulate import command, settings_text, simulated
from exporter.clock import SystemClock
from exporter.simulator import VENDORS
from exporter.simulator.traffic import Traffic

PYTHON = "from exporter.cli.simulate import command; command()"


@pytest.mark.parametrize("provider", sorted(VENDORS))
def test_the_printed_settings_are_valid(provider: str, tmp_path: Path) -> None:
    service = VENDORS[provider](SystemClock(), Traffic())
    file = tmp_path / "exporter.yaml"
    file.write_text(settings_text(service.target("http://127.0.0.1:1"), provider))

    result = CliRunner().invoke(check_config, [str(file)])

    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 target, " in result.stdout


@pytest.mark.real_time
@pytest.mark.parametrize("provider", ["flowxo", "voiceflow"])
async def test_a_fake_listens_where_its_settings_say(provider: str) -> None:
    async with (
        simulated(provider, port=0, seed=1) as settings,
        httpx.AsyncClient() as client,
    ):
        (target,) = yaml.safe_load(settings)["targets"]
        answer = await client.get(f"{target['base_url']}/insights")

    assert answer.status_code == {"flowxo": 401, "voiceflow": 404}[provider]


def test_a_taken_port_is_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        result = CliRunner().invoke(command, ["voiceflow", "--port", port])

    assert result.exit_code == 1
    assert f"cannot listen on port {port}: Address already in use" in result.stderr


def test_settings_that_cannot_be_printed_are_no_matter_of_the_port() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "exporter", "simulate", "voiceflow"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == "Error: the output cannot be written: No space left on device\n"


def test_a_signal_ends_it_with_0() -> None:
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PYTHON, "voiceflow"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=10) == 0
    assert first == "version: 1\n"

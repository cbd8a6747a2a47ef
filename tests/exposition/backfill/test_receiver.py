"""The command against a real Prometheus that receives remote write."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.model.samples import DAY_MS
from tests.dashboards.live import asked, started
from tests.dashboards.promtool import needed
from tests.e2e.processes import free_port
from tests.exposition.backfill.scene import Scene, samples
from tests.support.driver import scratch

pytestmark = pytest.mark.slow

RECEIVED = "chatbot_messages_received_total"


@pytest.fixture
def scene() -> Iterator[Scene]:
    with scratch() as folder:
        made = Scene(folder, 9)
        made.live()
        yield made
        made.close()


@pytest.fixture
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run a Prometheus whose out-of-order window is the parameter."""
    window: str = request.param
    port, config = free_port(), tmp_path / "prometheus.yml"
    config.write_text(f"storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n", "utf-8")
    command = [
        needed("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        "--storage.tsdb.retention.time=10y",
        "--web.enable-remote-write-receiver",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with started(command, port) as client:
        yield client


def ran(scene: Scene, client: httpx.Client, *arguments: str) -> Result:
    file = scene.folder / "exporter.yaml"
    file.write_text(yaml.safe_dump(scene.document), encoding="utf-8")
    labels = [f"--label={name}={value}" for name, value in scene.labels.items()]
    to = ["--remote-write", f"{client.base_url}/api/v1/write", *labels]
    return CliRunner().invoke(main, ["backfill", "--config", str(file), *to, *arguments])


@pytest.mark.parametrize("receiver", ["3d"], indirect=True)
def test_a_server_with_an_out_of_order_window_takes_all_of_it_and_equal_samples_again(
    scene: Scene, receiver: httpx.Client
) -> None:
    file = [*samples(scene.backfilled())]
    received = [line for line in file if line.startswith(RECEIVED)]

    counters, whole = ran(scene, receiver, "--counters"), ran(scene, receiver)

    assert counters.exit_code == whole.exit_code == 0, counters.output + whole.output
    assert f"{len(file)} samples in " in whole.output
    at_s, span = scene.first_ms // 1000 + 1, f"{2 * DAY_MS}ms"
    (stored,) = asked(receiver, f"count_over_time({RECEIVED}[{span}])", at_s)
    assert float(stored["value"][1]) == len(received)
    (last,) = asked(receiver, f"last_over_time({RECEIVED}[{span}])", at_s)
    assert last["value"][1] == received[-1].split()[-2]


@pytest.mark.parametrize("receiver", ["0s"], indirect=True)
def test_a_server_without_one_is_refused_with_the_window_it_needs(
    scene: Scene, receiver: httpx.Client
) -> None:
    done = ran(scene, receiver)

    assert done.exit_code == 1
    assert "storage.tsdb.out_of_order_time_window: " in done.output

"""The command against a real Prometheus that receives remote write, killed and run again."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.model.samples import DAY_MS
from tests.dashboards.live import asked, started
from tests.dashboards.promtool import needed
from tests.e2e.processes import program, wait_for
from tests.exposition.backfill.scene import Points, Scene, lived, points_of, samples
from tests.support.driver import scratch
from tests.support.served import answering

pytestmark = pytest.mark.slow

RECEIVED = "chatbot_messages_received_total"
KILLED_AT = 10
LONGEST_S = 120


@pytest.fixture
def scene() -> Iterator[Scene]:
    with scratch() as folder, lived(folder, 9) as made:
        yield made


@pytest.fixture
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run a Prometheus; which build, and its out-of-order window, are the parameter."""
    build, window = request.param
    config = tmp_path / "prometheus.yml"
    config.write_text(f"storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n", "utf-8")
    command = [
        needed("prometheus", build),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        "--storage.tsdb.retention.time=10y",
        "--web.enable-remote-write-receiver",
    ]
    with started(command) as client:
        yield client


def command(scene: Scene, *arguments: str) -> list[str]:
    file = scene.folder / "exporter.yaml"
    file.write_text(yaml.safe_dump(scene.document), encoding="utf-8")
    labels = [f"--label={name}={value}" for name, value in scene.labels.items()]
    return ["backfill", "--config", str(file), *labels, *arguments]


def ran(scene: Scene, client: httpx.Client, *arguments: str) -> Result:
    to = ("--remote-write", f"{client.base_url}/api/v1/write")
    return CliRunner().invoke(main, command(scene, *to, *arguments))


@contextmanager
def passing(
    upstream: httpx.Client, kill: Callable[[bool], None]
) -> Iterator[tuple[str, list[int]]]:
    """Pass requests on; yield the address, and the statuses so far.

    At every tenth request, by turns before and after the receiver has it, ``kill`` is called with
    whether the receiver has it; the sender gets no answer.
    """
    statuses: list[int] = []
    calls = Counter[str]()

    class Passing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls["all"] += 1
            killed = calls["all"] % KILLED_AT == 0
            arrives = not killed or calls["all"] // KILLED_AT % 2 == 0
            answer = httpx.Response(503)
            if arrives:
                headers = {name: v for name, v in self.headers.items() if name != "Host"}
                answer = upstream.post("/api/v1/write", content=body, headers=headers)
                statuses.append(answer.status_code)
            if killed:
                kill(arrives)
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower().startswith("x-prometheus"):
                    self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with answering(Passing) as port:
        yield f"http://127.0.0.1:{port}/api/v1/write", statuses


def stored(client: httpx.Client, scene: Scene) -> Points:
    """Return every sample in the server, by series and instant."""
    found = asked(client, '{instance=~".+"}[2d]', scene.first_ms // 1000 + 1)
    return {
        tuple(sorted(each["metric"].items())): {
            round(at_s * 1000): float(value) for at_s, value in each["values"]
        }
        for each in found
    }


@pytest.mark.parametrize("receiver", [("installed", "3d"), ("newest", "3d")], indirect=True)
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


@pytest.mark.parametrize("receiver", [("installed", "0s")], indirect=True)
def test_a_server_without_one_is_refused_with_the_window_it_needs(
    scene: Scene, receiver: httpx.Client
) -> None:
    done = ran(scene, receiver)

    assert done.exit_code == 1
    assert "storage.tsdb.out_of_order_time_window: " in done.output


@pytest.mark.parametrize(
    ("receiver", "protocol"),
    [(("installed", "3d"), "1"), (("newest", "3d"), "2")],
    indirect=["receiver"],
)
def test_killed_at_every_tenth_request_nothing_is_lost_and_nothing_comes_twice(
    scene: Scene, receiver: httpx.Client, protocol: str
) -> None:
    killed: list[bool] = []
    running: list[subprocess.Popen[str]] = []
    said = ""

    def kill(arrived: bool) -> None:
        killed.append(arrived)
        running[-1].kill()
        running[-1].wait()

    with passing(receiver, kill) as (url, statuses):
        to = command(scene, "--remote-write", url, "--step", "18s", "--protocol", protocol)
        while not running or running[-1].returncode != 0:
            assert len(running) == len(killed)
            with program(*to) as process:
                running.append(process)
                said, _ = process.communicate(timeout=LONGEST_S)

    whole = points_of(scene.backfilled(step_ms=18_000))
    assert stored(receiver, scene) == whole
    assert set(killed) == {False, True}, said
    requests = -(-sum(map(len, whole.values())) // 2000)
    assert len(statuses) == requests + sum(killed)  # what arrived and was not noted comes again
    assert set(statuses) == {204}


def test_a_file_that_is_killed_half_way_leaves_the_one_before_and_is_whole_the_next_time(
    scene: Scene,
) -> None:
    output = scene.folder / "past.om"
    output.write_text("before", encoding="utf-8")

    def parts() -> list[Path]:
        return sorted(scene.folder.glob("past.om.*.part"))

    to = command(scene, "--output", str(output), "--until", "2099-01-01", "--step", "5s")

    with program(*to) as process:
        wait_for(lambda: any(each.stat().st_size for each in parts()), LONGEST_S, every=0.005)
        process.kill()
        process.wait()
    left, before = parts(), output.read_text("utf-8")
    with program(*to) as process:
        assert process.wait(LONGEST_S) == 0

    assert len(left) == 1
    assert before == "before"
    assert output.read_text("utf-8") == scene.backfilled(step_ms=5000)
    assert parts() == left  # that of the killed one is nobody's

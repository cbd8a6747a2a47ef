"""``backfill``: what it writes where, and what it refuses."""

import os
import re
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.exposition.backfill import openmetrics
from exporter.format import stamp
from exporter.ledger.tables import slices
from exporter.model.samples import HOUR_MS
from tests.e2e.processes import ended, program, wait_for
from tests.exposition.backfill.scene import Scene, lived
from tests.support.served import answering, answering_json
from tests.support.virtual import VirtualClock

LABELS = ("--label", "job=bots", "--label", "instance=here:1")


@pytest.fixture
def beginning(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, 4)
    made.begin()
    yield made
    made.close()


@pytest.fixture
def scene(beginning: Scene) -> Scene:
    """Return an exporter that has read its whole past."""
    while beginning.read_slice():
        pass
    return beginning


def ran(scene: Scene, *arguments: str, labels: tuple[str, ...] = LABELS) -> Result:
    return written(scene, "--output", str(scene.folder / "past.om"), *labels, *arguments)


def written(scene: Scene, *arguments: str) -> Result:
    file = scene.folder / "exporter.yaml"
    file.write_text(yaml.safe_dump(scene.document), encoding="utf-8")
    return CliRunner().invoke(main, ["backfill", "--config", str(file), *arguments])


def test_it_writes_the_whole_past_beside_the_open_ledger(scene: Scene) -> None:
    planned = ran(scene, "--dry-run")
    assert not (scene.folder / "past.om").exists()
    done = ran(scene)
    earlier = ran(scene, "--from", "2026-01-01", "--dry-run")
    earliest = ran(scene, "--from", "1970-01-01", "--dry-run")
    silent = ran(scene, "--from", "2026-01-01")

    text = (scene.folder / "past.om").read_text("utf-8")
    begins, ends = stamp(scene.first_ms - 3 * HOUR_MS), stamp(scene.first_ms - HOUR_MS)
    part = ran(scene, "--from", begins.removesuffix(" UTC"), "--until", ends.removesuffix(" UTC"))
    assert done.exit_code == planned.exit_code == 0, done.output + planned.output
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert f"{len(lines)} samples of 10 series, {len(text)} bytes" in done.output
    assert f"{len(lines)} samples of 10 series, {len(text)} bytes; no vendor" in planned.output
    assert 'instance="here:1",job="bots"' in lines[0]
    assert f"promo/hourly: {begins} to {ends}\n" in part.output
    assert "plus the data of 9 or more vendor calls; about" in earlier.output
    assert "a gap before that" not in earlier.output
    assert re.search(r"plus the data of \d{4} or more vendor calls", earliest.output)
    assert silent.exit_code == 1
    assert "nothing written, run the command again later:\npromo/hourly: " in silent.output
    assert not list(scene.folder.glob("*.part"))


def test_nothing_is_written_while_history_is_being_read(beginning: Scene) -> None:
    done = ran(beginning)

    assert done.exit_code == 1
    assert "promo/hourly: its history is still being read, back to 2026-03-" in done.output
    assert re.search(r"so far, \d+ days left; try again later, or shorten", done.output)
    assert not (beginning.folder / "past.om").exists()


def test_a_file_that_would_lack_the_last_hours_before_the_seam_is_not_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock(scene.first_ms + 3 * HOUR_MS - 1)
    monkeypatch.setattr("exporter.cli.backfill.SystemClock", lambda: clock)
    path = scene.folder / "past.om"

    young = ran(scene)
    unwritten = path.exists()
    unstarted = ran(scene, "--until", "2099-01-01")
    whole = path.read_text("utf-8")
    clock.step(1)
    old = ran(scene)

    assert (young.exit_code, unwritten) == (1, False)
    assert f"run it again after {stamp(scene.first_ms + 3 * HOUR_MS)}" in young.output
    assert (unstarted.exit_code, old.exit_code) == (0, 0)
    assert path.read_text("utf-8") == whole


def test_a_history_that_has_nothing_left_is_not_waited_for(beginning: Scene) -> None:
    with beginning.driver.ledger._opened.engine.begin() as tx:
        tx.execute(sa.update(slices).values(from_ms=slices.c.until_ms))

    done = ran(beginning)

    assert done.exit_code == 0, done.output
    assert (beginning.folder / "past.om").exists()


@pytest.mark.parametrize(
    ("arguments", "labels", "said"),
    [
        (("--remote-write", "http://x"), LABELS, "choose one destination"),
        ((), (), "without job and instance the series would differ from the scraped ones"),
        ((), ("--label", "job=a", "--label", "instance="), "without instance"),
        (("--label", "target=x"), LABELS, "the exporter itself sets target"),
        (("--label", "job"), LABELS, "expected NAME=VALUE"),
        (("--target", "shop"), LABELS, "no target of this name"),
        (("--label", "__name__=x"), LABELS, "names that begin with __ are reserved for Prometheus"),
        (("--from", "2026-03-02", "--until", "2026-03-01"), LABELS, "the range before 2026-03-01"),
        (("--until", "1970-01-01"), LABELS, "the range before 1970-01-01"),
        (("--from", "yesterday"), LABELS, "expected a date, such as 2026-10-01"),
        (("--from", "epoch"), LABELS, "expected a date, such as 2026-10-01"),
        (("--step", "4"), LABELS, "expected a duration, such as 4m"),
    ],
)
def test_a_wrong_use_is_named(
    scene: Scene, arguments: tuple[str, ...], labels: tuple[str, ...], said: str
) -> None:
    done = ran(scene, *arguments, labels=labels)

    assert done.exit_code == 2
    assert said in done.output


def test_job_and_instance_are_copied_from_a_server(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # this machine is reached without it
    metrics = [{"job": "bots", "instance": "here:1", "version": "1", "team": "x"}]

    def answer(_body: bytes) -> tuple[int, Any]:
        result = [{"metric": each, "value": [0, "1"]} for each in metrics]
        return 200, {"status": "success", "data": {"result": result}}

    with answering_json(answer) as url:
        done = ran(scene, "--labels-from", url, labels=())
        metrics.append({"job": "bots", "instance": "there:1"})
        several = ran(scene, "--labels-from", url, labels=())
        metrics.clear()
        none = ran(scene, "--labels-from", url, labels=())

    assert done.exit_code == 0, done.output
    line = (scene.folder / "past.om").read_text("utf-8").splitlines()[-2]
    assert 'instance="here:1",job="bots"' in line
    assert 'team="x"' in line
    assert "version" not in line
    assert "scrapes several exporters; give --label job=" in several.output
    assert "has no chatbot_exporter_build_info now (is the exporter up?); give" in none.output
    assert "cannot query Prometheus: " in ran(scene, "--labels-from", url, labels=()).output


def test_a_link_is_written_through_and_what_is_no_file_stays(scene: Scene) -> None:
    whole, link, pipe = (scene.folder / name for name in ("whole.om", "past.om", "pipe"))
    link.symlink_to(whole)
    os.mkfifo(pipe)

    done = ran(scene)
    refused = written(scene, "--output", str(pipe), *LABELS)

    assert (done.exit_code, link.is_symlink(), whole.stat().st_size > 0) == (0, True, True)
    assert (refused.exit_code, "not a regular file" in refused.output) == (2, True)
    assert pipe.is_fifo()


def test_two_at_once_each_write_a_whole_file_and_touch_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = scene.folder / "past.om", scene.folder / "past.om.part"
    other.write_text("mine")
    ran(scene)
    whole, write, second = path.read_text(), openmetrics.write, list[Result]()

    def meanwhile(*arguments: Any) -> openmetrics.Written:
        monkeypatch.setattr(openmetrics, "write", write)
        second.append(ran(scene))
        return write(*arguments)

    monkeypatch.setattr(openmetrics, "write", meanwhile)
    first = ran(scene)

    assert (first.exit_code, second[0].exit_code) == (0, 0), first.output + second[0].output
    assert (path.read_text(), other.read_text()) == (whole, "mine")
    assert sorted(scene.folder.glob("*past.om*")) == [path, other]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_unfinished_file(scene: Scene, number: signal.Signals) -> None:
    before = ran(scene)
    whole = (scene.folder / "past.om").read_text()
    endless = (
        "from exporter.exposition.backfill import openmetrics; import threading; "
        "openmetrics.write = lambda *given: (given[3]('x'), threading.Event().wait()); "
        "from exporter.__main__ import main; main()"
    )
    file = str(scene.folder / "exporter.yaml")
    arguments = "--config", file, "--output", str(scene.folder / "past.om"), *LABELS
    with program("backfill", *arguments, python=("-c", endless)) as process:
        wait_for(lambda: len(list(scene.folder.glob("*past.om*"))) > 1, 30)
        ended(process, number, 1)

    assert before.exit_code == 0
    assert [path.read_text() for path in scene.folder.glob("*past.om*")] == [whole]


def test_a_time_before_the_past_is_no_file(scene: Scene) -> None:
    nothing = ran(scene, "--until", "2026-01-01")
    parted = ran(scene, "--until", "2026-03-03T00:00:00Z")

    assert (nothing.exit_code, parted.exit_code) == (1, 0)
    assert "nothing written: no query has a past in this range" in nothing.output
    assert "to 2026-03-03 00:00:00 UTC\n" in parted.output
    assert [path.name for path in scene.folder.glob("past.om*")] == ["past.om"]


def test_what_one_tenant_accepted_is_not_left_out_for_another(scene: Scene) -> None:
    tenants, said = list[str](), list[str]()

    class Receiving(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            tenants.append(self.headers["X-Scope-OrgID"])
            self.send_response(400 if len(tenants) == 2 else 204)
            self.end_headers()

    with answering(Receiving) as port:
        to = ("--remote-write", f"http://127.0.0.1:{port}", "--protocol", "1", *LABELS)
        for tenant in "abab":
            own = scene.folder / f"{tenant}.yaml"
            own.write_text(f"headers: {{X-Scope-OrgID: {tenant}}}", encoding="utf-8")
            said.append(written(scene, *to, "--web-config", str(own)).output)

    assert ["resumed after" in each for each in said] == [False, False, True, False]
    whole = tenants.count("b") // 2
    assert tenants == [*"aa", *"b" * whole, *"a" * (whole - 1), *"b" * whole]


def test_a_vendor_that_was_not_asked_is_not_said_to_have_nothing(tmp_path: Path) -> None:
    with lived(tmp_path, 12, "history") as scene:
        scene.retire(hours=6)

        done = ran(scene, "--from", "2026-01-01")

    assert done.exit_code == 0, done.output
    assert "a gap before that: its history counts (start: history) and is partly" in done.output

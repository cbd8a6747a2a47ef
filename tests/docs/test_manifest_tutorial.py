"""The tutorial of docs/manifests.md does what it says, with nothing but what it shows."""

import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.clock import Clock
from exporter.simulator.server import Answer, Call, Refusal, Service
from exporter.simulator.traffic import Traffic
from tests.docs.pages import ROOT
from tests.e2e.processes import end, free_port, page, program, wait_for
from tests.support.served import ServedVendors

PAGE = (ROOT / "docs/manifests.md").read_text("utf-8")
TITLED = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FILES = dict(TITLED.findall(PAGE))
COMMANDS = re.findall(r"^chatbot-exporter (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
KEY = "parrot-canary-1"
HOUR = "%Y-%m-%dT%H"


class StatsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters that the page documents."""

    team: str
    first: str = msgspec.field(name="from")
    last: str = msgspec.field(name="to")
    page: int = 1


def parrot(clock: Clock, traffic: Traffic) -> Service:
    """Return a simulator of the API that the tutorial reads, as the page documents it."""

    async def stats(call: Call) -> Answer:
        query = call.read_params(StatsQuery)
        first, last = map(datetime.fromisoformat, (query.first + ":00Z", query.last + ":00Z"))
        if (last - first).total_seconds() >= 48 * 3600:
            raise Refusal(400, "at most 48 hours")
        now_s = call.now_ms // 1000
        starts = range(int(first.timestamp()), min(int(last.timestamp()), now_s) + 1, 3600)
        rows = [{"bot": "shop", "in": 7, "out": "9", "cost": "1.2", "last_user": "Ann"}]
        hours = {datetime.fromtimestamp(s, UTC).strftime(HOUR): {"bots": rows} for s in starts}
        shown = dict([*hours.items()][query.page * 24 - 24 : query.page * 24])
        more = len(hours) > query.page * 24
        return Answer({"more": more, "next": query.page + 1 if more else None, "hours": shown})

    return Service(
        clock=clock,
        traffic=traffic,
        routes={("GET", "/v2/stats"): stats},
        secrets=[KEY],
        authorization=KEY,
        key_header="x-parrot-key",
        target=lambda url: {"base_url": url},
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("exporter.yaml", "parrot.yaml", "page1.json", "page2.json"):
        (tmp_path / name).write_text(FILES[name], "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARROT_KEY", KEY)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_each_command_of_the_tutorial_prints_what_the_page_shows() -> None:
    check, test = COMMANDS[:2]

    checked = CliRunner().invoke(main, check.split())
    tried = CliRunner().invoke(main, test.split())
    config = CliRunner().invoke(main, ["check-config"])

    assert checked.exit_code == 0
    assert checked.stderr == ""
    assert "last_user" not in checked.stdout
    assert tried.exit_code == 0, tried.stderr
    assert tried.stdout == FILES["output"]
    assert config.exit_code == 0, config.stderr
    assert "parrot (stats)" in config.stdout


@pytest.mark.slow
def test_the_manifest_of_the_tutorial_counts(folder: Path) -> None:
    check, plan, run = COMMANDS[2:]
    file, port = folder / "exporter.yaml", free_port()
    with ServedVendors(["parrot"], builders={"parrot": parrot}) as vendors:
        base_url = f"    base_url: {vendors.urls['parrot']}\n"
        file.write_text(FILES["exporter.yaml"] + base_url, "utf-8")

        probed = CliRunner().invoke(main, check.split())
        planned = CliRunner().invoke(main, plan.split())
        with program(*run.split(), "--config", str(file), "--listen", f"127.0.0.1:{port}") as ran:
            wait_for(lambda: 'received_total{provider="parrot"' in (page(port) or ""), 300, every=1)
            code, _, _ = end(ran, signal.SIGTERM)

    assert (probed.exit_code, planned.exit_code, code) == (0, 0, 0), probed.output
    assert probed.stdout.splitlines()[-1].startswith("parrot")
    assert planned.stdout.splitlines()[1].split()[:2] == ["parrot", "stats"]
    assert {seen.status for seen in vendors.services["parrot"].requests} == {200}


def test_a_mistake_in_the_manifest_is_reported_by_check_config_too(folder: Path) -> None:
    wrong = FILES["parrot.yaml"].replace("row.in}", "rwo.in}").replace("/v2/stats", "v2/stats")
    (folder / "parrot.yaml").write_text(wrong, "utf-8")

    done = CliRunner().invoke(main, ["check-config"])

    assert done.exit_code == 2
    assert "parrot.yaml:11:13: queries.stats.request.path: expected a path" in done.stderr
    assert "begin with answer or hour or row" in done.stderr
    assert "exporter.yaml:5:15: targets[0].manifest: " in done.stderr

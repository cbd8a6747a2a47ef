"""The tutorials do what they say, with nothing but what they show: a provider in an hour, a manifest."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.clock import Clock
from exporter.simulator.server import Answer, Call, Refusal, Service
from exporter.simulator.traffic import Traffic
from tests.docs.pages import ROOT, Snippet, snippets
from tests.e2e.processes import end, free_port, page, program, wait_for
from tests.support.served import ServedVendors

PARTS = ("exporter", "dashboards", "deploy", "docs", "scripts", "tests")
FILES = ("exporter.yaml", "mkdocs.yml", "pyproject.toml", "README.md", "CONTRIBUTING.md")
AFTER: Mapping[str, tuple[str, ...]] = {
    "exporter/providers/__init__.py": ("from exporter.providers.base.plugin import", "PROVIDERS: "),
    "exporter/simulator/__init__.py": ("from exporter.clock import", "SIMULATORS: "),
    "tests/faults/test_faults.py": ("SCENARIOS: ",),
    "dashboards/source/metrics_shown.py": ("PROVIDERS: ",),
    "dashboards/.lint": ("    entries: &business",),
    "tests/dashboards/test_lint.py": ("EVERYTHING: ",),
    "mkdocs.yml": ("  - Providers:",),
    "docs/configuration.md": (),
    "exporter.yaml": (),
}
"""Where lines of files that are there already go: below these, one after another, or at the end."""
SCHEMA = "deploy/helm/chatbot-exporter/values.schema.json"


def of_the_page(*kinds: str) -> list[Snippet]:
    return [each for each in snippets(*kinds) if each.place.startswith("docs/add-a-provider.md:")]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of this tree, with what is compiled already."""
    unwanted = shutil.ignore_patterns("artifacts")
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True, ignore=unwanted)
    for file in FILES:
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def write(tree: Path, snippet: Snippet) -> None:
    """Write the file that the snippet is, or add its lines to the one there is."""
    path = tree / snippet.title
    if snippet.title not in AFTER:
        assert not path.exists(), snippet.title
        path.parent.mkdir(exist_ok=True)
        path.write_text(snippet.text, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    places = AFTER[snippet.title]
    for place, lines in zip(places, parts_of(snippet, len(places)), strict=True):
        at = text.index("\n", text.index(f"\n{place}") + 1) + 1
        text = f"{text[:at]}{lines}{text[at:]}"
    path.write_text(text if places else text + snippet.text, encoding="utf-8")


def parts_of(snippet: Snippet, count: int) -> list[str]:
    """Return the spans of lines that an empty line parts."""
    parts = [f"{part.strip(chr(10))}\n" for part in snippet.text.split("\n\n")]
    return parts if count else []


def run(tree: Path, *words: str) -> str:
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(tree)}
    done = subprocess.run(  # noqa: S603 - the page's own words
        words, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_adds_a_provider_that_keeps_to_every_rule(tree: Path) -> None:
    for snippet in of_the_page("python", "markdown", "text"):
        write(tree, snippet)
    schema = (tree / SCHEMA).read_text(encoding="utf-8")
    (tree / SCHEMA).write_text(schema.replace('["chatlayer"', '["acme", "chatlayer"'), "utf-8")

    first, last = of_the_page("sh")
    for line in last.text.splitlines():
        if not line.startswith("make") and "pytest" not in line:
            run(tree, *line.replace(".venv/bin/python", sys.executable).split())
    changed = sorted({each.title for each in of_the_page("python")})
    run(tree, sys.executable, "-m", "ruff", "check", "--fix", "--select", "I", *changed)
    run(tree, sys.executable, "-m", "ruff", "format", "--check", *changed)
    run(tree, sys.executable, "-m", "ruff", "check", *changed)

    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    wanted = last.text.partition("pytest -q ")[2].split()
    assert first.text.split()[-1] in wanted
    others = ("config/test_reference.py", "config/test_schema.py", "dashboards/test_files.py")
    faults = ("tests/faults/test_faults.py", "-k", "not test_faults or acme or every_provider_is")
    found = run(tree, *pytest_, "-v", *wanted, *(f"tests/{each}" for each in others), *faults)
    assert "test_acme" in found
    assert re.search(r"tests/faults/test_faults\.py( \.{2,}|::.*PASSED)", found)


PAGE = (ROOT / "docs/manifests.md").read_text("utf-8")
TITLED = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SHOWN_FILES = dict(TITLED.findall(PAGE))
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
        (tmp_path / name).write_text(SHOWN_FILES[name], "utf-8")
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
    assert tried.stdout == SHOWN_FILES["output"]
    assert config.exit_code == 0, config.stderr
    assert "parrot (stats)" in config.stdout


@pytest.mark.slow
def test_the_manifest_of_the_tutorial_counts(folder: Path) -> None:
    check, plan, run = COMMANDS[2:]
    file, port = folder / "exporter.yaml", free_port()
    with ServedVendors(["parrot"], builders={"parrot": parrot}) as vendors:
        base_url = f"    base_url: {vendors.urls['parrot']}\n"
        file.write_text(SHOWN_FILES["exporter.yaml"] + base_url, "utf-8")

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
    wrong = (
        SHOWN_FILES["parrot.yaml"].replace("row.in}", "rwo.in}").replace("/v2/stats", "v2/stats")
    )
    (folder / "parrot.yaml").write_text(wrong, "utf-8")

    done = CliRunner().invoke(main, ["check-config"])

    assert done.exit_code == 2
    assert "parrot.yaml:11:13: queries.stats.request.path: expected a path" in done.stderr
    assert "begin with answer or hour or row" in done.stderr
    assert "exporter.yaml:5:15: targets[0].manifest: " in done.stderr

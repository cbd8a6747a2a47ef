"""``ledger``: an older one is restored beside what Prometheus scraped, a target is forgotten."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.clock import SystemClock
from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from tests.support.builders import RECEIVED, spec
from tests.support.served import answering_json

SETTINGS = """
version: 1
allow_inline_secrets: true
targets:
  - {name: shop, provider: flowxo, api_key: k, project: shop}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a settings file beside a ledger that knows its target, and has counted nothing."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock=SystemClock(), families=NORMALISED)
    with closing(ledger):
        ledger.sync_queries([spec()])
    (tmp_path / "exporter.yaml").write_text(SETTINGS, "utf-8")
    return tmp_path / "exporter.yaml"


def invoke(file: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["ledger", *options, "--config", str(file)])


@contextmanager
def prometheus(*instances: str, asked: list[str] | None = None) -> Iterator[str]:
    """Serve what a Prometheus answers that has scraped one counter of each of ``instances``."""
    labels = {"__name__": RECEIVED, "provider": "flowxo", "target": "shop", "project": "shop"}
    found = [
        {"metric": labels | {"instance": each, "job": "bots"}, "value": [1.5, "10"]}
        for each in instances
    ]

    def answer(body: bytes) -> tuple[int, Any]:
        if asked is not None:
            asked.append(parse_qs(body.decode())["query"][0])
        return 200, {"status": "success", "data": {"resultType": "vector", "result": found}}

    with answering_json(answer) as url:
        yield url


def test_a_restored_ledger_shows_what_was_scraped_last(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # this machine is reached without it
    asked: list[str] = []
    with prometheus("a:10877", asked=asked) as url:
        result = invoke(file, "restore", "--floor-from", url, "--matching", 'job="bots"')
    explained = CliRunner().invoke(main, ["explain", RECEIVED, "--config", str(file)])

    assert (result.exit_code, result.output) == (
        0, "1 of 1 counters are now at least as high as in Prometheus.\n",
    )  # fmt: skip
    assert asked == ['last_over_time({__name__=~"chatbot_.+_total",target="shop",job="bots"}[7d])']
    assert f'{RECEIVED}{{provider="flowxo",target="shop",project="shop"' in explained.output
    assert "} 10\n" in explained.output


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        (
            ("a:10877", "b:10877"),
            'more than one series: instance="a:10877", instance="b:10877"; choose one with --matching',
        ),
        ((), "0 of 0 counters"),
    ],
)
def test_two_exporters_of_one_counter_or_none_are_named_and_raise_nothing(
    file: Path, instances: tuple[str, ...], said: str
) -> None:
    with prometheus(*instances) as url:
        result = invoke(file, "restore", "--floor-from", url)

    assert (result.exit_code, said in result.output) == (1, True), result.output


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (
            400,
            {"status": "error", "error": "parse\x1b]0;t\x07 error"},
            r"Prometheus answers HTTP 400: parse\x1b]0;t\x07 error",
        ),
        (200, "hello", "cannot query Prometheus"),
        (200, b'{"error": "s\xe9', "cannot query Prometheus"),
    ],
)
def test_who_is_no_prometheus_or_refuses_is_named(
    file: Path, status: int, answer: Any, said: str
) -> None:
    with answering_json(lambda _body: (status, answer)) as url:
        result = invoke(file, "restore", "--floor-from", url)

    assert (result.exit_code, said in result.output) == (1, True), result.output


@pytest.mark.parametrize(
    "url", ["http://user:can/ary@localhost:9090", "http://bob:can#ary@host", "bob:canary@host"]
)
def test_no_part_of_a_password_in_a_wrong_url_is_repeated(file: Path, url: str) -> None:
    result = invoke(file, "restore", "--floor-from", url)

    assert (result.exit_code, "not an http or https URL" in result.output) == (1, True)
    assert "can" not in result.output.replace("cannot", "")


def test_a_target_is_forgotten_once(file: Path) -> None:
    one, again = (invoke(file, "forget", "--target", "shop") for _ in range(2))

    assert (one.exit_code, "query: 1" in one.output) == (0, True), one.output
    assert (again.exit_code, "no target 'shop'; it knows []" in again.output) == (1, True)

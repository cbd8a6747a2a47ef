"""``plan``: what it says is what is asked."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.cli.plan import planned
from exporter.cli.settings import targets_of
from exporter.http_client.transport import Transport
from exporter.ledger.rows import Claim
from exporter.model.query import PollRequest
from exporter.polling.windows import poll_window
from exporter.providers import BUILT_IN
from exporter.providers.base.plugin import Query, Target
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual

UNCLAIMED = Claim(0, "", "", "", 0, 0, None, None, None, None, None, None, 0, 0, "closed", {})


def plan(folder: Path, document: object) -> str:
    file = folder / "exporter.yaml"
    file.write_text(yaml.safe_dump(document))
    result = CliRunner().invoke(main, ["plan", str(file)])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


async def first_poll(query: Query, target: Target, vendors: Vendors, clock: VirtualClock) -> int:
    """Read ``query`` as its first poll would; return how many requests that took."""
    log = vendors.services[target.provider].requests
    before = len(log)
    transport = Transport(vendors)
    now_ms = clock.now_ms()
    request = PollRequest(poll_window(query.spec, UNCLAIMED, now_ms), now_ms)
    api = replace(target, requests_per_second=0).client(transport, clock)
    assert [reading async for reading in query.read(api, request)]
    return sum("authorization" not in seen.path for seen in log[before:])


@pytest.mark.parametrize("provider", sorted(BUILT_IN))
def test_a_first_poll_takes_the_calls_that_were_planned(provider: str) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock, per_hour=2)
    (target,) = [each for each in targets_of(vendors.settings()) if each.provider == provider]
    plan = planned([target])[target.name]

    asked = [
        run_virtual(first_poll(query, target, vendors, clock), clock) for query in target.queries
    ]

    assert plan
    for each, number in zip(plan, asked, strict=True):
        assert number >= each.calls, each.spec.name
        assert each.more or number == each.calls, each.spec.name


def test_a_long_lookback_is_read_in_parts() -> None:
    vendors = Vendors(VirtualClock())
    (target,) = targets_of(read(only(vendors, "flowxo", lookback="20d")))

    each = planned([target])[target.name][0]

    assert (each.spec.name, each.calls, each.rows) == ("hourly", 3, 481)


@pytest.mark.parametrize(
    ("provider", "changes", "said"),
    [
        (
            "flowxo",
            {"initial_lookback": "35d"},
            ["initial_lookback in at least 5 calls, newest first, in about 2.5 s; live polls go"],
        ),
        (
            "flowxo",
            {"requests_per_second": 0, "initial_lookback": "35d"},
            ["reads everything once: at least 2 calls.\n", "newest first; live polls go first"],
        ),
        (
            "flowxo",
            {"interval": "1s", "requests_per_second": 0.5},
            ["cannot keep up", "requests_per_second is 0.5"],
        ),
        (
            "voiceflow",
            {"queries": ["interactions"]},
            ["unknown\n", "+ means more calls for more rows: one per 500"],
        ),
        ("flowxo", {"api_key": {"env": "NOT_SET_HERE"}}, ["flowxo"]),  # no secret is needed
    ],
)
def test_a_plan_says_what_can_be_known(
    tmp_path: Path, provider: str, changes: dict[str, object], said: list[str]
) -> None:
    text = plan(tmp_path, only(Vendors(VirtualClock()), provider, **changes))

    assert [words for words in said if words not in text] == []


def only(vendors: Vendors, provider: str, **changes: object) -> dict[str, object]:
    document = vendors.document({provider: changes})
    document["targets"] = [each for each in document["targets"] if each["provider"] == provider]
    return document


def test_every_query_has_a_line_and_a_sum_stands_below(tmp_path: Path) -> None:
    vendors = Vendors(VirtualClock())

    text = plan(tmp_path, vendors.document())

    table = text.split("\n\n")[0].splitlines()
    queries = [q.spec.name for t in targets_of(vendors.settings()) for q in t.queries]
    assert [line.split()[1] for line in table[1:-1]] == queries
    assert table[-1].startswith("all ")


@pytest.mark.parametrize("changes", [{}, {"account_key": {"env": "NOT_SET_HERE"}}])
def test_the_hour_of_an_account_is_shared(tmp_path: Path, changes: dict[str, object]) -> None:
    document = only(Vendors(VirtualClock()), "xenioo", **changes)
    other = copy.deepcopy(document["targets"][0]) | {"name": "other"}  # type: ignore[index]
    document["targets"] = [document["targets"][0], other]  # type: ignore[index]

    text = plan(tmp_path, document)

    assert [line.split()[2:6] for line in text.splitlines()[1:3]] == [["2", "h", "2", "min"]] * 2
    assert "2 queries share the account and take turns" in text

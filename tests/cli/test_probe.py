"""``check-config --probe``: one read of each target, and in words what is wrong."""

import asyncio
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.cli.probe import Outcome, announcement, probe, taking
from exporter.cli.settings import targets_of
from exporter.clock import SystemClock
from exporter.errors import BudgetSpent
from exporter.exposition import catalogue
from exporter.http_client.transport import Transport
from exporter.ledger.store import Ledger
from exporter.providers import PROVIDERS
from exporter.simulator.server import serving
from tests.providers.manifest.files import Api, loaded, target
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual

NO_LEDGER = "sqlite:///none/ledger.db"


class Probed(Vendors):
    """The vendors, in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        super().__init__(self.clock)


@pytest.fixture
def vendors() -> Probed:
    return Probed()


def probed(
    vendors: Probed, document: dict[str, Any] | None = None, ledger: str = NO_LEDGER
) -> dict[str, Outcome]:
    """Return what came of the probes, by target."""
    targets, clock = targets_of(read(document or vendors.document())), vendors.clock
    outcomes = run_virtual(probe(targets, clock, taking(ledger, clock), Transport(vendors)), clock)
    assert [outcome.target for outcome in outcomes] == [target.name for target in targets]
    return {outcome.target: outcome for outcome in outcomes}


def only(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the settings with these targets alone."""
    return document | {"targets": [each for each in document["targets"] if each["name"] in names]}


def asked(vendors: Probed) -> dict[str, int]:
    return {
        name: sum("authorization" not in seen.path for seen in service.requests)
        for name, service in vendors.services.items()
    }


def test_each_target_is_read_once_whatever_it_has(vendors: Probed) -> None:
    document = vendors.document({"chatlayer": {"collectors": ["events", "messages", "users"]}})

    outcomes = probed(vendors, document)

    assert all(outcome.good for outcome in outcomes.values())
    assert outcomes["chatlayer"].query == "messages/care/live"
    # Voiceflow's pages end with an empty one. Without a ledger nothing could note that Xenioo's
    # call is spent, and the first poll would be refused.
    assert asked(vendors) == dict.fromkeys(vendors.services, 1) | {"voiceflow": 2, "xenioo": 0}
    assert outcomes["xenioo"].text == (
        "the key is accepted; not read: there is no ledger yet to record the account's one call in"
    )


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("unauthorized", {}, "check that the key is complete, not revoked"),
        ("forbidden", {}, "the key lacks permission: check its rights"),
        ("throttled", {}, "too many requests; the key may be valid"),
        ("throttled", {"retry_after": 30}, "asked to wait 30 s; the key may be valid"),
        ("refused", {"status": 404}, "does not exist, or the plan lacks it"),
        ("refused", {"status": 402}, "plan does not include this"),
        ("refused", {"status": 400}, "check project, environments, aliases and ids"),
        ("unavailable", {"retry_after": 30}, "the provider has a problem"),
        ("html_200", {}, "check base_url and the manifest"),
        ("reset", {}, "check base_url, DNS, proxy and firewall"),
        ("hang", {}, "not done within 90 s"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    fault: str, options: dict[str, Any], words: str, vendors: Probed
) -> None:
    vendors.services["flowxo"].faults.on(fault, **options)

    outcomes = probed(vendors, only(vendors.document(), "flowxo", "inkeep"))

    assert words in str(outcomes.pop("flowxo"))
    assert all(outcome.good for outcome in outcomes.values())


def test_a_key_that_is_not_known_is_told_from_a_wrong_project(vendors: Probed) -> None:
    wrong = {"api_key": "sk-C4n4ry", "account_key": "sk-C4n4ry", "token": "sk:C4n4ry"}
    document = vendors.document()
    for entry in document["targets"]:
        assert entry.keys() & wrong.keys()
        entry |= {key: wrong[key] for key in entry.keys() & wrong.keys()}

    outcomes = probed(vendors, document)

    assert not any(outcome.good for outcome in outcomes.values())
    assert all("the key" in str(outcome) for outcome in outcomes.values())
    assert "C4n4ry" not in str(list(map(str, outcomes.values())))


def test_two_targets_of_one_account_spend_its_call_once(tmp_path: Path, vendors: Probed) -> None:
    document = only(vendors.document(), "xenioo")
    document["targets"].append(copy.deepcopy(document["targets"][0]) | {"name": "other"})

    with ledger_of(tmp_path, vendors.clock) as (_ledger, url):
        outcomes = probed(vendors, document, url)

    assert asked(vendors)["xenioo"] == 1
    assert "rows" in outcomes["xenioo"].text
    assert "the account's call is spent: the next in 1 h 1 min" in outcomes["other"].text


@contextmanager
def ledger_of(folder: Path, clock: VirtualClock) -> Iterator[tuple[Ledger, str]]:
    """Yield the ledger of an exporter that runs, and its URL."""
    url = f"sqlite:///{folder}/ledger.db"
    ledger = Ledger(url, clock=clock, families=catalogue.families(PROVIDERS))
    yield ledger, url
    ledger.close()


def test_a_call_that_the_exporter_has_spent_is_not_made_again_and_the_other_way_round(
    tmp_path: Path, vendors: Probed
) -> None:
    document = only(vendors.document(), "xenioo")
    (query,) = targets_of(read(document))[0].queries
    assert query.spec.budget
    with ledger_of(tmp_path, vendors.clock) as (ledger, url):
        ledger.sync_queries([query.spec])
        claim = ledger.claim()
        assert claim
        ledger.spend(claim, query.spec.budget)
        vendors.clock.step(600_000)

        outcome = probed(vendors, document, url)["xenioo"]
        before = asked(vendors)["xenioo"]
        vendors.clock.step(3_600_000)
        probed(vendors, document, url)

        with pytest.raises(BudgetSpent):
            ledger.spend(claim, query.spec.budget)
    assert (before, outcome.good, asked(vendors)["xenioo"]) == (0, True, 1)
    assert "the key is accepted; not read" in outcome.text
    assert "the next in 51 min" in outcome.text


def test_where_the_ledger_cannot_tell_no_budgeted_call_is_made(
    tmp_path: Path, vendors: Probed
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is no ledger" * 100)

    document = only(vendors.document(), "flowxo", "xenioo")
    outcomes = probed(vendors, document, f"sqlite:///{tmp_path}/ledger.db")

    assert asked(vendors)["xenioo"] == 0
    assert not outcomes["xenioo"].good
    assert "it is unknown whether the account has a call left" in str(outcomes["xenioo"])
    assert outcomes["flowxo"].good


@pytest.mark.parametrize(
    ("name", "options", "query"),
    [
        ("voiceflow", {"environments": ["no-such"]}, "interactions/shop"),
        ("chatlayer", {"bots": ["no-such"]}, "conversations/no-such/live"),
    ],
)
def test_a_wrong_alias_and_bot_are_named(
    name: str, options: dict[str, Any], query: str, vendors: Probed
) -> None:
    outcomes = probed(vendors, only(vendors.document({name: options}), name))

    assert outcomes[name].query == query
    assert "does not exist" in str(outcomes[name])


def test_the_cost_is_said_before(tmp_path: Path, vendors: Probed) -> None:
    targets = targets_of(vendors.settings())
    without = announcement(targets, f"sqlite:///{tmp_path}/ledger.db")
    with ledger_of(tmp_path, vendors.clock) as (_ledger, url):
        lines = announcement(targets, url)

    assert len(lines) == len(without) == len(vendors.services)
    assert [line.split(":")[0] for line in lines if "SPENDS" in line] == ["xenioo"]
    assert [line.split(":")[0] for line in without if "the key only" in line] == ["xenioo"]
    assert "SPENDS" not in "".join(without)
    assert asked(vendors) == dict.fromkeys(vendors.services, 0)


def test_the_command_asks_real_sockets_and_writes_no_ledger(tmp_path: Path) -> None:
    vendors = Vendors(SystemClock())
    vendors.services["inkeep"].faults.on("unauthorized")
    file = tmp_path / "exporter.yaml"

    async def main_() -> tuple[int, str]:
        async with serving(vendors.services) as urls:
            targets = [
                {"name": name, "provider": name} | service.target(urls[name])
                for name, service in vendors.services.items()
            ]
            document = {"version": 1, "allow_inline_secrets": True, "targets": targets}
            file.write_text(yaml.safe_dump(document))
            arguments = ["check-config", "--probe", str(file)]
            result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
            return result.exit_code, result.stdout

    code, text = asyncio.run(main_())

    assert code == 1
    assert text.index("xenioo: the key only") < text.index("inkeep events: FAILED: POST /query/")
    assert text.count(": ok: ") == len(vendors.services) - 1
    assert [path.name for path in tmp_path.iterdir()] == ["exporter.yaml"]


def test_a_read_with_which_no_query_begins_is_no_good_probe() -> None:
    clock = VirtualClock()
    answer = {"data": [{"time": clock.now_ms() // 1000, "sent": 1}]}
    chosen_by = loaded({"only": {"row.stat": ["done"]}, "missing": "zero"})
    take = taking(NO_LEDGER, clock)

    (found,) = run_virtual(probe([target(chosen_by)], clock, take, Transport(Api(answer))), clock)

    assert not found.good
    assert found.text.startswith("a first read must be whole: no row has row.stat, which a")

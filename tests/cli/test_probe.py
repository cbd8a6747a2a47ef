"""``check-config --probe``: one read of each target, and in words what is wrong."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.cli.probe import Outcome, announcement, probe
from exporter.cli.settings import targets_of
from exporter.clock import SystemClock
from exporter.simulator.server import serving
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual


def probed(
    vendors: Vendors, clock: VirtualClock, document: dict[str, Any] | None = None
) -> dict[str, Outcome]:
    targets = targets_of(read(document or vendors.document()))
    outcomes = run_virtual(probe(targets, clock, vendors), clock)
    return {outcome.target: outcome for outcome in outcomes}


def asked(vendors: Vendors) -> dict[str, int]:
    return {
        name: sum("authorization" not in seen.path for seen in service.requests)
        for name, service in vendors.services.items()
    }


def test_each_target_is_read_once() -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)

    outcomes = probed(vendors, clock)

    assert {name: outcome.good for name, outcome in outcomes.items()} == dict.fromkeys(
        vendors.services, True
    )
    # Voiceflow's pages end with an empty one.
    assert asked(vendors) == dict.fromkeys(vendors.services, 1) | {"voiceflow": 2}


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("unauthorized", {}, "check that the key is whole, not revoked"),
        ("forbidden", {}, "check that the key is whole, not revoked"),
        ("throttled", {}, "the provider wants less"),
        ("refused", {"status": 404}, "is unknown there, or the plan lacks it"),
        ("refused", {"status": 402}, "plan does not include this"),
        ("refused", {"status": 400}, "check project, environments, aliases and ids"),
        ("unavailable", {"retry_after": 30}, "the provider has trouble of its own"),
        ("html_200", {}, "is base_url the API's own"),
        ("reset", {}, "check base_url, name resolution, proxy and firewall"),
    ],
)
def test_what_is_wrong_is_said_in_words(fault: str, options: dict[str, Any], words: str) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    vendors.services["flowxo"].faults.on(fault, **options)

    outcomes = probed(vendors, clock)

    assert words in outcomes.pop("flowxo").words
    assert all(outcome.good for outcome in outcomes.values())


def test_a_key_that_is_not_known_is_told_from_a_wrong_project() -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    document = vendors.document(
        {
            "flowxo": {"api_key": "sk-C4n4ry"},
            "inkeep": {"api_key": "sk-C4n4ry"},
            "voiceflow": {"api_key": "sk-C4n4ry"},
            "xenioo": {"account_key": "sk-C4n4ry"},
            "chatlayer": {"token": "sk:C4n4ry"},
        }
    )

    outcomes = probed(vendors, clock, document)

    assert not any(outcome.good for outcome in outcomes.values())
    assert all("the key" in outcome.words for outcome in outcomes.values())
    assert "C4n4ry" not in str(list(map(str, outcomes.values())))


def test_a_provider_that_never_answers_is_given_up_on() -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    vendors.services["voiceflow"].faults.on("hang")

    outcomes = probed(vendors, clock)

    assert "not done within 90 s" in outcomes["voiceflow"].words


def test_two_targets_of_one_account_spend_its_call_once() -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    document = vendors.document()
    first = next(each for each in document["targets"] if each["provider"] == "xenioo")
    document["targets"].append(copy.deepcopy(first) | {"name": "other"})

    outcomes = probed(vendors, clock, document)

    assert asked(vendors)["xenioo"] == 1
    assert outcomes["xenioo"].good
    assert "another target spent the account's call" in outcomes["other"].words


def test_the_cost_is_said_before() -> None:
    vendors = Vendors(VirtualClock())

    lines = announcement(targets_of(vendors.settings()))

    assert len(lines) == len(vendors.services)
    assert [line.split(":")[0] for line in lines if "SPENDS" in line] == ["xenioo"]
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
    assert text.index("SPENDS") < text.index("inkeep: FAILED: POST /query/")
    assert text.count(": ok: ") == len(vendors.services) - 1
    assert [path.name for path in tmp_path.iterdir()] == ["exporter.yaml"]

"""``check-config``, as a command."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from exporter import __version__
from exporter.cli import main

GOOD = """\
version: 1
targets:
  - name: shop
    provider: voiceflow
    api_key: {env: VOICEFLOW_API_KEY}
    projects: [{id: "64f0", alias: shop}]
  - name: promo
    provider: flowxo
    api_key: {env: VOICEFLOW_API_KEY}
    project: promo
"""


def check(folder: Path, text: str, *arguments: str) -> Result:
    (folder / "exporter.yaml").write_text(text)
    return CliRunner(env={"VOICEFLOW_API_KEY": "sk-C4n4ry"}).invoke(
        main, ["check-config", *arguments]
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_good_file_is_summed_up_in_one_line(folder: Path) -> None:
    result = check(folder, GOOD)

    assert result.exit_code == 0
    assert result.stdout == (
        "exporter.yaml: 2 targets, 3 queries: "
        "shop (interactions/shop, unique_users/shop), promo (hourly)\n"
    )
    assert result.stderr == ""


def test_what_is_likely_to_be_regretted_is_a_warning_with_its_position(folder: Path) -> None:
    text = GOOD.replace("    project: promo\n", "    project: promo\n    zero_hold: 30s\n")

    result = check(folder, text)

    assert result.exit_code == 0
    assert result.stderr == (
        "exporter.yaml:11:16: targets[1].zero_hold: warning: too short, unless Prometheus scrapes "
        "every 20 s or more often; take 1.5 times the scrape interval, 90s for its usual 1m\n"
    )
    assert result.stdout.startswith("exporter.yaml: 2 targets")


def test_a_default_that_is_too_short_is_one_warning(folder: Path) -> None:
    result = check(folder, GOOD + "defaults: {zero_hold: 89s}\n")

    assert result.exit_code == 0
    assert result.stderr.startswith("exporter.yaml:11:23: defaults.zero_hold: warning: too short")
    assert result.stderr.count("warning") == 1
    assert check(folder, GOOD + "defaults: {zero_hold: 90s}\n").stderr == ""


def test_a_default_that_no_target_keeps_is_not_warned_of(folder: Path) -> None:
    text = GOOD.replace("    provider", "    zero_hold: 2m\n    provider")

    assert check(folder, text + "defaults: {zero_hold: 1s}\n").stderr == ""


def test_targets_that_share_a_call_budget_are_warned_of(folder: Path) -> None:
    agency = """\
  - name: agency{number}
    provider: xenioo
    account_key: {{env: VOICEFLOW_API_KEY}}
    service_url: https://node.example.com
    bot: bot{number}
"""
    text = GOOD + agency.format(number=1) + agency.format(number=2)

    result = check(folder, text)

    assert result.exit_code == 0
    assert result.stderr == (
        "exporter.yaml:16:5: targets[3]: warning: the same account as the target at "
        "exporter.yaml:11:11, so both share its calls; each is polled half as often; one target "
        "can read all bots of an account\n"
    )
    assert "C4n4ry" not in result.stderr


def test_every_fault_goes_to_stderr_and_the_exit_code_is_two(folder: Path) -> None:
    result = check(folder, GOOD.replace("project: promo", "projekt: promo"), "exporter.yaml")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "exporter.yaml:7:5: targets[1].project: missing\n"
        'exporter.yaml:10:5: targets[1].projekt: unknown key; did you mean "project"?\n'
    )


def test_a_family_that_does_not_exist_cannot_be_capped(folder: Path) -> None:
    text = GOOD + "limits: {families: {chatbot_interaction_total: 10}}\n"

    result = check(folder, text)

    assert result.exit_code == 2
    assert 'did you mean "chatbot_interactions_total"?' in result.stderr


def test_the_file_is_named_as_it_was_given(folder: Path) -> None:
    result = check(folder, "", "./exporter.yaml")

    assert result.stderr.startswith("./exporter.yaml:1:1: ")


def test_a_file_that_does_not_exist_is_a_fault(folder: Path) -> None:
    result = check(folder, GOOD, "other.yaml")

    assert (result.exit_code, result.stderr) == (2, "other.yaml:1:1: no such file\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["check-config", "--nonsense"], []])
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in main.list_commands(click.Context(main)))
    assert "0 success, 1 failure, 2 wrong" in " ".join(result.stdout.split())


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout.split()[-1] == __version__


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check-config", "none.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (2, "none.yaml:1:1: no such file\n")

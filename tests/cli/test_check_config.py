"""``check-config``, as a command."""

import os
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
    return CliRunner(env={"VOICEFLOW_API_KEY": "sk-C4n4ry", "SAME": "sk-C4n4ry"}).invoke(
        main, ["check-config", *arguments]
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_good_file_is_summed_up_in_one_line(folder: Path) -> None:
    for result in (
        check(folder, GOOD),
        check(folder, GOOD, "--config", "exporter.yaml"),
        check(folder, GOOD.replace("VOICEFLOW_API_KEY", "NOT_SET"), "--no-secrets"),
    ):
        assert result.exit_code == 0
        assert result.stdout == (
            "exporter.yaml: 2 targets, 3 queries: "
            "shop (interactions/shop, unique_users/shop), promo (hourly)\n"
        )
        assert result.stderr == ""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SSL_CERT_FILE", "/nowhere.pem", "SSL_CERT_FILE=/nowhere.pem: No such file or directory"),
        ("SSL_CERT_DIR", "empty", "SSL_CERT_DIR=empty: empty; correct or unset the variable"),
        ("https_proxy", "socks5://127.0.0.1:1", "https_proxy: SOCKS proxies are not supported"),
        ("SSLKEYLOGFILE", "/nowhere/log", "warning: SSLKEYLOGFILE=/nowhere/log: No such file"),
    ],
)
def test_a_wrong_variable_of_this_machine_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    (folder / "empty").mkdir()

    result = check(folder, GOOD)

    assert said in result.stderr
    assert result.exit_code == (0 if said.startswith("warning: ") else 2)


@pytest.mark.parametrize(
    ("arguments", "name", "value", "said"),
    [
        # With the right variables the ledger without a folder would end it, with 1.
        (("--config", "exporter.yaml"), "https_proxy", "socks5://127.0.0.1:1", "https_proxy: "),
        (("--config", "exporter.yaml"), "SSL_CERT_FILE", "/nowhere.pem", "SSL_CERT_FILE="),
        (("--config.file", "none.yaml"), "SAME", "", "none.yaml:1:1: no such file\n"),
    ],
)
def test_a_run_does_not_start_with_a_wrong_file_or_variable(
    folder: Path, arguments: tuple[str, str], name: str, value: str, said: str
) -> None:
    (folder / "exporter.yaml").write_text(GOOD + "ledger: {url: sqlite:///nowhere/ledger.db}\n")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "exporter", "run", "--web.listen-address", ":0", *arguments],
        env=os.environ | {"VOICEFLOW_API_KEY": "sk-C4n4ry", name: value},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr.startswith(said)) == (2, True), done.stderr


def test_a_wrong_proxy_is_named_for_every_address_of_a_target(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "ftp://127.0.0.1:1")
    local = "    base_url: http://127.0.0.1:9\n"
    text = GOOD.partition("targets:")[0] + "targets:\n" + AGENCY.format(number=1) + local

    result = check(folder, text)

    assert (result.exit_code, "https_proxy: not an address" in result.stderr) == (2, True)


AGENCY = """\
  - name: agency{number}
    provider: xenioo
    account_key: {{env: VOICEFLOW_API_KEY}}
    service_url: https://node.example.com
    bot: bot{number}
"""
PROMO = "    project: promo\n"
WARNINGS = {
    GOOD.replace(PROMO, f"{PROMO}    zero_hold: 30s\n"): (
        "11:16: targets[1].zero_hold: warning: too short, unless Prometheus scrapes every 20 s "
        "or more often; use 1.5 times the scrape interval: 90s for the default 1m"
    ),
    GOOD + "defaults: {zero_hold: 89s}\n": (
        "11:23: defaults.zero_hold: warning: too short, unless Prometheus scrapes every 59 s "
        "or more often; use 1.5 times the scrape interval: 90s for the default 1m"
    ),
    GOOD + AGENCY.format(number=1) + AGENCY.format(number=2): (
        "16:5: targets[3]: warning: the same account as the target at exporter.yaml:11:11, so both "
        "share its calls; each is polled half as often; use one target for all bots of an account"
    ),
    GOOD + "  - {name: again, provider: flowxo, api_key: {env: SAME}, project: other}\n": (
        "11:5: targets[2]: warning: the same key and queries as the target at exporter.yaml:7:11; "
        "everything is counted twice"
    ),
    GOOD + "  - {name: care, provider: chatlayer, token: {env: SAME}, region: eu, bots: [b]}\n": (
        "11:5: targets[2]: warning: the token must be written as tokenId:tokenSecret; "
        "no poll can succeed"
    ),
    GOOD.replace(PROMO, f"{PROMO}    top_messages: {{limit: 5}}\n"): (
        "11:19: targets[1].top_messages: warning: no message is exported: privacy.top_messages is "
        "none; set it to allowlist"
    ),
    GOOD + "ledger: {url: sqlite:///nowhere/ledger.db}\n": (
        "11:15: ledger.url: warning: the ledger's folder does not exist, so run cannot start; "
        "create it"
    ),
}


@pytest.mark.parametrize("text", WARNINGS)
def test_valid_but_risky_settings_are_warned_of_once_with_their_place(
    folder: Path, text: str
) -> None:
    result = check(folder, text)

    assert result.exit_code == 0
    assert result.stderr == f"exporter.yaml:{WARNINGS[text]}\n"
    assert result.stdout.startswith("exporter.yaml: ")


def test_what_is_not_risky_is_not_warned_of(folder: Path) -> None:
    kept = GOOD.replace("    provider", "    zero_hold: 2m\n    provider")

    assert check(folder, GOOD + "defaults: {zero_hold: 90s}\n").stderr == ""
    assert check(folder, kept + "defaults: {zero_hold: 1s}\n").stderr == ""


def test_every_fault_goes_to_stderr_and_the_exit_code_is_two(folder: Path) -> None:
    text = GOOD.replace("project: promo", "projekt: promo")
    text += "limits: {families: {chatbot_interaction_total: 10}}\n"

    result = check(folder, text, "./exporter.yaml")  # a file is named as it was given

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "./exporter.yaml:7:5: targets[1].project: missing\n"
        './exporter.yaml:10:5: targets[1].projekt: unknown key; did you mean "project"?\n'
        "./exporter.yaml:11:21: limits.families.chatbot_interaction_total: no such family; "
        'did you mean "chatbot_interactions_total"?\n'
    )


def test_a_manifest_that_is_given_as_provider_is_known_to_be_one(folder: Path) -> None:
    text = "version: 1\ntargets: [{name: llm, provider: openai}]\n"

    assert check(folder, text).stderr == (
        "exporter.yaml:2:33: targets[0].provider: unknown provider; openai is a manifest: write "
        "provider: manifest, manifest: openai\n"
    )


def test_a_ledger_needs_its_driver(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    result = check(folder, GOOD + "ledger: {url: postgresql://shop@db.invalid/ledger}\n")

    assert result.exit_code == 2
    assert result.stderr.startswith("ledger.url: psycopg, the driver for PostgreSQL, cannot be")


ADDRESSES = ("10877", "localhost", "h:99999", "::1:80", "a b:1", "h:-1", "")


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("No such command", ["nonsense"]),
        ("No such option", ["check-config", "--nonsense"]),
        ("Usage: ", []),
        ("named twice", ["check-config", "--config", "a.yaml", "b.yaml"]),
        ("named twice", ["plan", "--config", "a.yaml", "b.yaml"]),
        ("--probe needs the secrets", ["check-config", "--no-secrets", "--probe"]),
        ("reads no file; use: run --config.file", ["demo", "--config.file", "exporter.yaml"]),
        ("is not one of 'table', 'json', 'markdown'", ["metrics", "--format", "yaml"]),
        ("Missing argument", ["simulate"]),
        ("is not one of", ["simulate", "nobody"]),
        ("70000", ["simulate", "voiceflow", "--port", "70000"]),
        *(("expected host:port", ["run", "--listen", address]) for address in ADDRESSES),
        ("expected host:port", ["run", "--web.listen-address", "foo", "--config.file", "x"]),
        ("expected host:port", ["demo", "--web.listen-address", "foo", "--web.config.file", "y"]),
    ],
)
def test_wrong_usage_exits_with_two_and_says_why(said: str, arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)

    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in main.list_commands(click.Context(main)))
    assert "0 success, 1 failure, 2 wrong" in " ".join(result.stdout.split())


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout.split()[-1] == __version__

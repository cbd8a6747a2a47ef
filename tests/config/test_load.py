"""A good file becomes settings."""

import datetime as dt
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from exporter.config import holidays, load, loads
from exporter.config.holidays import holiday_calendar
from exporter.config.model import Secret, Settings
from exporter.config.secret import SecretContext
from exporter.config.values import parse_listen
from exporter.errors import SettingsError, Unauthorized
from exporter.providers import PROVIDERS
from tests.support.settings import CANARY, ENVIRON, FAMILIES, OPTIONS, HourlyOptions

TOP = Path(__file__).parents[2] / "exporter.yaml"
TARGET = """
targets:
  - {name: agency, provider: hourly, account_key: {env: VOICEFLOW_API_KEY}}
"""


def settings(text: str) -> Settings:
    return loads(text, OPTIONS, ENVIRON, families=FAMILIES)


def faults_of(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(text)
    return str(caught.value)


KEY = "provider: hourly, account_key: {env: VOICEFLOW_API_KEY}"


@pytest.mark.parametrize(
    "text",
    [
        f"targets: [&a {{name: a, {KEY}, settle: 3h}}, {{<<: *a, name: b, settle: 2h}}]",
        (
            f"x-base: &b {{{KEY}, settle: 3h}}\ntargets:\n  - {{<<: *b, name: a}}\n"
            "  - {<<: [{settle: 2h}, *b], name: b}\n"
        ),
        (
            f"targets: [{{name: a, {KEY}, settle: &s 3h, lookback: 9h}}, "
            f"{{name: b, {KEY}, settle: 2h, lookback: *s}}]"
        ),
        (
            f"defaults: {{settle: 2h, timezone: Europe/Berlin}}\n"
            f"targets: [{{name: a, {KEY}, settle: 3h}}, {{name: b, {KEY}}}]"
        ),
        (
            f"defaults: {{settle: 3h, hourly: {{settle: 2h}}}}\n"
            f"targets: [{{name: a, {KEY}, settle: 3h}}, {{name: b, {KEY}}}]"
        ),
        (
            "defaults: {settle: 3h, hourly: {account_key: {env: VOICEFLOW_API_KEY}}}\n"
            "targets: [{name: a, provider: hourly}, {name: b, provider: hourly, settle: 2h}]"
        ),
    ],
)
def test_targets_share_settings_by_anchor_merge_key_or_default_of_their_provider(text: str) -> None:
    made = settings(f"version: 1\n{text}")

    assert [(t.name, t.settle) for t in made.targets] == [("a", 10_800_000), ("b", 7_200_000)]
    assert all(t.account_key.env for t in made.targets if isinstance(t, HourlyOptions))


@pytest.mark.parametrize(
    "multiplied",
    [
        "- &n0 [x, x]\n" + "".join(f"- &n{n} [*n{n - 1}, *n{n - 1}]\n" for n in range(1, 18)),
        "- &n0 {}\n" + "".join(f"- &n{n} {{<<: [*n{n - 1}, *n{n - 1}]}}\n" for n in range(1, 18)),
        "- &n [*n, *n]\n",
        "- &n {<<: *n}\n",
        "- &n {a: *n, <<: *n}\n",
    ],
)
def test_aliases_cannot_multiply_a_file_without_limit(multiplied: str) -> None:
    assert re.search(": (more than 50,000 values|nested too deeply)", faults_of(multiplied))


def test_file_wide_settings_arrive_and_a_providers_own_defaults_stay() -> None:
    made = settings(
        """
version: 1
web: {listen: "[::1]:9000"}
ledger: {max_size: 500MiB, allow_network_fs: true}
limits: {series_total: 10, families: {chatbot_events_total: 7}}
privacy: {top_messages: raw, allow_raw_text: true}
"""
        + TARGET
    )

    assert parse_listen(made.web.listen) == ("::1", 9000)
    assert (made.ledger.max_size, made.ledger.allow_network_fs) == (500 * 2**20, True)
    assert (made.limits.series_total, made.limits.families) == (10, {"chatbot_events_total": 7})
    assert made.privacy.top_messages == "raw"
    target = made.targets[0]
    assert (target.interval, target.base_url) == (3_600_000, "https://hourly.example.com")


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("zero_hold: 90s", 90_000),
        ("zero_hold: 1h30m", 5_400_000),
        ("zero_hold: 1w", 604_800_000),
        ("write_off_after: never", "never"),
        ("initial_lookback: 0", 0),
        ("timezone: Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_a_default_is_the_targets_in_the_exporters_own_units(given: str, value: object) -> None:
    made = settings(f"version: 1\ndefaults: {{{given}}}{TARGET}")

    assert getattr(made.targets[0], given.partition(":")[0]) == value


def test_a_ledger_of_no_size_is_refused() -> None:
    said = faults_of(f"version: 1\nledger: {{max_size: 0GiB}}{TARGET}")

    assert "ledger.max_size: expected a size such as 500MiB or 1GiB" in said


def test_a_zero_in_quotes_has_a_hint() -> None:
    said = faults_of(f'version: 1\ndefaults: {{initial_lookback: "0"}}{TARGET}')

    assert "a duration such as 35d, or 0; write 0 without quotes" in said


def test_a_secret_file_is_read_again_each_time(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    secret = Secret.model_validate({"file": "key"}, context=SecretContext({}, tmp_path))

    before = secret.read()
    key.write_text("second\r\n")

    assert (before, secret.read()) == ("first", "second")


@pytest.mark.parametrize("secret", [Secret(file="/nowhere/key"), Secret(env="NO_SUCH_KEY")])
def test_a_secret_that_is_gone_by_the_time_of_a_poll_is_a_failed_poll(secret: Secret) -> None:
    with pytest.raises(Unauthorized, match=r"cannot be read|is not set"):
        secret.read()


def test_a_secret_outside_a_file_must_be_a_reference_too() -> None:
    with pytest.raises(ValidationError, match="literal secret"):
        Secret.model_validate("sk-live-C4n4ry")


def test_a_folder_in_the_place_of_a_file_leaves_nothing_open(tmp_path: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])

    for _ in range(3):
        with pytest.raises(SettingsError, match="it is a directory"):
            load(tmp_path, OPTIONS, ENVIRON)

    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    assert faults_of("#" * 2**20 + "\n") == "exporter.yaml:1:1: the file is larger than 1 MiB"


def test_secrets_are_stripped_wherever_they_come_from_and_paths_start_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(f"\t{CANARY} \r\n\n", "utf-8-sig")
    file = tmp_path / "exporter.yaml"
    keys = ("{file: key}", "{env: KEY}", f'" {CANARY} "')
    listed = [f"{{name: t{n}, provider: hourly, account_key: {k}}}" for n, k in enumerate(keys)]
    file.write_text(
        "version: 1\nallow_inline_secrets: true\nledger: {url: sqlite:///counts/ledger.db}\n"
        f"targets: [{', '.join(listed)}]\n"
    )
    monkeypatch.setenv("KEY", f" {CANARY}\n")

    made = load(file, OPTIONS, os.environ)

    assert {t.account_key.read() for t in made.targets if isinstance(t, HourlyOptions)} == {CANARY}
    assert made.ledger.url == f"sqlite:///{tmp_path}/counts/ledger.db"


def test_the_ledger_is_next_to_the_settings_whatever_their_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "a%41b?c"
    folder.mkdir()
    (folder / "exporter.yaml").write_text(f"version: 1{TARGET}")

    made = load(folder / "exporter.yaml", OPTIONS, ENVIRON)

    assert make_url(made.ledger.url).database == f"{folder}/ledger.db"


@pytest.mark.parametrize(
    ("character", "named"),
    [
        ("\r", "a carriage return (U+000D)"),
        ("\t", "a tab (U+0009)"),
        ("\u200b", "a character (U+200B)"),
    ],
)
def test_a_character_within_a_secret_that_no_request_can_carry_is_named(
    character: str, named: str
) -> None:
    text = "version: 1\ntargets: [{name: a, provider: hourly, account_key: {env: API_KEY}}]"

    with pytest.raises(SettingsError, match=re.escape(f"API_KEY contains {named}")) as caught:
        loads(text, OPTIONS, {"API_KEY": f"C4n4ry{character}7f3a"})

    assert "C4n4ry" not in str(caught.value)


def test_secrets_need_not_be_there_where_none_is_used() -> None:
    text = "targets: [{name: a, provider: hourly, account_key: {REF}}]"

    for reference in ("env: NOT_SET", "file: /nowhere/key"):
        written = f"version: 1\n{text.replace('REF', reference)}"
        assert loads(written, OPTIONS, {}, resolve=False).targets[0].name == "a"
        assert "targets[0].account_key" in faults_of(written)


def test_absolute_and_remote_ledgers_stay_as_they_are() -> None:
    urls = ("sqlite:////var/lib/ledger.db", "postgresql://chatbot@db/ledger")

    made = [settings(f"version: 1\nledger: {{url: '{url}'}}{TARGET}").ledger.url for url in urls]

    assert made == list(urls)


def test_one_wrong_entry_of_a_list_is_one_error() -> None:
    bots = "[{id: x, versions: [LIV]}]"
    target = f"{{name: a, provider: chatlayer, token: {{env: K}}, region: eu, bots: {bots}}}"
    options = {"chatlayer": PROVIDERS["chatlayer"].options}

    with pytest.raises(SettingsError) as caught:
        loads(f"version: 1\ntargets: [{target}]", options, {"K": "a:b"})

    assert [each.path for each in caught.value.problems] == ["targets[0].bots[0].versions[0]"]


def test_a_literal_secret_needs_the_switch_and_is_not_shown() -> None:
    text = (
        "ledger: {url: 'postgresql://chatbot:C4n4ry@db/ledger'}\n"
        "targets: [{name: a, provider: hourly, account_key: 'sk-live-C4n4ry'}]"
    )

    made = settings(f"version: 1\nallow_inline_secrets: true\n{text}")

    (target,) = made.targets
    assert isinstance(target, HourlyOptions)
    assert target.account_key.read() == "sk-live-C4n4ry"
    assert "C4n4ry" not in f"{made!r} {target}"
    assert faults_of(f"version: 1\n{text}").count("literal secret") == 2


@pytest.mark.parametrize("query", ["password=C4n4ry", "sslmode=require&sslpassword=C4n4ry"])
def test_a_password_in_the_query_of_a_url_is_a_literal_secret(query: str) -> None:
    text = f"ledger: {{url: 'postgresql://chatbot@db/ledger?{query}'}}{TARGET}"

    found = faults_of(f"version: 1\n{text}")

    assert "ledger.url: literal secret" in found
    assert "C4n4ry" not in found
    settings(f"version: 1\nallow_inline_secrets: true\n{text}")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080"])
def test_plain_http_may_go_to_loopback(host: str) -> None:
    made = settings(f"version: 1\ntargets: [{{name: a, {KEY}, base_url: 'http://{host}/v1/'}}]")

    assert made.targets[0].base_url == f"http://{host}/v1"


def test_a_byte_order_mark_and_windows_line_ends_are_taken() -> None:
    text = "\ufeffversion: 1" + TARGET

    assert settings(text.replace("\n", "\r\n")).targets[0].name == "agency"


def test_the_example_shows_every_provider_and_is_valid_once_its_variables_are_set() -> None:
    text = TOP.read_text("utf-8")
    kinds = {name: kind.options for name, kind in PROVIDERS.items()}
    environ = dict.fromkeys(re.findall(r"env: (\w+)", text), CANARY)

    made = loads(text, kinds, environ, families=FAMILIES)

    assert {target.provider for target in made.targets} == PROVIDERS.keys()


def holidays_of(setting: str, folder: Path = Path()) -> tuple[str, ...]:
    """Return the holidays of a target with this setting."""
    key = "provider: flowxo, api_key: {env: VOICEFLOW_API_KEY}, project: a"
    text = f"version: 1\ntargets: [{{name: a, {key}, holidays: {setting}}}]"
    return loads(text, OPTIONS, ENVIRON, file=str(folder / "exporter.yaml")).targets[0].holidays


@pytest.mark.parametrize(
    ("setting", "free", "usual"),
    [
        ("DE", "2026-12-25", "2026-11-26"),
        ("US-CA", "2026-11-26", "2026-12-26"),
        ("[DE-BY, 2026-07-01]", "2026-01-06", "2026-12-24"),
        ("[DE, '2026-07-01']", "2026-07-01", "2027-07-01"),
        ("{file: days.txt}", "2026-12-24", "2026-12-25"),
    ],
)
def test_countries_regions_dates_and_files_say_which_days_are_holidays(
    setting: str, free: str, usual: str, tmp_path: Path
) -> None:
    (tmp_path / "days.txt").write_text("# closed\n\n2026-12-24  # Christmas Eve\n", "utf-8")

    holiday = holiday_calendar(holidays_of(setting, tmp_path))

    names = [holiday(dt.date.fromisoformat(day)) for day in (free, usual)]
    assert [name is not None for name in names] == [True, False]


def test_a_country_needs_the_extra_and_dates_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holidays, "find_spec", lambda _: None)

    assert holidays_of("[2026-12-24]") == ("2026-12-24",)
    with pytest.raises(SettingsError) as caught:
        holidays_of("DE")
    assert str(caught.value).endswith(
        "targets[0].holidays: the holidays package is not installed; "
        "install the wheel with [holidays], see docs/install.md, or list the dates"
    )

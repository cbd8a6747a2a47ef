"""Whatever is done to a good file, it loads or gives faults, and shows no secret."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from exporter.config import loads
from exporter.config.model import Settings
from exporter.errors import SettingsError, SettingsProblem
from tests.support.settings import CANARIES, CANARY, ENVIRON, FAMILIES, OPTIONS

GOOD = """\
version: 1
allow_inline_secrets: false
web: {listen: 127.0.0.1:10877}
ledger: {url: sqlite:///ledger.db, max_size: 1GiB}
defaults: {zero_hold: 90s, timezone: Europe/Berlin, write_off_after: 6h}
limits: {series_total: 1000, families: {chatbot_events_total: 10}}
privacy: {top_messages: none}
targets:
  - name: shop
    provider: voiceflow
    api_key: {env: VOICEFLOW_API_KEY}
    base_url: https://analytics-api.voiceflow.com
    projects: [{id: "64f0", alias: shop}]
    environments: [main, {id: dev, alias: staging}]
    queries: [interactions, unique_users]
  - name: promo
    provider: flowxo
    api_key: {env: VOICEFLOW_API_KEY}
    project: promo
    top_flows: {limit: 10, window: 24h}
"""
DATA = yaml.safe_load(GOOD)
ODD: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "on", CANARY, [], {}, [CANARY], {CANARY: 1}]
LITTER = [
    *"{}[]:,#&*!|>'\"%@`\t\n\\-? ",
    "\x00",
    "\ud800",
    "é",
    "---\n",
    "<<: ",
    "&a ",
    "*a ",
    "<<: *a",
    CANARY,
    "1_0",
    "0x_",
]


def outcome(text: str | bytes) -> Settings | tuple[SettingsProblem, ...]:
    """Return the settings of ``text`` or its faults; any other error is raised."""
    try:
        return loads(text, OPTIONS, ENVIRON, families=FAMILIES)
    except SettingsError as error:
        return error.problems


def check(text: str | bytes) -> None:
    """Assert that ``text`` gives settings, or faults that have a position and show no secret."""
    found = outcome(text)
    faults = found if isinstance(found, tuple) else ()
    shown = "\n".join(map(str, faults))

    assert isinstance(found, Settings) or faults
    assert all(fault.line >= 1 and fault.column >= 1 for fault in faults)
    assert not [canary for canary in CANARIES if canary in shown]


def paths(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [here, *(path for key, value in items for path in paths(value, (*here, key)))]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = data.copy()
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


def test_the_file_that_is_mutated_is_good() -> None:
    assert isinstance(outcome(GOOD), Settings)


@effort(max_examples=200, deadline=None)
@given(path=st.sampled_from(paths(DATA)), value=st.sampled_from(ODD))
def test_any_value_in_any_place_gives_faults_at_most(path: tuple[Any, ...], value: Any) -> None:
    text = yaml.safe_dump(replaced(DATA, path, value), sort_keys=False)

    check(text)


@effort(max_examples=200, deadline=None)
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 6), st.sampled_from(LITTER)),
        min_size=1,
        max_size=4,
    )
)
def test_torn_text_gives_faults_at_most(cuts: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for start, length, litter in cuts:
        text = text[:start] + litter + text[start + length :]

    check(text)


@effort(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=60), at=st.integers(0, len(GOOD)))
def test_any_bytes_give_faults_at_most(raw: bytes, at: int) -> None:
    check(GOOD.encode()[:at] + raw)

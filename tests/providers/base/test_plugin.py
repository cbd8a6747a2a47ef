"""What every provider builds its queries from."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.config.model import Limits, Privacy, Secret, TargetOptions
from exporter.errors import Unauthorized
from exporter.model.families import EVENTS, FALLBACKS
from exporter.model.query import QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from exporter.providers.base.plugin import Feed, LabelSettings, key_of, spec_for
from exporter.providers.base.times import spans

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z


def spec(limits: Limits | None = None, **changes: Any) -> QuerySpec:
    entries = {"name": "shop", "provider": "voiceflow", "base_url": "https://vendor.test"}
    options = TargetOptions.model_validate(entries | changes)
    return spec_for(options, LabelSettings(limits or Limits(), Privacy()), "hourly", "GET /x")


def test_every_common_setting_reaches_the_query() -> None:
    found = spec(
        Limits(series_per_target=7, families={"chatbot_events_total": 3}),
        interval="1m",
        settle="2h",
        lookback="3d",
        zero_hold="5s",
        write_off_after="never",
        start="history",
        timezone="Europe/Berlin",
        period_gauges=False,
    )

    assert (found.interval_ms, found.settle_ms, found.lookback_ms, found.zero_hold_ms) == (
        60_000,
        2 * HOUR_MS,
        3 * DAY_MS,
        5_000,
    )
    assert (found.write_off_after_ms, found.history, found.timezone, found.period_gauges) == (
        None,
        True,
        "Europe/Berlin",
        False,
    )
    assert (found.target_cap, found.caps) == (7, {"chatbot_events_total": 3})


def test_a_query_knows_the_caps_of_its_families_so_that_a_raised_one_is_a_change() -> None:
    feeds = [Feed(EVENTS, "events"), Feed(replace(FALLBACKS, cap=7), "fallbacks")]
    options = TargetOptions(name="shop", provider="voiceflow", base_url="https://vendor.test")
    limits = Limits(families={EVENTS.name: 3, "chatbot_searches_total": 9})

    found = spec_for(options, LabelSettings(limits, Privacy()), "hourly", "GET /x", feeds)

    assert found.caps == {EVENTS.name: 3, FALLBACKS.name: 7, "chatbot_searches_total": 9}


@pytest.mark.parametrize("key", ["", "two\nlines", "ключ"])
def test_a_key_that_no_request_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        key_of(Secret.literal(key))

    assert not key or key not in str(caught.value)


def test_a_window_is_cut_into_whole_steps_without_holes() -> None:
    parts = list(spans(Window(NOON - 5 * HOUR_MS + 1, NOON + 1), HOUR_MS, 2 * HOUR_MS))

    assert parts == [
        Window(NOON - 5 * HOUR_MS, NOON - 3 * HOUR_MS),
        Window(NOON - 3 * HOUR_MS, NOON - HOUR_MS),
        Window(NOON - HOUR_MS, NOON + HOUR_MS),
    ]

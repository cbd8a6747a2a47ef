"""A label that the settings name gets another name: what is read again is no growth."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, floor_to
from exporter.providers.base.times import iso
from tests.providers.vendor import build_target, played, read
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

HOURS = [floor_to(START_MS, HOUR_MS) - ago * HOUR_MS for ago in range(5)]
ID = "64b1f0aa11bb22cc33dd44ef"


def flowxo(number: int) -> dict[str, Any]:
    names = ("received_messages", "sent_messages", "triggers", "new_users", "active_users")
    own = dict.fromkeys((*names, "total_users"), number)
    return {"metrics": [{"_timestamp": iso(hour), **own} for hour in HOURS]}


def inkeep(number: int) -> dict[str, Any]:
    group = {"integrationId": "web", "type": "positive", "count_id": number}
    found = [{"createdAt_hour": iso(hour), **group} for hour in HOURS]
    return {"status": "ok", "data": {"result": found, "total": len(found)}}


def voiceflow(number: int) -> dict[str, Any]:
    own = {"projectID": "p1", "environmentID": ID, "type": "text", "count": number}
    return {"result": {"items": [{"period": iso(hour), **own} for hour in HOURS]}}


CASES: Mapping[str, tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "flowxo": (
        flowxo,
        {},
        {"project": "shop"},
        {"project": "store"},
        "chatbot_messages_received_total",
    ),
    "inkeep": (
        inkeep,
        {"queries": ["feedback"]},
        {"project": "shop"},
        {"project": "store"},
        "chatbot_feedback_total",
    ),
    "voiceflow": (
        voiceflow,
        {"projects": ["p1"], "queries": ["interactions"]},
        {"environments": ["main"]},
        {"environments": [{"id": "main", "alias": "live"}]},
        "chatbot_interactions_total",
    ),
}


@pytest.mark.parametrize("provider", CASES)
def test_a_new_name_begins_at_0_and_takes_the_place_of_the_old(
    tmp_path: Path, provider: str
) -> None:
    answer, fixed, before, after, family = CASES[provider]
    plain = {"provider": provider, "api_key": "k", "lookback": "6h", **fixed}
    numbers = iter([100, 107, 108, 110])

    def poll(driver: LedgerDriver, settings: dict[str, Any]) -> None:
        built, body = build_target(**plain, **settings), json.dumps(answer(next(numbers)))
        driver.sync(built.queries[0].spec)
        claim = driver.claim()
        request = PollRequest(driver.window(claim), driver.clock.now_ms(), first=False)
        applied = [
            driver.apply(claim, reading)
            for reading in read(built, built.queries[0], played(lambda _: body.encode()), request)
        ]
        driver.end(claim, held=any(each.held for each in applied))

    first = build_target(**plain, **before).queries[0].spec
    with LedgerDriver(tmp_path, first) as driver:
        for settings in (before, before, after, after):
            poll(driver, settings)
        driver.confirm_zero_scraped()

        assert list(driver.shown(family).values()) == [2 * len(HOURS)]
        assert driver.counted("retracted_total") == driver.counted("provider_resets_total") == 0

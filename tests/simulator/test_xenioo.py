"""The simulator of Xenioo: two steps, one call an hour."""

from itertools import cycle
from typing import Any

import httpx
import pytest

from exporter.simulator.xenioo import ACCOUNT_KEY, BOTS, build
from tests.simulator.vendor import HOUR, Vendor
from tests.support.virtual import START_MS

ACCOUNT = "/analytics/statistics/account"


class Xenioo(Vendor):
    def __init__(self) -> None:
        super().__init__(build)

    def authorize(self, key: str | None = ACCOUNT_KEY) -> httpx.Response:
        answer = self.send("POST", "/authorization/integration", json={"AccountAPIKey": key})
        if answer.status_code == 200:
            self.authorization = f"Bearer {answer.json()['token']}"
        return answer

    def get(self, path: str = "*/13/hour/1", kind: str = "application/json") -> httpx.Response:
        return self.send("GET", f"{ACCOUNT}/{path}", headers={"content-type": kind})


@pytest.fixture
def vendor() -> Xenioo:
    made = Xenioo()
    made.authorize()
    return made


@pytest.mark.parametrize(("key", "status"), [(ACCOUNT_KEY, 200), (None, 400), ("unknown", 404)])
def test_a_token_is_given_for_the_accounts_key(
    vendor: Xenioo, key: str | None, status: int
) -> None:
    assert vendor.authorize(key).status_code == status


def test_a_token_lasts_an_hour(vendor: Xenioo) -> None:
    vendor.clock.step(HOUR - 1)
    late = vendor.get().status_code
    vendor.clock.step(1)

    assert (late, vendor.get().status_code) == (200, 401)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("*/13/hour/1", 200),
        ("%2A/12%2C13/hour/1", 200),
        (f"{BOTS[1].key}/13/day/30", 200),
        ("unknown/13/hour/1", 404),
        ("*/13/minute/1", 400),
        ("*/13/hour/0", 400),
        ("*/13/hour/31", 400),
        ("*/18/hour/1", 400),
        ("*/x/hour/1", 400),
    ],
)
def test_the_path_is_read_part_by_part(vendor: Xenioo, path: str, status: int) -> None:
    assert vendor.get(path).status_code == status


def test_a_call_without_its_content_type_is_refused(vendor: Xenioo) -> None:
    assert vendor.get(kind="text/plain").status_code == 400


@pytest.mark.parametrize(
    ("rule", "minutes", "statuses"),
    [
        ({}, (0, 59, 118, 178), [200, 429, 429, 200]),
        ({"restart": False}, (0, 59, 60), [200, 429, 200]),
        ({"window": "clock"}, (0, 39, 40, 99), [200, 429, 200, 429]),
    ],
)
def test_one_call_an_hour_is_answered_of_all_tokens_bots_and_types(
    vendor: Xenioo, rule: dict[str, Any], minutes: tuple[int, ...], statuses: list[int]
) -> None:
    vendor.service.faults.on("throttle", **rule)

    found = []
    for minute, path in zip(minutes, cycle(("*/13/hour/1", f"{BOTS[0].key}/2/day/1"))):
        vendor.clock.step(START_MS + minute * 60_000 - vendor.clock.now_ms())
        vendor.authorize()
        found.append(vendor.get(path).status_code)

    assert found == statuses


def test_a_call_counts_though_its_answer_never_comes(vendor: Xenioo) -> None:
    vendor.service.faults.on("hang_after", times=1, seconds=60)
    vendor.get()

    assert vendor.get().status_code == 429

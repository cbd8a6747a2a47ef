"""What refuses a Xenioo target is waited out, for an hour or as long as it says."""

from typing import Any

import pytest

from exporter.providers.xenioo.provider import wait_s
from exporter.simulator.xenioo import BOTS
from tests.providers.xenioo.account import Account, is_statistics, read_once
from tests.support.driver import shown_by
from tests.support.virtual import START_MS

REFUSALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("refused", {"status": 400}),
    ("forbidden", {}),
    ("refused", {"status": 409}),
    ("refused", {"status": 422}),
    ("throttled", {}),
    ("throttled", {"retry_after": 5}),
    ("server_error", {}),
    ("unavailable", {"retry_after": 5, "as_date": True}),
    ("html_502", {}),
)


@pytest.mark.parametrize("fault", REFUSALS, ids=str)
def test_a_refusal_is_waited_out_for_an_hour(
    account: Account, fault: tuple[str, dict[str, Any]]
) -> None:
    account.service.faults.on(fault[0], when=is_statistics, **fault[1])

    assert account.poll() == "throttled"
    account.run(60)
    assert len(account.statistics) == 1
    account.run(6)

    assert len(account.statistics) == 2


def test_a_longer_wait_is_granted(account: Account) -> None:
    account.service.faults.on("throttled", times=1, retry_after=7200, when=is_statistics)

    account.run(119)
    assert len(account.statistics) == 1
    account.run(2)

    assert len(account.statistics) == 2


@pytest.mark.parametrize(("fault", "reason"), [("hang_after", "timeout"), ("reset", "network")])
def test_no_answer_is_called_what_it_is_and_waited_out(
    account: Account, fault: str, reason: str
) -> None:
    account.service.faults.on(fault, times=1, when=is_statistics)

    account.run(61)

    assert account.ended[0].outcome == reason
    assert len(account.statistics) == 1
    account.run(6)
    assert [seen.status for seen in account.statistics] == [0, 200]


def test_what_does_not_exist_is_called_wrong_and_asked_once_an_hour(account: Account) -> None:
    account.service.faults.on("refused", status=404, when=is_statistics)

    account.run(60)

    assert account.ended[0].outcome == "client"
    assert len(account.statistics) == 1


@pytest.mark.parametrize("window", ["sliding", "clock"])
@pytest.mark.parametrize("restart", [True, False], ids=["restarts", "goes on"])
@pytest.mark.parametrize(
    ("status", "body"), [(400, "empty"), (403, "text"), (429, "json"), (500, "text")]
)
def test_the_vendors_limit_is_waited_out_in_every_form(
    account: Account,
    window: str,
    restart: bool,
    status: int,
    body: str,
) -> None:
    account.service.faults.on("throttle", window=window, restart=restart, status=status, body=body)
    read_once(account)  # another tool on the account

    account.run(60 * 3)

    assert [seen.status for seen in account.statistics] == [200, status, 200, 200]
    assert account.ended[0].outcome == "throttled"


def test_an_error_names_neither_keys_nor_the_path(account: Account) -> None:
    account.configure(["agency"], bot=BOTS[0].key)
    account.restart()
    account.service.faults.on("server_error", when=is_statistics)

    account.run(1)
    (key,) = account.queries
    fault = shown_by(account.ledger, key).state.last_error

    assert fault == (
        "GET /analytics/statistics/account/…/hour/30: HTTP 500; waiting for the next hour; the key "
        "may be valid; the request is repeated later. If this persists, lengthen interval, lower "
        "requests_per_second, or look for another program that uses the account"
    )


def test_the_wait_is_an_hour_and_up_to_five_minutes() -> None:
    waits = {wait_s(f"target-{number}", START_MS) for number in range(200)}

    assert len(waits) == 200
    assert 3600 <= min(waits) < 3610
    assert 3890 < max(waits) < 3900

"""A simulator of two routes, in process and on a socket."""

import asyncio
from typing import Any

import httpx
import pytest

from exporter.clock import Clock, SystemClock
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Service, serving
from exporter.simulator.traffic import Traffic
from tests.simulator.vendor import Vendor
from tests.support.virtual import run_virtual

KEY = "canary-key"
ROWS = [{"name": "a", "count": 3}, {"name": "b", "count": 4}]
JSON, HTML = "application/json; charset=utf-8", "text/html; charset=utf-8"


async def items(call: Call) -> Answer:
    if call.params.get("bad"):
        raise Refusal(418)
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    return Answer({"items": rows}, rows)


async def echo(call: Call) -> Answer:
    return Answer({"body": call.body, "path": call.raw_path, **call.segments})


def build(clock: Clock, traffic: Traffic) -> Service:
    return Service(
        clock=clock,
        traffic=traffic,
        routes=[Route("GET", "/items/{name}", items), Route("POST", "/echo/{rest:path}", echo)],
        faults=Faults(),
        secrets=[KEY],
        authorization=KEY,
        target=lambda url: {"base_url": url},
    )


class Simulator(Vendor):
    def ask(self, method: str = "GET", path: str = "/items/a", **more: Any) -> httpx.Response:
        return self.send(method, path, **more)


@pytest.fixture
def vendor() -> Simulator:
    return Simulator(build, KEY)


def test_rows_are_answered_and_logged(vendor: Simulator) -> None:
    answer = vendor.ask(params={"start": "1"})

    (seen,) = vendor.service.requests
    assert answer.json() == {"items": ROWS}
    shown = seen.method, seen.path, seen.params, seen.status
    assert shown == ("GET", "/items/a", {"start": "1"}, 200)
    assert list(seen.rows) == ROWS


def test_secrets_are_not_logged(vendor: Simulator) -> None:
    vendor.ask("POST", f"/echo/{KEY}/x", params={"key": KEY}, json={"apikey": KEY})

    (seen,) = vendor.service.requests
    shown = seen.path, seen.params, seen.body
    assert shown == ("/echo/***/x", {"key": "***"}, {"apikey": "***"})


def test_only_the_latest_requests_are_kept_on_demand(vendor: Simulator) -> None:
    vendor.service.remember = 2

    for name in "abcd":
        vendor.ask(path=f"/items/{name}")

    assert [seen.path for seen in vendor.service.requests] == ["/items/c", "/items/d"]


def test_a_handler_gets_path_segments_and_body(vendor: Simulator) -> None:
    answer = vendor.ask("POST", "/echo/a%2Cb/*", content=b"{")

    assert answer.json() == {"path": "/echo/a%2Cb/*", "rest": "a,b/*", "body": None}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/other", 404),
        ("POST", "/items/a", 405),
        ("GET", "/items/a?bad=1", 418),
    ],
)
def test_a_refusal_has_its_status(vendor: Simulator, method: str, path: str, status: int) -> None:
    answer = vendor.ask(method, path)

    assert answer.status_code == status == vendor.service.requests[0].status
    assert answer.json()["status"] == status


def test_a_request_without_the_key_is_401(vendor: Simulator) -> None:
    assert vendor.ask(authorization="other").status_code == 401


def test_a_request_that_no_route_takes_is_a_write(vendor: Simulator) -> None:
    for method, path in (("GET", "/items/a"), ("DELETE", "/items/a"), ("POST", "/items")):
        vendor.ask(method, path)

    assert vendor.service.writes() == ["DELETE /items/a", "POST /items"]


@pytest.mark.parametrize(
    ("name", "options", "status", "content_type"),
    [
        ("unauthorized", {}, 401, JSON),
        ("forbidden", {}, 403, JSON),
        ("throttled", {}, 429, JSON),
        ("refused", {}, 400, JSON),
        ("server_error", {}, 500, JSON),
        ("unavailable", {}, 503, JSON),
        ("html_200", {}, 200, HTML),
        ("html_502", {}, 502, HTML),
        ("login_redirect", {}, 302, HTML),
        ("not_json", {}, 200, JSON),
        ("refused", {"status": 409, "body": "code 409"}, 409, "text/plain"),
    ],
)
def test_a_fault_answers_in_the_vendors_place(
    vendor: Simulator, name: str, options: dict[str, Any], status: int, content_type: str
) -> None:
    vendor.service.faults.on(name, times=1, **options)

    hit, after = vendor.ask(), vendor.ask()

    assert (hit.status_code, hit.headers["content-type"]) == (status, content_type)
    assert after.status_code == 200
    assert [seen.faults for seen in vendor.service.requests] == [{name}, frozenset()]
    assert vendor.service.requests[0].rows == ()


def test_retry_after_is_absent_a_number_or_a_date(vendor: Simulator) -> None:
    vendor.service.faults.on("throttled", times=1)
    vendor.service.faults.on("throttled", times=1, skip=1, retry_after=30)
    vendor.service.faults.on("unavailable", times=1, skip=2, retry_after=60, as_date=True)

    values = [vendor.ask().headers.get("retry-after") for _ in range(3)]

    assert values == [None, "30", "Tue, 03 Mar 2026 11:21:00 GMT"]


def test_a_truncated_body_is_half_of_the_json(vendor: Simulator) -> None:
    whole = vendor.ask().content
    vendor.service.faults.on("truncated")

    answer = vendor.ask()

    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]


def test_a_corrupted_row_is_logged_as_sent(vendor: Simulator) -> None:
    vendor.service.faults.on("negative")

    assert vendor.ask().json()["items"][0]["count"] == -7
    assert vendor.service.requests[0].rows[0]["count"] == -7


@pytest.mark.parametrize(("name", "status"), [("slow", 200), ("hang", 503), ("hang_after", 200)])
def test_waiting_takes_the_clocks_time(vendor: Simulator, name: str, status: int) -> None:
    vendor.service.faults.on(name, seconds=90)

    answer = vendor.ask()

    assert answer.status_code == status
    assert vendor.clock.monotonic() == 90


def test_a_client_that_gives_up_is_logged_without_a_status(vendor: Simulator) -> None:
    vendor.service.faults.on("hang_after")

    async def main() -> None:
        transport = httpx.ASGITransport(vendor.service)
        async with httpx.AsyncClient(transport=transport) as client, asyncio.timeout(5):
            await client.get("http://vendor/items/a", headers={"authorization": KEY})

    with pytest.raises(TimeoutError):
        run_virtual(main(), vendor.clock)

    (seen,) = vendor.service.requests
    assert (seen.status, len(seen.rows)) == (0, 2)


def test_a_reset_is_a_transport_error(vendor: Simulator) -> None:
    vendor.service.faults.on("reset", times=1)

    with pytest.raises(httpx.TransportError):
        vendor.ask()

    assert vendor.ask().status_code == 200
    assert [seen.status for seen in vendor.service.requests] == [0, 200]


def test_several_services_listen_on_ports_of_their_own() -> None:
    first, second = (build(SystemClock(), Traffic()) for _ in range(2))
    second.faults.on("reset")

    async def main() -> None:
        headers = {"authorization": KEY}
        async with (
            serving({"a": first, "b": second}) as urls,
            httpx.AsyncClient(headers=headers) as client,
        ):
            assert (await client.get(f"{urls['a']}/items/x")).json() == {"items": ROWS}
            with pytest.raises(httpx.TransportError):
                await client.get(f"{urls['b']}/items/y")
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"{urls['a']}/items/x")

    asyncio.run(main())

    assert [len(one.requests) for one in (first, second)] == [1, 1]

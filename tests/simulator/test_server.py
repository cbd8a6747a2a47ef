"""A fake vendor of two routes, in process and on a socket."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from exporter.clock import SystemClock
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Service, serving
from exporter.simulator.traffic import Traffic
from tests.support.virtual import VirtualClock, run_virtual

KEY = "canary-key"


async def items(call: Call) -> Answer:
    if call.params.get("bad"):
        raise Refusal(400, "Bad Request")
    rows = [{"name": call.segments["name"], "count": 3}, {"name": "b", "count": 4}]
    return Answer({"items": rows}, rows)


async def echo(call: Call) -> Answer:
    return Answer({"body": call.body, "path": call.raw_path})


def service(clock: VirtualClock | SystemClock) -> Service:
    return Service(
        clock=clock,
        traffic=Traffic(),
        routes=[Route("GET", "/items/{name}", items), Route("POST", "/echo/{rest:path}", echo)],
        faults=Faults(),
        secrets=[KEY],
        target=lambda url: {"base_url": url},
    )


class Vendor:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.service = service(self.clock)

    def ask(self, method: str = "GET", path: str = "/items/a", **more: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(self.service)
            async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as client:
                return await client.request(method, path, **more)

        return run_virtual(main(), self.clock)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


def test_rows_are_answered_and_remembered(vendor: Vendor) -> None:
    answer = vendor.ask(params={"start": "1"})

    (seen,) = vendor.service.requests
    assert answer.json() == {"items": [{"name": "a", "count": 3}, {"name": "b", "count": 4}]}
    assert (seen.method, seen.path, seen.params, seen.status) == (
        "GET",
        "/items/a",
        {"start": "1"},
        200,
    )
    assert list(seen.rows) == answer.json()["items"]


def test_secrets_are_not_remembered(vendor: Vendor) -> None:
    vendor.ask("POST", f"/echo/{KEY}/x", params={"key": KEY}, json={"apikey": KEY})

    (seen,) = vendor.service.requests
    assert seen.path == "/echo/***/x"
    assert seen.params == {"key": "***"}
    assert seen.body == {"apikey": "***"}


def test_only_the_latest_requests_are_remembered_on_demand(vendor: Vendor) -> None:
    vendor.service.remember = 2

    for name in "abcd":
        vendor.ask(path=f"/items/{name}")

    assert [seen.path for seen in vendor.service.requests] == ["/items/c", "/items/d"]


def test_the_path_is_kept_as_sent(vendor: Vendor) -> None:
    assert vendor.ask("POST", "/echo/a%2Cb/*").json()["path"] == "/echo/a%2Cb/*"


def test_a_body_that_is_not_json_is_none(vendor: Vendor) -> None:
    assert vendor.ask("POST", "/echo/x", content=b"{").json()["body"] is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/other", 404), ("POST", "/items/a", 405), ("GET", "/items/a?bad=1", 400)],
)
def test_a_refusal_has_its_status(vendor: Vendor, method: str, path: str, status: int) -> None:
    answer = vendor.ask(method, path)

    assert answer.status_code == status == vendor.service.requests[0].status
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("name", "status", "content_type"),
    [
        ("unauthorized", 401, "application/json; charset=utf-8"),
        ("forbidden", 403, "application/json; charset=utf-8"),
        ("throttled", 429, "application/json; charset=utf-8"),
        ("refused", 400, "application/json; charset=utf-8"),
        ("server_error", 500, "application/json; charset=utf-8"),
        ("unavailable", 503, "application/json; charset=utf-8"),
        ("html_200", 200, "text/html; charset=utf-8"),
        ("html_502", 502, "text/html; charset=utf-8"),
        ("login_redirect", 302, "text/html; charset=utf-8"),
        ("not_json", 200, "application/json"),
    ],
)
def test_a_fault_answers_in_the_vendors_place(
    vendor: Vendor, name: str, status: int, content_type: str
) -> None:
    vendor.service.faults.on(name, times=1)

    hit, after = vendor.ask(), vendor.ask()

    assert (hit.status_code, hit.headers["content-type"]) == (status, content_type)
    assert after.status_code == 200
    assert [seen.faults for seen in vendor.service.requests] == [{name}, frozenset()]
    assert vendor.service.requests[0].rows == ()


def test_a_fault_may_bring_its_own_status_and_body(vendor: Vendor) -> None:
    vendor.service.faults.on("refused", status=409, body={"code": 409})

    answer = vendor.ask()

    assert (answer.status_code, answer.json()) == (409, {"code": 409})


def test_retry_after_is_absent_a_number_or_a_date(vendor: Vendor) -> None:
    vendor.service.faults.on("throttled", times=1)
    vendor.service.faults.on("throttled", times=1, skip=1, retry_after=30)
    vendor.service.faults.on("unavailable", times=1, skip=2, retry_after=60, as_date=True)

    values = [vendor.ask().headers.get("retry-after") for _ in range(3)]

    assert values == [None, "30", "Tue, 03 Mar 2026 11:21:00 GMT"]


def test_a_truncated_body_is_half_of_the_json(vendor: Vendor) -> None:
    whole = vendor.ask().content
    vendor.service.faults.on("truncated")

    answer = vendor.ask()

    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]


def test_a_spoilt_row_is_remembered_as_sent(vendor: Vendor) -> None:
    vendor.service.faults.on("negative")

    assert vendor.ask().json()["items"][0]["count"] == -7
    assert vendor.service.requests[0].rows[0]["count"] == -7


@pytest.mark.parametrize(("name", "status"), [("slow", 200), ("hang", 503), ("hang_after", 200)])
def test_waiting_takes_the_clocks_time(vendor: Vendor, name: str, status: int) -> None:
    vendor.service.faults.on(name, seconds=90)

    answer = vendor.ask()

    assert answer.status_code == status
    assert vendor.clock.monotonic() == 90


def test_a_client_that_gives_up_is_remembered_without_a_status(vendor: Vendor) -> None:
    vendor.service.faults.on("hang_after")

    async def main() -> None:
        transport = httpx.ASGITransport(vendor.service)
        async with httpx.AsyncClient(transport=transport) as client, asyncio.timeout(5):
            await client.get("http://vendor/items/a")

    with pytest.raises(TimeoutError):
        run_virtual(main(), vendor.clock)

    (seen,) = vendor.service.requests
    assert (seen.status, len(seen.rows)) == (0, 2)


def test_a_reset_is_a_transport_error(vendor: Vendor) -> None:
    vendor.service.faults.on("reset", times=1)

    with pytest.raises(httpx.TransportError):
        vendor.ask()

    assert vendor.ask().status_code == 200
    assert [seen.status for seen in vendor.service.requests] == [0, 200]


def test_several_services_listen_on_ports_of_their_own() -> None:
    first, second = service(SystemClock()), service(SystemClock())
    second.faults.on("reset")

    async def main() -> None:
        async with serving({"a": first, "b": second}) as urls, httpx.AsyncClient() as client:
            assert (await client.get(f"{urls['a']}/items/x")).json()["items"][0]["name"] == "x"
            with contextlib.suppress(httpx.TransportError):
                await client.get(f"{urls['b']}/items/y")
                raise AssertionError("the connection should have broken")
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"{urls['a']}/items/x")

    asyncio.run(main())

    assert [len(one.requests) for one in (first, second)] == [1, 1]


def test_a_taken_port_is_an_error() -> None:
    async def main() -> None:
        async with serving({"a": service(SystemClock())}) as urls:
            port = int(urls["a"].rsplit(":", 1)[1])
            with pytest.raises(OSError, match="in use"):
                async with serving({"b": service(SystemClock())}, {"b": port}):
                    pass

    asyncio.run(main())

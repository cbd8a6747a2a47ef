"""A simulator of two routes: what it answers, logs and hides, and which requests a fault hits."""

from functools import partial
from typing import Any

import httpx
import pytest

from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Service
from tests.simulator.vendor import Vendor

KEY = "canary-key"
ROWS = [{"name": "a", "count": 3}, {"name": "b", "count": 4}]


async def items(call: Call) -> Answer:
    if call.params.get("bad"):
        raise Refusal(418)
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    return Answer({"items": rows}, rows)


async def echo(call: Call) -> Answer:
    return Answer({"body": call.body, **call.segments})


build = partial(
    Service,
    routes={("GET", "/items/{name}"): items, ("POST", "/echo/{rest:path}"): echo},
    secrets=[KEY],
    authorization=KEY,
    target=lambda url: {"base_url": url},
)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(build, KEY)


def get(vendor: Vendor, path: str = "/items/a", **more: Any) -> httpx.Response:
    return vendor.send("GET", path, **more)


def test_rows_are_answered_and_logged_as_sent_without_secrets(vendor: Vendor) -> None:
    vendor.service.faults.on("negative", times=1)

    answer = get(vendor, params={"start": "1"})
    vendor.send("POST", f"/echo/{KEY}/x", params={"key": KEY}, json={"apikey": KEY})

    seen, hidden = vendor.service.requests
    assert [row["count"] for row in answer.json()["items"]] == [-7, 4]
    assert list(seen.rows) == answer.json()["items"]
    shown = seen.method, seen.path, seen.params, seen.status, seen.faults
    assert shown == ("GET", "/items/a", {"start": "1"}, 200, frozenset({"negative"}))
    assert (hidden.path, hidden.params) == ("/echo/***/x", {"key": "***"})
    assert hidden.body == {"apikey": "***"}


def test_a_handler_gets_path_segments_and_body(vendor: Vendor) -> None:
    answer = vendor.send("POST", "/echo/a%2Cb/*", content=b"{")

    assert answer.json() == {"rest": "a,b/*", "body": None}


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/other", KEY, 404),
        ("POST", "/items/a", KEY, 405),
        ("GET", "/items/a?bad=1", KEY, 418),
        ("GET", "/items/a", "other", 401),
    ],
)
def test_a_refusal_has_its_status(
    vendor: Vendor, method: str, path: str, key: str, status: int
) -> None:
    answer = vendor.send(method, path, authorization=key)

    assert answer.status_code == status == vendor.service.requests[0].status
    assert answer.json()["status"] == status
    assert len(vendor.service.writes()) == (status in {404, 405})


@pytest.mark.parametrize(
    ("selection", "hit"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"times": 2}, [0, 1]),
        ({"times": 2, "skip": 1}, [1, 2]),
        ({"when": lambda path: path == "/b", "times": 2}, [1, 3]),
    ],
)
def test_a_fault_hits_the_requests_it_is_scripted_for(
    selection: dict[str, Any], hit: list[int]
) -> None:
    faults = Faults()
    faults.on("server_error", **selection)

    found = [at for at, path in enumerate(["/a", "/b"] * 3) if faults.choose(path)]

    faults.off("server_error")
    assert (found, faults.choose("/a")) == (hit, {})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="sparse"):
        Faults().on("sparse")

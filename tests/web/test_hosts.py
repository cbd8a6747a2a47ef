"""Which hosts a request may name."""

from typing import Any

import bcrypt
import httpx
import pytest

from exporter.web.app import build
from exporter.web.guard import is_allowed
from exporter.web.webconfig import Access
from tests.web.served import ask, sources

ALLOWED = (
    *("localhost", "localhost:10877", "LOCALHOST:10877", "127.0.0.1:10877", "[::1]:10877"),
    *("10.1.2.3", "exporter:10877", "exporter.monitoring.svc:10877", "host.local."),
    *("exporter.monitoring.svc.cluster.local", "metrics.example.com", "metrics.example.com:443"),
)
STRANGERS = (
    *("attacker.example", "attacker.example:10877", "127.0.0.1.attacker.example", ""),
    *("localhost.attacker.example", "x.metrics.example.com", "[attacker.example]:1"),
)


@pytest.mark.parametrize("host", [*ALLOWED, *STRANGERS])
def test_addresses_private_names_and_listed_names_are_allowed_and_no_others(host: str) -> None:
    assert is_allowed(host, {"metrics.example.com"}) is (host in ALLOWED)


def answer(host: str, access: Access | None = None, **request: Any) -> httpx.Response:
    served = sources(hosts=lambda: {"metrics.example.com"})
    app = build(served, lambda: access or Access())
    path, method = request.pop("path", "/metrics"), request.pop("method", "GET")
    headers = {"Host": host} | request.pop("headers", {})
    return ask(app, method, path, headers=headers, **request)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/metrics"), ("GET", "/api/v1/status"), ("POST", "/-/reload")],
)
def test_a_strangers_host_is_refused_on_every_path(method: str, path: str) -> None:
    origin = {"Origin": "http://attacker.example:10877"}

    refused = answer("attacker.example:10877", method=method, path=path, headers=origin)

    assert refused.status_code == 421


def test_a_listed_host_is_served_and_so_is_any_to_who_knows_a_password() -> None:
    hashed = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(rounds=4)).decode()
    users = Access({"alice": hashed})

    assert answer("metrics.example.com").status_code == 200
    assert answer("attacker.example", users).status_code == 401
    assert answer("attacker.example", users, auth=("alice", "wonderland")).status_code == 200


def test_headers_over_32_kib_are_refused_even_in_one_segment() -> None:
    assert answer("localhost", headers={"X-Padding": "x" * 30_000}).status_code == 200
    assert answer("localhost", headers={"X-Padding": "x" * 100_000}).status_code == 431

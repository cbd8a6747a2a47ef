"""Whatever comes over a socket, the answer is one of ours, or the connection ends."""

import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.explain.reader import Explanations
from exporter.explain.selector import parse
from exporter.web import server
from exporter.web.app import build
from exporter.web.server import Deadlines
from tests.web.served import sources

EFFORT = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PATHS = ["/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/api/v1/status", "/explain"]
OURS = {200, 400, 401, 403, 404, 405, 413, 501, 503}
TOKEN = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    def explain(selector: str, first: int) -> Explanations:
        parse(selector)
        return Explanations(selector, 0, first, 1, 0, ())

    deadlines = Deadlines(header_s=0.3, request_s=2, idle_s=0.3)
    running = server.start("127.0.0.1:0", build(sources(explain=explain)), deadlines=deadlines)
    host, _, port = running.address.rpartition(":")
    yield host, int(port)
    running.stop(3)


def answered(address: tuple[str, int], request: bytes) -> bytes:
    """Send ``request`` and say no more; return everything that comes back."""
    with socket.create_connection(address, timeout=5) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            parts = list(iter(lambda: connection.recv(65_536), b""))
        except (ConnectionResetError, BrokenPipeError):
            return b""
    return b"".join(parts)


def check(answer: bytes) -> None:
    if not answer:
        return
    first = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert first is not None
    assert int(first[1]) in OURS
    assert b"Traceback" not in answer
    assert b"site-packages" not in answer


@EFFORT
@given(st.binary(max_size=300))
def test_any_bytes(address: tuple[str, int], raw: bytes) -> None:
    check(answered(address, raw))


@EFFORT
@given(
    method=st.one_of(st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE"]), TOKEN),
    path=st.one_of(
        st.sampled_from([*PATHS, "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//", "/\\"]),
        TOKEN.map("/explain?series=".__add__),
        TOKEN.map("/".__add__),
    ),
    headers=st.lists(st.tuples(TOKEN, TOKEN), max_size=4),
    body=st.binary(max_size=50),
)
def test_any_request(
    address: tuple[str, int],
    method: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    fields = [("Host", "x"), ("Connection", "close"), *headers]
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {v}\r\n" for name, v in fields)

    answer = answered(address, head.encode("ascii") + b"\r\n" + body)

    check(answer)
    assert b"root:" not in answer


def test_the_server_is_well_afterwards(address: tuple[str, int]) -> None:
    request = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    assert answered(address, request).startswith(b"HTTP/1.1 200 ")

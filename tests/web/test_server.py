"""The server on real loopback sockets: where it listens, whom it outlasts, how it ends."""

import errno
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from exporter.config.values import parse_listen as split
from exporter.errors import ListenError
from exporter.web.app import build
from exporter.web.server import OTHER_FILES, Deadlines, Serving, _Loop, bind, start
from tests.support.limits import open_files
from tests.web.served import TEXT_BODY, ScriptedExposition, sources

SOON = Deadlines(header_s=0.2, request_s=0.5, idle_s=0.3, connections=8)
PATIENCE_S = 5
GET = b"GET /-/healthy HTTP/1.1\r\nHost: exporter.test\r\n\r\n"
LAST = GET.replace(b"Host:", b"Connection: close\r\nHost:")
SCRAPE = GET.replace(b"-/healthy", b"metrics")


@contextmanager
def serving(
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    exposition: ScriptedExposition | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[Serving]:
    app = build(sources(exposition=exposition or ScriptedExposition()))
    server = start(address, app, deadlines=deadlines)
    try:
        yield server
    finally:
        server.stop(PATIENCE_S)
    assert not server.alive


def connect(server: Serving) -> socket.socket:
    client = socket.create_connection(split(server.address), timeout=PATIENCE_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def drain(client: socket.socket) -> bytes:
    """Return what the server sends until it closes; a reset is an end, too."""
    received = b""
    try:
        while chunk := client.recv(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def exchanged(server: Serving, sent: bytes) -> bytes:
    """Return what the server answers until it closes."""
    with connect(server) as client:
        client.sendall(sent)
        return drain(client)


def until(met: Callable[[], bool]) -> bool:
    """Return whether ``met`` came true in time."""
    tick = threading.Event()
    return any(met() or tick.wait(0.02) for _ in range(PATIENCE_S * 50))


def test_one_connection_serves_many_scrapes() -> None:
    with serving() as server, httpx.Client(base_url=f"http://{server.address}") as client:
        answers = [client.get("/metrics") for _ in range(20)]

    assert {(each.status_code, each.content) for each in answers} == {(200, TEXT_BODY)}
    assert not any("server" in each.headers for each in answers)


def test_an_address_that_cannot_be_had_fails_at_once_and_says_why() -> None:
    with serving() as server, pytest.raises(ListenError) as caught:
        start(server.address, build(sources()))

    assert str(caught.value) == (
        f"cannot listen on {server.address}: the address is in use; "
        "another exporter may be running there"
    )
    with pytest.raises(ListenError, match="does not have that address"):
        start("192.0.2.1:0", build(sources()))


@pytest.mark.parametrize("address", [":0", "[::]:0"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_all_interfaces_are_those_of_both_protocols(address: str, host: str) -> None:
    with serving(address=address) as server:
        port = split(server.address)[1]

        assert httpx.get(f"http://{host}:{port}/-/healthy").status_code == 200


def test_no_answer_waits_for_an_acknowledgement() -> None:
    with (
        closing(bind("127.0.0.1:0")) as listener,
        closing(socket.create_connection(listener.getsockname())),
        closing(listener.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_stopping_lets_nothing_linger() -> None:
    with serving() as server, connect(server) as idle, connect(server) as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        server.stop(PATIENCE_S)

        assert not server.alive
        assert drain(idle) == drain(half) == b""

    with pytest.raises(OSError, match="refused"):
        connect(server)


BODY = b"POST /-/reload HTTP/1.1\r\nHost: e.test\r\n"


@pytest.mark.parametrize(
    ("deadlines", "sent", "end"),
    [
        (SOON, b"", b""),
        (SOON, GET + b"GET /metrics HT", b"Healthy.\n"),
        (SOON, BODY + b"Content-Length: 9\r\n\r\n", b"The new settings are in force.\n"),
        (Deadlines(), BODY + b"Transfer-Encoding: chunked\r\n\r\n", b"are in force.\n"),
        (Deadlines(), b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"Invalid HTTP request received."),
    ],
)
def test_what_never_comes_to_an_end_is_cut_off(
    deadlines: Deadlines, sent: bytes, end: bytes
) -> None:
    with serving(deadlines) as server:
        assert exchanged(server, sent).endswith(end)


def test_a_header_that_drips_is_cut_off() -> None:
    with serving(SOON) as server, connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")

        def cut_off() -> bool:
            try:
                client.sendall(b"X")
            except OSError:
                return True
            return False

        assert until(cut_off)


@pytest.mark.parametrize("stopped", [False, True])
def test_who_never_reads_is_cut_off_and_not_waited_for(
    caplog: pytest.LogCaptureFixture, *, stopped: bool
) -> None:
    huge = ScriptedExposition()
    huge.scrape = lambda **_: [b"x" * 50_000_000]  # type: ignore[method-assign]
    deadlines = Deadlines() if stopped else SOON
    with serving(deadlines, huge) as server, connect(server) as client:
        client.sendall(SCRAPE)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        if stopped:
            server.stop(2)

        assert until(lambda: not server.connections)
        assert until(lambda: server.alive is not stopped)
        assert len(drain(client)) < 50_000_000
    assert not caplog.records


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving() as server:
        assert exchanged(server, GET * 3 + LAST).count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://exporter.test/-/healthy", b"200"),
        (b"HTTP://127.0.0.1:1/-/healthy?x=http://y/", b"200"),
        (b"http://exporter.test", b"200"),
        (b"http://exporter.test/nope", b"404"),
        (b"http://attacker.example/-/healthy", b"421"),
    ],
)
def test_the_request_target_may_be_a_whole_url(target: bytes, status: bytes) -> None:
    with serving() as server:
        assert exchanged(server, LAST.replace(b"/-/healthy", target)).split()[1] == status


@pytest.mark.parametrize(("version", "status"), [(b"1.0", b"200"), (b"1.1", b"400")])
def test_a_health_check_of_http_1_0_needs_no_host(version: bytes, status: bytes) -> None:
    with serving() as server:
        asked = b"GET /-/healthy HTTP/" + version + b"\r\n\r\n"
        assert exchanged(server, asked).split()[1] == status


def test_a_client_that_hangs_up_is_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    asked, gone = threading.Event(), threading.Event()

    def scrape(**_: bool) -> list[bytes]:
        asked.set()
        gone.wait(PATIENCE_S)
        return [b"x"] * 50

    exposition = ScriptedExposition()
    exposition.scrape = scrape  # type: ignore[method-assign]
    with serving(exposition=exposition) as server:
        client = connect(server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(SCRAPE)
        assert asked.wait(PATIENCE_S)
        client.close()  # with a reset, while the answer is made
        gone.set()

        assert until(lambda: not server.connections)
    assert caplog.messages == []


def test_the_longest_idle_makes_room_for_a_scrape() -> None:
    patient = Deadlines(connections=3)
    with serving(patient) as server, ExitStack() as clients:
        idle = [clients.enter_context(connect(server)) for _ in range(3)]

        scrape = httpx.get(f"http://{server.address}/metrics")

        assert scrape.status_code == 200
        assert drain(idle[0]) == b""
        idle[2].sendall(LAST)
        assert drain(idle[2]).endswith(b"Healthy.\n")


def test_a_low_limit_of_open_files_is_raised_to_fit_the_connections() -> None:
    with open_files(256), serving():
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 2048 + OTHER_FILES


@pytest.mark.slow
def test_files_that_run_out_are_one_line_in_the_log() -> None:
    context = {
        "message": "socket.accept()",
        "exception": OSError(errno.EMFILE, "Too many open files"),
    }

    with closing(_Loop(1.0)) as loop, capture_logs() as logged:
        for _ in range(1000):
            loop.call_exception_handler(context)

    assert logged == [
        {
            "event": "cannot accept connections",
            "error": "Too many open files; raise LimitNOFILE",
            "log_level": "error",
        }
    ]


def test_a_thousand_idle_connections_do_not_hinder_scrapes() -> None:
    with open_files(4096), serving() as server, ExitStack() as clients:
        for _ in range(1000):
            clients.enter_context(connect(server))

        answers = [httpx.get(f"http://{server.address}/metrics").status_code for _ in range(50)]

    assert answers == [200] * 50

"""The server on real loopback sockets: where it listens, whom it outlasts, how it ends."""

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest

from exporter.web.app import build
from exporter.web.connection import Deadlines
from exporter.web.listen import ListenError, bind, split
from exporter.web.server import OTHER_FILES, Serving, start
from tests.web.served import TEXT_BODY, ScriptedExposition, sources

SOON = Deadlines(header_s=0.2, request_s=0.5, idle_s=0.3, connections=8)
PATIENCE_S = 5
GET = b"GET /-/healthy HTTP/1.1\r\nHost: exporter.test\r\n\r\n"


@contextmanager
def serving(
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    exposition: ScriptedExposition | None = None,
) -> Iterator[Serving]:
    app = build(sources(exposition=exposition or ScriptedExposition()))
    server = start("127.0.0.1:0", app, deadlines=deadlines)
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


def one_answer(client: socket.socket) -> bytes:
    """Return head and body of a short answer."""
    received = b""
    while not received.endswith(b"Healthy.\n") and (chunk := client.recv(65_536)):
        received += chunk
    return received


def until(met: Callable[[], bool]) -> bool:
    """Return whether ``met`` came true in time."""
    tick = threading.Event()
    return any(met() or tick.wait(0.02) for _ in range(PATIENCE_S * 50))


def test_a_scrape_is_answered_over_the_wire() -> None:
    with serving() as server:
        answer = httpx.get(f"http://{server.address}/metrics")

    assert (answer.status_code, answer.content) == (200, TEXT_BODY)
    assert "server" not in answer.headers


def test_the_port_that_the_system_chose_is_told() -> None:
    with serving() as server:
        assert split(server.address)[1] > 0


def test_a_taken_address_fails_at_once_with_a_sentence() -> None:
    with serving() as server, pytest.raises(ListenError) as caught:
        start(server.address, build(sources()))

    assert str(caught.value) == (
        f"cannot listen on {server.address}: the address is in use; "
        "another exporter may be running there"
    )


def test_an_address_of_another_machine_is_said_to_be_one() -> None:
    with pytest.raises(ListenError, match="does not have that address"):
        start("192.0.2.1:0", build(sources()))


@pytest.mark.parametrize(
    "address", ["10877", "localhost", "h:99999", "::1:80", "a b:1", "h:-1", ""]
)
def test_what_is_no_address_is_refused_in_words(address: str) -> None:
    with pytest.raises(ListenError, match="expected host:port"):
        start(address, build(sources()))


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:10877", ("127.0.0.1", 10877)),
        (":10877", ("", 10877)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses_are_written_as_for_prometheus(address: str, parts: tuple[str, int]) -> None:
    assert split(address) == parts


def test_all_interfaces_are_reached_over_loopback() -> None:
    server = start(":0", build(sources()))
    _, port = split(server.address)

    answer = httpx.get(f"http://127.0.0.1:{port}/-/healthy")
    server.stop(PATIENCE_S)

    assert answer.status_code == 200


def test_one_connection_serves_many_scrapes() -> None:
    with serving() as server, httpx.Client(base_url=f"http://{server.address}") as client:
        answers = [client.get("/metrics").status_code for _ in range(20)]

    assert answers == [200] * 20


def test_no_answer_waits_for_an_acknowledgement() -> None:
    with (
        closing(bind("127.0.0.1:0")) as listener,
        closing(socket.create_connection(listener.getsockname())),
        closing(listener.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_stopping_lets_nothing_linger() -> None:
    with serving() as server, closing(connect(server)) as idle, closing(connect(server)) as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        server.stop(PATIENCE_S)

        assert not server.alive
        assert drain(idle) == drain(half) == b""

    with pytest.raises(OSError, match="refused"):
        connect(server)


def test_stopping_does_not_wait_for_who_never_reads() -> None:
    huge = ScriptedExposition()
    huge.scrape = lambda **_: [b"x" * 50_000_000]  # type: ignore[method-assign]
    with serving(exposition=huge) as server, closing(connect(server)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: exporter.test\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")

        server.stop(2)

        assert not server.alive


def test_a_silent_connection_is_closed() -> None:
    with serving(SOON) as server, closing(connect(server)) as client:
        assert drain(client) == b""


def test_a_header_that_drips_is_cut_off() -> None:
    with serving(SOON) as server, closing(connect(server)) as client:
        dripping = threading.Event()
        cut = threading.Event()

        def drip() -> None:
            try:
                client.sendall(b"GET /metrics HTTP/1.1\r\n")
                while not dripping.wait(0.05):
                    client.sendall(b"X")
            except OSError:
                cut.set()

        dripper = threading.Thread(target=drip)
        dripper.start()
        dripper.join(PATIENCE_S)
        dripping.set()

        assert cut.is_set()


def test_a_header_that_drips_after_a_good_request_is_cut_off() -> None:
    with serving(SOON) as server, closing(connect(server)) as client:
        client.sendall(GET)
        assert one_answer(client).endswith(b"Healthy.\n")
        client.sendall(b"GET /metrics HT")

        assert drain(client) == b""


def test_a_body_that_never_comes_is_cut_off() -> None:
    with serving(SOON) as server, closing(connect(server)) as client:
        client.sendall(b"POST /-/reload HTTP/1.1\r\nHost: e.test\r\nContent-Length: 9\r\n\r\n")

        assert drain(client).startswith(b"HTTP/1.1 200")


def test_a_body_of_unknown_length_ends_the_connection() -> None:
    with serving() as server, closing(connect(server)) as client:
        client.sendall(
            b"POST /-/reload HTTP/1.1\r\nHost: e.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

        answer = drain(client)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


def test_who_never_reads_is_cut_off() -> None:
    huge = ScriptedExposition()
    huge.scrape = lambda **_: [b"x" * 50_000_000]  # type: ignore[method-assign]
    with serving(SOON, huge) as server, closing(connect(server)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: exporter.test\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert until(lambda: not server.connections)

        assert len(drain(client)) < 50_000_000


def test_a_header_without_end_is_refused() -> None:
    with serving() as server, closing(connect(server)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)

        assert drain(client).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n\x00", b"GET\r\n\r\n"])
def test_noise_is_answered_without_a_traceback(noise: bytes) -> None:
    with serving(SOON) as server, closing(connect(server)) as client:
        client.sendall(noise + b"\r\n\r\n")

        assert b"Traceback" not in drain(client)
        assert httpx.get(f"http://{server.address}/-/healthy").status_code == 200


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving() as server, closing(connect(server)) as client:
        client.sendall(GET * 3 + GET.replace(b"Host:", b"Connection: close\r\nHost:"))

        assert drain(client).count(b"HTTP/1.1 200 OK") == 4


def test_the_longest_idle_makes_room_for_a_scrape() -> None:
    patient = Deadlines(connections=3)
    with serving(patient) as server, ExitStack() as clients:
        idle = [clients.enter_context(closing(connect(server))) for _ in range(3)]

        scrape = httpx.get(f"http://{server.address}/metrics")

        assert scrape.status_code == 200
        assert drain(idle[0]) == b""
        idle[2].sendall(GET)
        assert one_answer(idle[2]).endswith(b"Healthy.\n")


@contextmanager
def open_files(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_low_limit_of_open_files_is_raised_to_fit_the_connections() -> None:
    with open_files(256), serving():
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 2048 + OTHER_FILES


@pytest.mark.slow
def test_a_thousand_idle_connections_do_not_hinder_scrapes() -> None:
    with open_files(4096), serving() as server, ExitStack() as clients:
        for _ in range(1000):
            clients.enter_context(closing(connect(server)))

        answers = [httpx.get(f"http://{server.address}/metrics").status_code for _ in range(50)]

    assert answers == [200] * 50

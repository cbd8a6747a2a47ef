"""Connections, cookies, content codings, certificates, on real sockets; which proxy a request takes."""

import asyncio
import contextlib
import gzip
import resource
import ssl
import warnings
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.errors import (
    ClaimLost,
    MachineError,
    OutOfFiles,
    ProviderError,
    SchemaError,
    Unreachable,
)
from exporter.http_client.transport import (
    MAX_BODY_BYTES,
    Request,
    Response,
    Transport,
    check_proxy,
    client_options,
    proxy_for,
    trusted_certificates,
)
from tests.support.limits import open_files
from tests.web.authority import self_signed

pytestmark = pytest.mark.real_time
MIB = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def vendor(serve: Serve) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}/"
    await asyncio.sleep(0)  # noqa: TID251 - lets the connections see that they are closed


def request(url: str) -> Request:
    return Request("GET /usage", "GET", url, {}, None)


def whole(body: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answered(raw: bytes) -> Response:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with vendor(serve) as url:
        return await Transport().send(request(url))


async def test_no_cookie_of_an_answer_comes_with_a_later_request() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(whole(b"1", b"Set-Cookie: session=another-account; Path=/\r\n"))
        writer.close()

    async with vendor(serve) as url:
        transport = Transport()
        for _ in range(3):
            await transport.send(request(url))

    assert len(heads) == 3
    assert not any(b"cookie" in head.lower() for head in heads)


@pytest.mark.parametrize("shared", [True, False], ids=["one target", "two targets"])
async def test_a_surplus_answer_on_a_connection_is_read_by_nobody(shared: bool) -> None:
    """The vendor keeps each connection open and sends a second answer that nobody asked for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(whole(b"1") + whole(b"999959"))
        writer.close()

    async with vendor(serve) as url:
        first = Transport()
        other = first if shared else Transport()
        seen = [(await each.send(request(url))).body for each in (first, other, first, other)]

    assert seen == [b"1"] * 4


BODY = b'{"n": 1}' * 1000
TWO_MEMBERS = gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        *((coding, gzip.compress(BODY)) for coding in ("gzip", "x-gzip", "GZIP")),
        ("gzip", TWO_MEMBERS),
        ("deflate", zlib.compress(BODY)),
        ("gzip", gzip.compress(BODY[:5]) + b"\0" * 9 + gzip.compress(BODY[5:]) + b"\0" * 99_999),
    ],
    ids=["gzip", "x-gzip", "in capitals", "two members", "deflate", "padded"],
)
async def test_a_compressed_body_is_decoded(coding: str, packed: bytes) -> None:
    answer = await answered(whole(packed, f"Content-Encoding: {coding}\r\n".encode()))

    assert answer.body == BODY


@pytest.mark.parametrize(
    ("body", "coding", "error", "message"),
    [
        (gzip.compress(gzip.compress(b"x" * MIB)), "gzip, gzip", SchemaError, "content coding"),
        (b"x", "br", SchemaError, "content coding that was not requested"),
        (gzip.compress(b"x" * (MAX_BODY_BYTES + 1)), "gzip", SchemaError, "larger than 16 MiB"),
        (gzip.compress(b"x" * MIB)[:-20], "gzip", Unreachable, "incomplete"),
        (b"not gzip at all", "gzip", SchemaError, "not valid gzip"),
        (gzip.compress(b"") * 900_000, "gzip", SchemaError, "more framing than content"),
    ],
    ids=["two codings", "unknown", "too large", "cut off", "not gzip", "empty members"],
)
async def test_a_body_that_cannot_be_decoded_is_an_error(
    body: bytes, coding: str, error: type[ProviderError], message: str
) -> None:
    with pytest.raises(error, match=message):
        await answered(whole(body, f"Content-Encoding: {coding}\r\n".encode()))


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "again"),
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (CHUNKED, chunks(b" "))],
    ids=["interim answers", "chunks of a byte"],
)
async def test_an_answer_without_end_or_content_ends_early(head: bytes, again: bytes) -> None:
    """Each costs the event loop more than it costs its sender, and every target shares the loop."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            while sent < 100 * MIB:
                writer.write(again * 1000)
                sent += len(again) * 1000
                await writer.drain()

    async with vendor(serve) as url:
        with pytest.raises(
            SchemaError, match="GET /usage: the answer has more framing than content"
        ):
            await Transport().send(request(url))
    assert sent < 100 * MIB


async def test_a_process_that_may_open_no_more_files_blames_itself() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(b"1"))
        writer.close()

    async with vendor(serve) as url:
        transport = Transport()
        await transport.send(request(url))
        with open_files(3), pytest.raises(OutOfFiles, match="GET /usage: too many open files"):
            await transport.send(request(url))


async def test_rows_that_are_compressed_one_by_one_are_read() -> None:
    packer, row = zlib.compressobj(wbits=31), b'{"hour": 7, "n": 12}, '
    packed = [packer.compress(row) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(50_000)]
    head = OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"

    answer = await answered(head + chunks(*packed, packer.flush(), b""))

    assert answer.body == row * 50_000


async def test_small_chunks_of_a_long_answer_are_read() -> None:
    body = b'{"hour": 7, "n": 12}' * 50_000
    small = chunks(*(body[i : i + 20] for i in range(0, len(body), 20)), b"")

    assert (await answered(CHUNKED + small)).body == body


async def test_a_small_body_that_grows_without_end_takes_little_memory() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join([bomb.compress(b"\0" * MIB) for _ in range(256)]) + bomb.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(SchemaError, match="larger than 16 MiB"):
        await answered(whole(packed, b"Content-Encoding: gzip\r\n"))

    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(packed) < MIB
    assert grown_mib < 100


async def test_an_unknown_certificate_is_called_a_certificate(tmp_path: Path) -> None:
    pair = self_signed(tmp_path, "vendor")

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    transport = Transport(certificates=trusted_certificates({}, warnings.warn))
    async with server:
        with pytest.raises(Unreachable, match="certificate not accepted: self-signed certificate"):
            await transport.send(request(f"https://localhost:{port}/"))


@pytest.mark.parametrize(
    ("coding", "length"),
    [(b"br", 4), (b"gzip", 4), (b"identity", 400)],
    ids=["br", "no gzip", "cut"],
)
async def test_the_body_of_an_error_does_not_hide_its_status(coding: bytes, length: int) -> None:
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 600\r\nContent-Encoding: %b\r\n" % coding
    answer = await answered(head + b"Content-Length: %d\r\n\r\nabcd" % length)

    assert (answer.status, answer.headers["retry-after"], answer.body) == (429, "600", b"")


async def test_a_request_that_may_not_be_sent_any_more_is_not_written() -> None:
    received, ended = list[bytes](), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(100))
        writer.close()
        ended.set()

    def refuse() -> None:
        raise ClaimLost("another replica may have the target")

    async with vendor(serve) as url:
        with pytest.raises(ClaimLost):
            await Transport().send(request(url), refuse)
        await ended.wait()
    assert received == [b""]


ENVIRON = {
    "HTTPS_PROXY": "http://proxy.test:3128",
    "HTTP_PROXY": "proxy.test:3129",
    "NO_PROXY": "fd00::/8, .corp.example,10.0.0.0/8,other.example:8443",
}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://vendor.example/v1", "http://proxy.test:3128"),
        ("http://vendor.example/v1", "http://proxy.test:3129"),
        ("http://localhost:1/", None),
        ("http://127.0.0.2/", None),
        ("http://[::1]:5/", None),
        ("http://a.localhost./", None),
        ("https://[fd00::1]/", None),
        ("https://[2001:db8::1]/", "http://proxy.test:3128"),
        ("https://10.2.3.4/", None),
        ("https://api.corp.example/", None),
        ("https://notcorp.example/", "http://proxy.test:3128"),
        ("https://other.example:8443/", None),
        ("https://other.example/", "http://proxy.test:3128"),
    ],
)
def test_a_request_takes_the_proxy_that_the_variables_name(url: str, proxy: str | None) -> None:
    assert proxy_for(url, ENVIRON) == proxy


def test_a_client_of_httpx_takes_the_proxy_and_the_certificates_of_vendors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = self_signed(tmp_path, "prometheus")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.cert))

    here, there = (client_options(f"https://{host}/") for host in ("localhost", "api.test"))

    assert (here["proxy"], there["proxy"]) == (None, "http://proxy.test:3128")
    assert here["verify"].cert_store_stats()["x509"] == 1
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.test:1")
    with pytest.raises(MachineError, match=r"^HTTPS_PROXY: SOCKS"):
        client_options("https://api.test/")


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({**ENVIRON, "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"ALL_PROXY": "http://all.test:1"}, "http://all.test:1"),
        ({**ENVIRON, "https_proxy": "http://own.test:2"}, "http://own.test:2"),
        ({**ENVIRON, "ALL_PROXY": "http://all.test:1"}, "http://proxy.test:3128"),
    ],
)
def test_the_scheme_comes_before_all_and_lower_case_before_upper(
    environ: dict[str, str], proxy: str | None
) -> None:
    assert proxy_for("https://vendor.example/", environ) == proxy


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", "SOCKS proxies are not supported"),
        ("https_proxy", "ftp://proxy.test:21", "not an address such as"),
        ("HTTPS_PROXY", "http://us er:secret@proxy.test", "not an address such as"),
        ("HTTPS_PROXY", "proxy.test:99999", "not an address such as"),
        ("HTTPS_PROXY", "http://", "not an address such as"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_by_the_name_of_its_variable(
    name: str, value: str, problem: str
) -> None:
    with pytest.raises(MachineError, match=f"^{name}: {problem}") as caught:
        check_proxy("https://vendor.example/", {name: value})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://vendor.example/"])
def test_a_wrong_proxy_that_no_request_takes_is_no_error(url: str) -> None:
    environ = {"ALL_PROXY": "socks5://127.0.0.1:1", "HTTPS_PROXY": "proxy.test:3128"}

    check_proxy(url, environ)

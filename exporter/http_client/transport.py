"""The transport of one target: a connection for each request, nothing kept between requests.

Each target has its own, so that no answer, cookie or slow connection of one account can reach
another (docs/decisions/007-a-connection-for-each-request.md). Redirects are not followed. Proxies
are those of ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; requests to this machine never use
one, since it would read the key in clear text.
"""

import asyncio
import contextlib
import ipaddress
import os
import ssl
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from exporter.config.values import is_loopback_host
from exporter.errors import (
    OUT_OF_FILES,
    MachineError,
    OutOfFiles,
    SchemaError,
    TimedOut,
    Unreachable,
)

MAX_BODY_BYTES = 16 * 1024 * 1024
READ_BYTES = 8 * 1024
FRAMING_BYTES = 512 * 1024
CHUNK_BYTES = 8
"""An answer may cost twice its content plus ``FRAMING_BYTES``; a chunk adds ``CHUNK_BYTES``."""
TIMEOUT_S = 30.0
CONNECT_S = 5.0
_TIMEOUT = {"connect": CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S}
_NOT_ENCODED = frozenset({"", "identity"})
_DEFLATED = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings, with zlib's window bits for each (RFC 9110, 8.4.1)."""


class Request(NamedTuple):
    """One request as it is sent; ``endpoint`` is its name in errors."""

    endpoint: str
    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None


class Response(NamedTuple):
    """One response: status, headers by case-insensitive name, the whole decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def always() -> None:
    """Allow every request."""


@dataclass(eq=False, slots=True)
class Transport:
    """Sends the requests of one target; nothing is left open between them.

    ``network`` replaces the real network. ``certificates`` are the trusted ones, shared by all
    targets (None: loaded here).
    """

    network: httpx.AsyncBaseTransport | None = None
    certificates: ssl.SSLContext | None = None
    _routes: dict[str | None, httpx.AsyncBaseTransport] = field(default_factory=dict, init=False)

    async def send(self, request: Request, may_send: Callable[[], None] = always) -> Response:
        """Return the response; if ``may_send`` raises, the request is not written.

        It is called once the connection is open, which may take seconds. Raises ``TimedOut``,
        ``Unreachable``, ``OutOfFiles``, and ``SchemaError`` for a body over 16 MiB, in a content
        coding that was not requested, or with too much framing. Only a 200 has a body.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):  # httpx limits each wait, not their sum
                return await self._exchange(request, may_send)
        except (TimeoutError, httpx.TimeoutException):
            raise TimedOut(f"{request.endpoint}: no answer in time") from None
        # httpx does not wrap a TLS alert that arrives while the answer is read.
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            if any(getattr(each, "errno", None) in OUT_OF_FILES for each in _causes(error)):
                raise OutOfFiles(f"{request.endpoint}: too many open files") from None
            raise Unreachable(f"{request.endpoint}: {_describe(error)}") from None

    async def _exchange(self, request: Request, may_send: Callable[[], None]) -> Response:
        meter = _Meter(request.endpoint)

        async def traced(event: str, details: Mapping[str, Any]) -> None:
            if event.endswith(".send_request_headers.started"):
                may_send()
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                meter.watch(details["return_value"])

        sent = httpx.Request(
            request.method,
            request.url,
            headers={**request.headers, "Accept-Encoding": "gzip"},
            content=request.content,
            extensions={"timeout": _TIMEOUT, "trace": traced},
        )
        response = await self._route(request.url).handle_async_request(sent)
        try:
            # Nobody needs the body of an error, and one that is cut off must not hide the status.
            body = await _body(response, meter) if response.status_code == HTTPStatus.OK else b""
        finally:
            await response.aclose()
        return Response(response.status_code, response.headers, body)

    def _route(self, url: str) -> httpx.AsyncBaseTransport:
        """Return the transport for ``url``: direct, or through its proxy."""
        if self.network is not None:
            return self.network
        proxy = proxy_for(url, os.environ)
        if proxy not in self._routes:
            self._routes[proxy] = httpx.AsyncHTTPTransport(
                verify=self.certificates or trusted_certificates(os.environ, warnings.warn),
                proxy=proxy,
                trust_env=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            )
        return self._routes[proxy]


def trusted_certificates(
    environ: MutableMapping[str, str], warn: Callable[[str], object]
) -> ssl.SSLContext:
    """Return the trusted certificate authorities: ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` or certifi's.

    Raises ``MachineError`` if a variable names no usable bundle. Unsets an ``SSLKEYLOGFILE`` that
    cannot be written, and calls ``warn`` with the reason.
    """
    if ignored := _ignore_unwritable_key_log(environ):
        warn(ignored)
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if folder and not (Path(folder).is_dir() and any(Path(folder).iterdir())):
        found = "empty" if Path(folder).is_dir() else "not a directory"
        raise MachineError(f"SSL_CERT_DIR={folder}: {found}; correct or unset the variable")
    try:
        if not file and not folder:
            return httpx.create_ssl_context(trust_env=False)
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:  # ssl.SSLError is one
        problem = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise MachineError(
            f"SSL_CERT_FILE={file}: {problem}; correct or unset the variable"
        ) from None


def _ignore_unwritable_key_log(environ: MutableMapping[str, str]) -> str | None:
    """Unset an unwritable ``SSLKEYLOGFILE``, since Python then trusts nobody; return a warning."""
    file = environ.get("SSLKEYLOGFILE")
    try:
        if file:
            with Path(file).open("a"):
                pass
    except OSError as error:
        del environ["SSLKEYLOGFILE"]
        return f"SSLKEYLOGFILE={file}: {error.strerror}; TLS keys are not logged"
    return None


@dataclass(slots=True)
class _Meter:
    """Ends an answer that costs far more than its content, both in bytes.

    What one read returns is parsed at once, while every other target waits; it may be hundreds of
    interim responses or of one-byte chunks.
    """

    endpoint: str
    cost: int = 0
    content: int = 0

    def watch(self, stream: Any) -> None:
        """Make httpcore's ``stream`` read a little at a time, and count what it reads."""
        read = stream.read

        async def metered(most: int, timeout: float | None = None) -> bytes:
            found: bytes = await read(min(most, READ_BYTES), timeout)
            self.cost += len(found)
            if self.cost > FRAMING_BYTES + 2 * self.content:
                raise SchemaError(f"{self.endpoint}: the answer has more framing than content")
            return found

        stream.read = metered


async def _body(response: httpx.Response, meter: _Meter) -> bytes:
    """Return the decoded body; the limit applies while decoding, so a small body cannot explode."""
    endpoint = meter.endpoint
    body = bytearray()
    decoder = _decoder(response.headers.get("content-encoding", ""), endpoint)
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type checker
    async for chunk in response.stream:
        meter.cost += CHUNK_BYTES
        for part in decoder.decode(chunk) if decoder else (chunk,):
            body += part
            meter.content = len(body)
            if len(body) > MAX_BODY_BYTES:
                raise SchemaError(f"{endpoint}: the answer is larger than 16 MiB")
    if decoder and not decoder.complete:
        raise Unreachable(f"{endpoint}: the compressed answer is incomplete")
    return bytes(body)


class _Deflated:
    """Decodes gzip or zlib a bounded part at a time; a gzip body may have several members."""

    PART_BYTES = 1024 * 1024

    def __init__(self, window_bits: int, endpoint: str) -> None:
        self._window_bits = window_bits
        self._endpoint = endpoint
        self._stream = zlib.decompressobj(window_bits)
        self._begun = False

    @property
    def complete(self) -> bool:
        return self._stream.eof or not self._begun

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        rest = chunk
        while rest := rest.lstrip(b"\0") if self._stream.eof else rest:  # a member may be padded
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._window_bits)
            self._begun = True
            try:
                yield self._stream.decompress(rest, self.PART_BYTES)
            except zlib.error:
                raise SchemaError(f"{self._endpoint}: the answer is not valid gzip") from None
            rest = self._stream.unconsumed_tail or self._stream.unused_data


def _decoder(coding: str, endpoint: str) -> _Deflated | None:
    """Return the decoder for ``coding`` (None: not encoded); raise if it was not requested."""
    name = coding.strip().lower()
    if name in _NOT_ENCODED:
        return None
    if name in _DEFLATED:
        return _Deflated(_DEFLATED[name], endpoint)
    raise SchemaError(f"{endpoint}: the answer has a content coding that was not requested")


def _describe(error: Exception) -> str:
    """Return what went wrong below HTTP, without repeating anything of the request."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS error: {cause.reason or 'handshake failed'}"
    return type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield ``error`` and its causes, including those of each attempt at a connection.

    Causes that a library hides from tracebacks are included: they show TLS and open-file errors.
    """
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from chain.from_iterable(map(_causes, error.exceptions))
        error = error.__cause__ or error.__context__


def client_options(url: str, certificates: ssl.SSLContext | None = None) -> dict[str, Any]:
    """Return the options with which httpx reaches ``url`` as ``Transport`` reaches a vendor.

    Raises ``MachineError`` where the proxy or the certificates cannot be used.
    """
    proxy = None
    with contextlib.suppress(ValueError):  # httpx refuses a URL that cannot be parsed
        check_proxy(url, os.environ)
        proxy = proxy_for(url, os.environ)
    verify = certificates or trusted_certificates(os.environ, warnings.warn)
    return {"proxy": proxy, "verify": verify, "trust_env": False}


def without_url(error: Exception) -> str:
    """Return the text of ``error``, but that of a wrong URL may quote part of a password."""
    wrong = isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol)
    return "not an http or https URL" if wrong else str(error)


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for ``url``, or None for a direct connection."""
    _, proxy = _variable_for(url, environ)
    return proxy and _with_scheme(proxy)


def check_proxy(url: str, environ: Mapping[str, str]) -> None:
    """Raise ``MachineError`` if the variable with the proxy for ``url`` cannot be used.

    The message omits the value, which may hold a password.
    """
    name, proxy = _variable_for(url, environ)
    problem = proxy and _problem(_with_scheme(proxy))
    if problem:
        raise MachineError(f"{name}: {problem}; correct or unset the variable")


def _variable_for(url: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return name and value of the variable with the proxy for ``url``; the value may be None."""
    parts = urlsplit(url)
    host, exempt = parts.hostname or "", _variable("no_proxy", environ)[1]
    exempted = any(_covers(each.strip(), host, parts.port) for each in (exempt or "").split(","))
    name = host.rstrip(".")
    if exempted or is_loopback_host(name) or name.endswith(".localhost"):
        return "", None
    variable, proxy = _variable(f"{parts.scheme}_proxy", environ)
    return (variable, proxy) if proxy else _variable("all_proxy", environ)


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the variable in lower case, else in upper case, as curl does; None if empty."""
    if environ.get(name):
        return name, environ[name]
    return name.upper(), environ.get(name.upper()) or None


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _problem(proxy: str) -> str | None:
    """Return why a proxy's address is unusable, or None if it is usable."""
    try:
        parts = urlsplit(proxy)
        host, _ = parts.hostname, parts.port  # a wrong port raises
    except ValueError:
        return "not an address such as http://proxy.example:3128"
    if parts.scheme.startswith("socks"):
        return "SOCKS proxies are not supported, only HTTP proxies"
    if parts.scheme not in {"http", "https"} or not host or any(map(str.isspace, proxy)):
        return "not an address such as http://proxy.example:3128"
    return None


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Return whether a ``NO_PROXY`` entry (``*``, domain, address or range) covers ``host``."""
    if entry in {"", "*"}:
        return entry == "*"
    address, network = _network(host), _network(entry)
    if address is not None:
        return network is not None and address.network_address in network
    name, _, wanted = entry.lower().lstrip(".").partition(":")
    if wanted and wanted != str(port or ""):
        return False
    return host == name or host.endswith(f".{name}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return ``text`` as a range, the smallest being a single address; None if it is a name."""
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None

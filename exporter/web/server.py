"""The HTTP server: uvicorn on its own thread and event loop, so that polls delay no scrape.

A connection has a deadline in every phase, so that none lasts forever.
"""

import asyncio
import errno
import functools
import logging
import math
import resource
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.clock import SystemClock
from exporter.config.values import parse_listen
from exporter.errors import OUT_OF_FILES, ListenError
from exporter.web.guard import MAX_HEADER_BYTES

BACKLOG = 1024
LAST_WORDS_S = 1.0
OTHER_FILES = 512
SILENT_S = 60.0
_WHY = {
    errno.EADDRINUSE: "the address is in use; another exporter may be running there",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "permission denied; ports below 1024 need a privilege",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The seconds that a connection may stay in each phase, and the number of connections.

    ``header_s`` is for a TLS handshake, and from the connection or the first byte of a request to
    the end of its headers; ``request_s`` from there to the end of the response; ``idle_s`` between
    requests (longer than any sane scrape interval, so that Prometheus keeps its connection).
    """

    header_s: float = 10
    request_s: float = 60
    idle_s: float = 120
    connections: int = 2048


_Phase: TypeAlias = Literal["header_s", "request_s", "idle_s"]
"""A phase of a connection, named by its deadline."""


class Connection(H11Protocol):
    """Uvicorn's HTTP/1.1 protocol with deadlines.

    Uvicorn only limits the time between requests, so a client that sends one byte of a header per
    minute, or never reads the response, would stay forever. If there are too many connections, the
    one idle longest is closed, or the new one if none is idle. ``admits`` judges a verified client
    certificate, in the form of ``ssl.SSLSocket.getpeercert``.
    """

    def __init__(
        self, *args: Any, deadlines: Deadlines, admits: Callable[[Any], bool], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._deadlines = deadlines
        self._admits = admits
        self.phase: _Phase | None = None
        self.since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        # OpenSSL resumes TLS 1.2 by session id, without verifying the certificate again.
        resumed = tls and tls.session_reused and tls.context.verify_mode != ssl.CERT_NONE
        if resumed or not self._admits(transport.get_extra_info("peercert")):
            transport.abort()
            return
        self._enter("header_s")
        if len(self.connections) > self._deadlines.connections:
            self._evict()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase == "idle_s":
            self._enter("header_s")
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        self._enter("idle_s")
        super().on_response_complete()
        self._follow()

    def _follow(self) -> None:
        """Enter the phase that follows from the bytes received so far."""
        begun = not getattr(self.cycle, "response_complete", True)  # None before the first request
        if begun and self.phase != "request_s":
            self._enter("request_s")
        elif self.phase == "idle_s" and self.conn.trailing_data[0]:
            self._enter("header_s")

    def _enter(self, phase: _Phase) -> None:
        self._disarm()
        self.phase, self.since = phase, self.loop.time()
        seconds = getattr(self._deadlines, phase)
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _evict(self) -> None:
        others = (each for each in self.connections if isinstance(each, Connection))
        idle = [each for each in others if each is not self and each.phase != "request_s"]
        min(idle, key=lambda each: each.since, default=self).transport.abort()


DEADLINES = Deadlines()


class _Loop(asyncio.SelectorEventLoop):
    """The usual event loop, with a deadline for TLS handshakes, which uvicorn cannot set."""

    def __init__(self, handshake_s: float) -> None:
        super().__init__()
        self._handshake_s = handshake_s
        self._silent_until = 0.0

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in OUT_OF_FILES:
            super().call_exception_handler(context)
        elif self.time() >= self._silent_until:  # asyncio reports this a thousand times a second
            self._silent_until = self.time() + SILENT_S
            log.error("cannot accept connections", error=f"{error.strerror}; raise LimitNOFILE")

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        if kwargs.get("ssl") is not None:
            kwargs["ssl_handshake_timeout"] = kwargs["ssl_shutdown_timeout"] = self._handshake_s
        return await super().create_server(*args, **kwargs)


class Serving:
    """A running server; ``address`` has the port that the system chose."""

    def __init__(
        self, server: uvicorn.Server, listener: socket.socket, deadlines: Deadlines
    ) -> None:
        host, port, *_ = listener.getsockname()
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server = server
        self._deadlines = deadlines
        self._thread = threading.Thread(target=self._run, args=(listener,), name="web", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the server is still running."""
        return self._thread.is_alive()

    @property
    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._server.server_state.connections)

    def stop(self, timeout: float) -> None:
        """Accept no more connections, let responses finish, and end within ``timeout`` seconds."""
        graceful = max(0, math.floor(timeout - LAST_WORDS_S))
        self._server.config.timeout_graceful_shutdown = graceful
        self._server.should_exit = True
        self._thread.join(timeout)

    def _run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: _Loop(self._deadlines.header_s)) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        await self._server.serve(sockets=[listener])
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await SystemClock().sleep(0)  # lets the loop close the aborted connections


def _room_for(connections: int) -> int:
    """Raise the limit of open files as far as needed; return how many connections fit.

    The usual soft limit of 1,024 only exists for programs that use ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if resource.RLIM_INFINITY != soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else min(connections, soft // 2)


def start(
    address: str,
    app: ASGIApp,
    *,
    tls: ssl.SSLContext | None = None,
    admits: Callable[[Any], bool] = lambda _certificate: True,
    deadlines: Deadlines = DEADLINES,
) -> Serving:
    """Serve ``app`` on ``address``; return once it accepts connections. Raises ``ListenError``.

    ``admits`` judges the client's verified certificate. Signals are left to the caller.
    """
    listener = bind(address)
    deadlines = replace(deadlines, connections=_room_for(deadlines.connections))
    protocol = functools.partial(Connection, deadlines=deadlines, admits=admits)
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(deadlines.idle_s) + 1,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    config.load()
    logging.getLogger("uvicorn.error").addFilter(_keeps_record)
    return Serving(uvicorn.Server(config), listener, deadlines)


def _keeps_record(record: logging.LogRecord) -> bool:
    """Drop the records that uvicorn logs as errors when a stop cuts requests off."""
    cut_off = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut_off and not str(record.msg).startswith("Cancel %s running task")


def bind(address: str) -> socket.socket:
    """Return a socket that listens on ``address``; raise ``ListenError``.

    ``host:port``, ``[v6]:port``, or ``:port`` for all interfaces; port 0 selects a free one.
    """
    host, port = parse_listen(address)
    try:
        listener = _listen(host, port)
    except OSError as error:
        why = _WHY.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {address}: {why}") from error
    # Accepted sockets inherit it; without it, 40 ms pass between head and body of a response.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _listen(host: str, port: int) -> socket.socket:
    if host in ("", "::") and socket.has_dualstack_ipv6():  # every address, IPv4 included
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
        )
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)  # noqa: S104
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server(where[:2], family=family, backlog=BACKLOG)

"""One client's connection, with a deadline in every phase: none may hold on without end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds a connection may stay in a phase, and how many connections there may be.

    ``header_s`` for a TLS handshake, and from the connection or the first byte of a request to
    its end of headers,
    ``request_s`` from there to the end of the answer, ``idle_s`` between requests (longer than any
    sane scrape interval, so that Prometheus keeps its connection).
    """

    header_s: float = 10
    request_s: float = 60
    idle_s: float = 120
    connections: int = 2048


class _Phase(Enum):
    HEADER = auto()
    REQUEST = auto()
    IDLE = auto()


class Connection(H11Protocol):
    """Uvicorn's HTTP/1.1 protocol, watched.

    Uvicorn limits only the time between requests, so a client that sends a header one byte a
    minute, or never reads its answer, would stay for ever. One connection more than allowed
    ends the one that has been idle longest; where none is idle, the new one. ``admits`` judges a
    verified client certificate, in the form of ``ssl.SSLSocket.getpeercert``.
    """

    def __init__(
        self, *args: Any, deadlines: Deadlines, admits: Callable[[Any], bool], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._deadlines = deadlines
        self._admits = admits
        self._phase: _Phase | None = None
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._admits(transport.get_extra_info("peercert")):
            transport.abort()
            return
        self._enter(_Phase.HEADER)
        if len(self.connections) > self._deadlines.connections:
            self._evict()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.HEADER)
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        self._enter(_Phase.IDLE)
        super().on_response_complete()
        self._follow()

    @property
    def idle_since(self) -> float | None:
        """Return since when nothing was asked, on the loop's clock; None while something is."""
        return None if self._phase is _Phase.REQUEST else self._since

    def _follow(self) -> None:
        """Enter the phase that the bytes received so far have brought."""
        begun = not getattr(self.cycle, "response_complete", True)  # no cycle before the first
        if begun and self._phase is not _Phase.REQUEST:
            self._enter(_Phase.REQUEST)
        elif self._phase is _Phase.IDLE and self.conn.trailing_data[0]:
            self._enter(_Phase.HEADER)

    def _enter(self, phase: _Phase) -> None:
        self._disarm()
        limits = self._deadlines
        seconds = {
            _Phase.HEADER: limits.header_s,
            _Phase.REQUEST: limits.request_s,
            _Phase.IDLE: limits.idle_s,
        }[phase]
        self._phase, self._since = phase, self.loop.time()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _evict(self) -> None:
        others = (each for each in self.connections if isinstance(each, Connection))
        idle = [(each.idle_since, id(each), each) for each in others if each.idle_since is not None]
        _, _, oldest = min((entry for entry in idle if entry[2] is not self), default=(0, 0, self))
        oldest.transport.abort()

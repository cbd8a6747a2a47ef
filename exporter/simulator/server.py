"""A fake vendor: an ASGI app that answers, misbehaves as scripted and remembers each request."""

import copy
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import uvicorn
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from exporter.clock import Clock
from exporter.simulator.faults import INSTEAD, Faults, spoil
from exporter.simulator.traffic import Traffic

Rows = list[dict[str, Any]]
ErrorBody = Callable[[int, str], Any]
HTML = b"<!doctype html><html><body><h1>Something went wrong</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it.

    ``path`` is decoded, ``raw_path`` as sent; ``segments`` are the values of the route's
    ``{names}``; ``params`` the query string's pairs; ``body`` the decoded JSON, or ``None`` where
    there is none or it is not JSON (``content`` tells which).
    """

    number: int
    now_ms: int
    method: str
    path: str
    raw_path: str
    segments: Mapping[str, Any]
    pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    content: bytes
    body: Any
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, str]:
        """Return the query string; of a repeated name the last value."""
        return dict(self.pairs)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back: ``rows`` are the very dicts that ``payload`` holds.

    A ``payload`` of ``str`` is sent as it is, anything else as JSON.
    """

    payload: Any
    rows: Rows = field(default_factory=list)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A handler's way to answer with an error body of the vendor's."""

    def __init__(self, status: int, reason: str = "", payload: Any = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason or HTTPStatus(status).phrase
        self.payload = payload


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of the request log; secrets are replaced by ``***``.

    ``status`` is 0 where the client got no answer. ``rows`` are those that were sent, after
    faults in rows and before faults of the body.
    """

    at_ms: int
    method: str
    path: str
    params: Mapping[str, str]
    body: Any
    status: int
    rows: tuple[dict[str, Any], ...]
    faults: frozenset[str]


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` is in Starlette's spelling: ``/v1/bots/{bot}/events``, ``{rest:path}``."""

    method: str
    path: str
    handler: Handler


def plain_error(status: int, reason: str) -> Any:
    """Return an error body for vendors that document none."""
    return {"error": reason, "status": status}


class Service:
    """One running fake: ``requests`` is its log, ``faults`` its script, ``traffic`` its truth.

    Set ``remember`` to keep only that many of the latest requests, where it runs for long.
    ``target(url)`` gives the entries that its target in ``exporter.yaml`` needs, secrets
    inline, when the service is reached at ``url``. The instance is the ASGI app.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        traffic: Traffic,
        routes: Sequence[Route],
        faults: Faults,
        secrets: Sequence[str],
        target: Callable[[str], dict[str, Any]],
        error: ErrorBody = plain_error,
    ) -> None:
        self.clock = clock
        self.traffic = traffic
        self.faults = faults
        self.requests: list[Seen] = []
        self.remember: int | None = None
        self.target = target
        self._routes = [(compile_path(route.path), route) for route in routes]
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._error = error
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        call = await self._read(Request(scope, receive))
        status, answer = 0, Answer(None)
        try:
            answer = await self._answer(call)
            rows = copy.deepcopy(answer.rows)
            await self._wait(call, "slow", 5)
            await self._wait(call, "hang_after", 3600)
            await _send(send, answer, call.faults)
            status = answer.status
        finally:
            self._log(call, status, copy.deepcopy(answer.rows) if not status else rows)

    async def _read(self, request: Request) -> Call:
        self._count += 1
        content = await request.body()
        raw = request.scope.get("raw_path") or quote(request.url.path).encode()
        call = Call(
            number=self._count,
            now_ms=self.clock.now_ms(),
            method=request.method,
            path=request.scope["path"],
            raw_path=raw.decode("latin-1"),
            segments={},
            pairs=tuple(request.query_params.multi_items()),
            headers=request.headers,
            content=content,
            body=_decoded(content),
        )
        return _replaced(call, faults=self.faults.choose(call))

    async def _answer(self, call: Call) -> Answer:
        for name in sorted(call.faults.keys() & INSTEAD):
            return await self._instead(name, call)
        try:
            answer = await self._handle(call)
        except Refusal as refusal:
            payload = refusal.payload or self._error(refusal.status, refusal.reason)
            return Answer(payload, status=refusal.status)
        spoil(answer.rows, call.faults)
        return answer

    async def _handle(self, call: Call) -> Answer:
        known = False
        for (regex, _, converters), route in self._routes:
            if match := regex.match(call.path):
                known = True
                if route.method == call.method:
                    values = match.groupdict().items()
                    segments = {key: converters[key].convert(value) for key, value in values}
                    return await route.handler(_replaced(call, segments=segments))
        raise Refusal(405, "Method Not Allowed") if known else Refusal(404, "Not Found")

    async def _instead(self, name: str, call: Call) -> Answer:
        options = call.faults[name]
        match name:
            case "html_200" | "html_502":
                return _page(200 if name == "html_200" else 502)
            case "login_redirect":
                return _page(302, location="/login")
            case "not_json":
                return Answer("OK, but not JSON", headers={"content-type": "application/json"})
            case "hang":
                await self._wait(call, "hang", 3600)
                return Answer(self._error(503, "Service Unavailable"), status=503)
            case _:
                status = options.get("status", _STATUSES[name])
                body = options.get("body") or self._error(status, HTTPStatus(status).phrase)
                return Answer(body, status=status, headers=self._retry_after(options))

    def _retry_after(self, options: Mapping[str, Any]) -> dict[str, str]:
        seconds = options.get("retry_after")
        if seconds is None:
            return {}
        if options.get("as_date"):
            at = self.clock.now_ms() / 1000 + seconds
            return {"retry-after": formatdate(at, usegmt=True)}
        return {"retry-after": str(seconds)}

    async def _wait(self, call: Call, name: str, seconds: float) -> None:
        if name in call.faults:
            await self.clock.sleep(call.faults[name].get("seconds", seconds))

    def _log(self, call: Call, status: int, rows: Rows) -> None:
        self.requests.append(
            Seen(
                at_ms=call.now_ms,
                method=call.method,
                path=self._masked(call.path),
                params={key: self._masked(value) for key, value in call.pairs},
                body=_decoded(self._masked(call.content.decode("utf-8", "replace")).encode()),
                status=status,
                rows=tuple(rows),
                faults=frozenset(call.faults),
            )
        )
        if self.remember is not None:
            del self.requests[: len(self.requests) - self.remember]

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


_STATUSES = {
    "unauthorized": 401,
    "forbidden": 403,
    "throttled": 429,
    "refused": 400,
    "server_error": 500,
    "unavailable": 503,
}


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _page(status: int, **headers: str) -> Answer:
    headers["content-type"] = "text/html; charset=utf-8"
    return Answer(HTML.decode(), status=status, headers=headers)


def _replaced(call: Call, **changes: Any) -> Call:
    values = {name: getattr(call, name) for name in Call.__slots__}
    return Call(**values | changes)


async def _send(send: Send, answer: Answer, chosen: Mapping[str, Any]) -> None:
    is_text = isinstance(answer.payload, str)
    content = (answer.payload if is_text else json.dumps(answer.payload)).encode()
    headers = {"content-type": "text/plain" if is_text else "application/json; charset=utf-8"}
    headers |= answer.headers
    sent = content[: len(content) // 2] if chosen.keys() & {"truncated", "reset"} else content
    length = len(content) if "reset" in chosen else len(sent)
    headers["content-length"] = str(length)
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    if "reset" in chosen:
        await send({"type": "http.response.body", "body": sent, "more_body": True})
        # In-process this is what the client would see; on a socket uvicorn closes the connection.
        raise httpx.ReadError("connection reset by peer")
    await send({"type": "http.response.body", "body": sent})


@asynccontextmanager
async def serving(
    services: Mapping[str, Service], ports: Mapping[str, int] | None = None
) -> AsyncIterator[dict[str, str]]:
    """Serve each service on a loopback port of its own until the block is left.

    Yields the URL of each. A port of 0, or none given, takes a free one. Raises ``OSError`` where
    a port is taken.
    """
    urls = {}
    async with AsyncExitStack() as running:
        for name, service in services.items():
            listener = running.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted sockets inherit it; without it head and body of an answer are 40 ms apart.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(("127.0.0.1", (ports or {}).get(name, 0)))
            await running.enter_async_context(_running(service, listener))
            urls[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield urls


@asynccontextmanager
async def _running(service: Service, listener: socket.socket) -> AsyncIterator[None]:
    # Not Server.serve(): that takes the process's signal handlers, which belong to the caller.
    config = uvicorn.Config(
        service, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        await server.shutdown(sockets=[listener])

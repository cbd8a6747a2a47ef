"""A fake vendor: an ASGI app that answers, misbehaves as scripted and logs each request."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

import httpx
import msgspec
import uvicorn
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from exporter.clock import Clock
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.faults import STATUSES, Faults, corrupt
from exporter.simulator.traffic import HourlySums, Traffic, Window

T = TypeVar("T")
Rows = list[dict[str, Any]]
ErrorBody = Callable[[int, str], Any]
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
HTML_PAGE = "<!doctype html><html><body><h1>Something went wrong</h1></body></html>"
Instant = Annotated[
    str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
]
"""A parameter with a date, time and zone, as in RFC 3339."""

PAGE = "page_"
CURSOR_MODES = frozenset(
    {
        "expired_cursor",  # 410 for any cursor
        "repeated_cursor",  # every page is the first one, with the same next page
        "missing_cursor",  # each page claims that more follow, but has no cursor
    }
)
"""How a cursor can mislead; modes of simulators that use ``page_of``."""


def milliseconds(instant: str) -> int:
    """Return the UTC milliseconds of an ``Instant``."""
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def stamp(at_ms: int, digits: int = 3) -> str:
    """Return an instant as RFC 3339 in UTC, with ``digits`` fractional digits."""
    seconds, rest_ms = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest_ms:03d}000000"[: digits + 1] if digits else "") + "Z"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it, and what happened until ``now_ms``.

    ``path`` is decoded. ``params`` is the query string with the last value of a repeated name,
    ``lists`` has all values. ``body`` is the decoded JSON (None: no JSON), ``segments`` the values
    of the route's ``{names}``.
    """

    now_ms: int
    traffic: Traffic
    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    segments: Mapping[str, Any] = field(default_factory=dict)
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def read_params(self, kind: type[T]) -> T:
        """Return the query string as a struct; raise ``Refusal`` with 400 if it does not fit."""
        return _converted(self.params, kind, 400, strict=False)

    def read_segments(self, kind: type[T]) -> T:
        """Return the route's values as a struct; raise ``Refusal`` with 400."""
        return _converted(self.segments, kind, 400, strict=False)

    def read_body(self, kind: type[T], *, status: int = 400) -> T:
        """Return the body as a struct; raise ``Refusal`` with ``status`` if it does not fit."""
        return _converted(self.body, kind, status, strict=True)

    def option(self, fault: str, name: str, default: T) -> T:
        """Return an option of a fault, or ``default`` if it is not on."""
        found: T = self.faults.get(fault, {}).get(name, default)
        return found

    def records(self, kind: Kind, window: Window) -> Iterator[Occurrence]:
        """Yield what happened in the window and is visible now."""
        return self.traffic.records(kind, window, self.now_ms)

    def hourly(self, kind: Kind, window: Window, *by: str, **only: str) -> HourlySums:
        """Return the sums that are visible now, by hour and the attributes ``by``."""
        return self.traffic.hourly(kind, window, self.now_ms, by=by, **only)


def _converted(given: Any, kind: type[T], status: int, *, strict: bool) -> T:
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise Refusal(status, str(error)) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a handler; ``rows`` are the same dicts that ``payload`` holds.

    A ``str`` as ``payload`` is sent unchanged, anything else as JSON. ``number`` names the member
    of a row that faults change, if it is not the first integer.
    """

    payload: Any
    rows: Rows = field(default_factory=list)
    number: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Raised by a handler to answer with the vendor's error body."""

    def __init__(self, status: int, reason: str = "", payload: Any = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason or HTTPStatus(status).phrase
        self.payload = payload


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``cursor`` selects the next one."""

    items: Sequence[T]
    cursor: str | None
    more: bool


def page_of(call: Call, items: Sequence[T], cursor: str | None, size: int) -> Page[T]:
    """Return the page that ``cursor`` selects (None: the first); refuse an unknown cursor."""
    if cursor and "expired_cursor" in call.faults:
        raise Refusal(410, "cursor expired")
    number = (cursor or f"{PAGE}0").removeprefix(PAGE)
    if not number.isdecimal():
        raise Refusal(400, "unknown cursor")
    repeated = "repeated_cursor" in call.faults
    begin = 0 if repeated else int(number)
    end = begin + size
    if "missing_cursor" in call.faults:
        return Page(items[begin:end], None, more=True)
    more = repeated or end < len(items)
    return Page(items[begin:end], f"{PAGE}{end}" if more else None, more)


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One entry of the request log; secrets are replaced by ``***``.

    ``status`` is 0 if the client got no answer. ``rows`` are those that were sent, after faults of
    rows and before faults of the body.
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
Routes = Mapping[tuple[str, str], Handler]
"""By method and path, in Starlette's spelling: ``/v1/bots/{bot}/events``, ``{rest:path}``."""


def plain_error(status: int, reason: str) -> Any:
    """Return an error body for vendors that document none."""
    return {"error": reason, "status": status}


def manifest_target(
    manifest: str, key: str, path: str = "", **more: Any
) -> Callable[[str], dict[str, Any]]:
    """Return a function that makes the settings of a shipped manifest's target below ``path``."""
    settings = {"provider": "manifest", "manifest": manifest, "secrets": {"key": key}, **more}
    return lambda url: settings | {"base_url": url + path}


@dataclass(eq=False, repr=False)
class Service:
    """One running simulator: ``requests`` is its log, ``faults`` its script, ``traffic`` its truth.

    ``modes`` are its faults besides the general ones. Set ``keeps_log`` to False if it runs for
    long. ``target(url)`` returns the entries of its target in ``exporter.yaml``, with secrets
    inline, for a service at ``url``. A request whose header ``key_header`` is not ``authorization``
    is refused with 401; if that is None, the handlers check the key. The instance is the ASGI app.
    """

    clock: Clock
    traffic: Traffic
    _: KW_ONLY
    routes: Routes
    secrets: Sequence[str]
    target: Callable[[str], dict[str, Any]]
    modes: frozenset[str] = frozenset()
    authorization: str | None = None
    key_header: str = "authorization"
    error: ErrorBody = plain_error
    error_type: str = JSON
    keeps_log: bool = True
    requests: list[LoggedRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.faults = Faults(self.modes)
        self._routes = [
            (method, compile_path(path)[0], handler)
            for (method, path), handler in self.routes.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        call = await self._read(Request(scope, receive))
        status, answer = 0, Answer(None)
        try:
            answer = await self._answer(call)
            await self._wait(call, "slow", 5)
            await self._wait(call, "hang_after", 3600)
            await _send(send, answer, call.faults)
            status = answer.status
        finally:
            if self.keeps_log:
                self._log(call, status, answer.rows)

    def writes(self) -> list[str]:
        """Return the requests, as ``METHOD /path``, that match no route: the routes only read."""
        return [
            f"{seen.method} {seen.path}"
            for seen in self.requests
            if not any(
                seen.method == method and path.match(seen.path) for method, path, _ in self._routes
            )
        ]

    async def _read(self, request: Request) -> Call:
        call = Call(
            now_ms=self.clock.now_ms(),
            traffic=self.traffic,
            method=request.method,
            path=request.scope["path"],
            params=dict(request.query_params),
            lists={name: request.query_params.getlist(name) for name in request.query_params},
            headers=request.headers,
            body=_decoded(await request.body()),
        )
        return replace(call, faults=self.faults.choose(call))

    async def _answer(self, call: Call) -> Answer:
        for name in sorted(call.faults.keys() & STATUSES.keys()):
            return await self._instead(name, call)
        try:
            answer = await self._handle(call)
        except Refusal as refusal:
            return self._refused(refusal.status, refusal.payload, refusal.reason)
        corrupt(answer.rows, call.faults, answer.number)
        return answer

    async def _handle(self, call: Call) -> Answer:
        known = False
        for method, path, handler in self._routes:
            if match := path.match(call.path):
                known = True
                if method == call.method:
                    if self.authorization not in (None, call.headers.get(self.key_header)):
                        raise Refusal(401)
                    return await handler(replace(call, segments=match.groupdict()))
        raise Refusal(405 if known else 404)

    async def _instead(self, name: str, call: Call) -> Answer:
        options = call.faults[name]
        status = options.get("status", STATUSES[name])
        match name:
            case "html_200" | "html_502":
                return Answer(HTML_PAGE, status=status, headers={"content-type": HTML})
            case "login_redirect":
                headers = {"content-type": HTML, "location": "/login"}
                return Answer(HTML_PAGE, status=status, headers=headers)
            case "not_json":
                return Answer("OK, but not JSON", headers={"content-type": JSON})
            case _:
                await self._wait(call, "hang", 3600)
                return self._refused(
                    status, options.get("body"), headers=self._retry_after(options)
                )

    def _refused(
        self, status: int, body: Any, reason: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = body or self.error(status, reason or HTTPStatus(status).phrase)
        kind = {} if isinstance(body, str) else {"content-type": self.error_type}
        return Answer(body, status=status, headers={**kind, **(headers or {})})

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
            await self.clock.sleep(call.option(name, "seconds", seconds))

    def _log(self, call: Call, status: int, rows: Rows) -> None:
        self.requests.append(
            LoggedRequest(
                at_ms=call.now_ms,
                method=call.method,
                path=self._masked(call.path),
                params={key: self._masked(value) for key, value in call.params.items()},
                body=json.loads(self._masked(json.dumps(call.body))),
                status=status,
                rows=tuple(rows),
                faults=frozenset(call.faults),
            )
        )

    def _masked(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


async def _send(send: Send, answer: Answer, chosen: Mapping[str, Any]) -> None:
    is_text = isinstance(answer.payload, str)
    content = (answer.payload if is_text else json.dumps(answer.payload)).encode()
    headers = {"content-type": "text/plain" if is_text else JSON} | dict(answer.headers)
    sent = content[: len(content) // 2] if chosen.keys() & {"truncated", "reset"} else content
    length = len(content) if "reset" in chosen else len(sent)
    headers["content-length"] = str(length)
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    if "reset" in chosen:
        await send({"type": "http.response.body", "body": sent, "more_body": True})
        # In process, the client sees this error; on a socket, uvicorn closes the connection.
        raise httpx.ReadError("connection reset by peer")
    await send({"type": "http.response.body", "body": sent})


@asynccontextmanager
async def serving(
    services: Mapping[str, Service], ports: Mapping[str, int] | None = None
) -> AsyncIterator[dict[str, str]]:
    """Serve each service on its own loopback port until the block is left.

    Yields the URL of each. A port of 0, or a missing one, means any free port. Raises ``OSError``
    if a port is taken.
    """
    urls = {}
    async with AsyncExitStack() as running:
        for name, service in services.items():
            address = ("127.0.0.1", (ports or {}).get(name, 0))
            listener = running.enter_context(socket.create_server(address))
            # Inherited by accepted sockets; otherwise an answer's head and body are 40 ms apart.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await running.enter_async_context(_running(service, listener))
            urls[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield urls


@asynccontextmanager
async def _running(service: Service, listener: socket.socket) -> AsyncIterator[None]:
    # Not Server.serve(), which takes over signal handlers that belong to the caller.
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

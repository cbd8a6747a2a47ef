"""The paths and their endpoints."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.clock import Clock, SystemClock
from exporter.explain.reader import Explanations
from exporter.exposition.page import MetricsPage
from exporter.status import FamilyStatus, Status
from exporter.web import explain, page
from exporter.web.guard import Guard
from exporter.web.webconfig import Access

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

UNHEALTHY = "Not healthy: polling has stopped for over a minute; restart the exporter.\n"
NOT_READY = (
    "Not ready: the ledger is not open yet, cannot be read, or every commit of the last 5 minutes "
    "has failed; or the exporter is stopping.\n"
)
NO_RELOAD = "Reload is not available here: start the exporter with a settings file.\n"
FOREIGN = "Reload refused: the request comes from another site's page.\n"

VERIFY_S = 2.0
"""How long a scrape waits for what other replicas have committed."""

CLOCK = SystemClock()
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


Reload: TypeAlias = Callable[[], Awaitable[tuple[str, ...]]]
"""Reloads the settings; returns why the old ones stay, or nothing if the new ones are in force."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that is served. All callables run on the server's threads.

    ``healthy`` returns whether polling goes on, ``ready`` whether the ledger is open and takes
    commits. ``status`` may take a while and runs off the event loop. ``reload`` is awaited on the
    server's loop, so an implementation that belongs to another loop wraps it
    (``asyncio.wrap_future(asyncio.run_coroutine_threadsafe(…))``); None: reload is not available.
    ``hosts`` are names that requests may give as ``Host``, besides those that are always safe.
    ``explain`` takes a selector and the number of the first series (from 1), and also runs off the
    event loop; it raises ``SelectorError`` and ``LedgerError``. ``families`` are those that can be
    explained now. ``verify`` brings the metrics up to date with all replicas' commits, and returns
    whether that succeeded; None if there is only one process.
    """

    exposition: MetricsPage
    ready: Callable[[], bool]
    healthy: Callable[[], bool]
    status: Callable[[], Status]
    explain: Callable[[str, int], Explanations]
    reload: Reload | None = None
    hosts: Callable[[], Collection[str]] = frozenset
    families: Callable[[], Sequence[FamilyStatus]] = tuple
    verify: Callable[[], Awaitable[bool]] | None = None


def build(sources: Sources, access: Callable[[], Access] = Access, clock: Clock = CLOCK) -> ASGIApp:
    """Return the application that serves ``sources``.

    ``access`` is called for each request and returns the users and headers in force.
    """
    served = Endpoints(sources)
    routes = {
        "/": served.status_page,
        "/metrics": served.metrics,
        "/-/healthy": served.healthy,
        "/-/ready": served.ready,
        "/api/v1/status": served.status,
        "/explain": explain.endpoint(sources.explain, sources.families),
    }
    app = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in routes.items()),
            Route("/-/reload", served.reload, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refusal, Exception: _crash},
    )
    app.router.redirect_slashes = False
    return Guard(app, access, sources.hosts, clock)


@dataclass(frozen=True, slots=True)
class Parts:
    """A response in parts, each sent when the client has received most of the previous ones."""

    parts: Sequence[bytes]
    headers: Mapping[str, str]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = dict(self.headers) | {"Content-Length": str(sum(map(len, self.parts)))}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": raw})
        for number, part in enumerate(self.parts, start=1):
            more = number < len(self.parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
            await CLOCK.sleep(0)  # lets the loop notice that a client has disconnected


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints, which answer from ``sources``."""

    sources: Sources

    async def metrics(self, request: Request) -> ASGIApp:
        """Answer a scrape."""
        openmetrics = wants_openmetrics(_joined(request, "accept"))
        gzip = wants_gzip(_joined(request, "accept-encoding"))
        headers = {
            "Content-Type": OPENMETRICS if openmetrics else TEXT,
            "Vary": "Accept, Accept-Encoding",
        }
        if request.method == "HEAD":  # has no body, so it must not count as a scrape
            return Response(headers=headers)
        verify, page = self.sources.verify, self.sources.exposition
        verified = verify is None or await _within(VERIFY_S, verify())
        scrape = page.scrape if verified else page.scrape_process  # rather no value than an old one
        body = scrape(openmetrics=openmetrics, gzip=gzip)
        return Parts(body, headers | ({"Content-Encoding": "gzip"} if gzip else {}))

    async def healthy(self, _request: Request) -> Response:
        """Respond whether polling goes on."""
        is_healthy = self.sources.healthy()
        return _text("Healthy.\n") if is_healthy else _text(UNHEALTHY, UNAVAILABLE)

    async def ready(self, _request: Request) -> Response:
        """Respond whether the ledger is open and takes commits."""
        return _text("Ready.\n") if self.sources.ready() else _text(NOT_READY, UNAVAILABLE)

    async def reload(self, request: Request) -> Response:
        """Reload the settings, unless the request comes from another site's page."""
        if _foreign(request):
            return _text(FOREIGN, HTTPStatus.FORBIDDEN)
        if self.sources.reload is None:
            return _text(NO_RELOAD, HTTPStatus.FORBIDDEN)
        if errors := await self.sources.reload():
            text = ["The old settings stay in force:", *errors]
            return _text("\n".join(text) + "\n", HTTPStatus.BAD_REQUEST)
        return _text("The new settings are in force.\n")

    async def status_page(self, request: Request) -> Response:
        """Respond with the status page of all targets, or of one."""
        target = request.query_params.get("target")
        html = await asyncio.to_thread(lambda: page.render(self.sources.status(), target=target))
        if html is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        headers = {"Content-Security-Policy": page.POLICY}
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)

    async def status(self, _request: Request) -> Response:
        """Respond with the status as JSON."""
        body = await asyncio.to_thread(lambda: msgspec.json.encode(self.sources.status()))
        return Response(body, media_type="application/json")


def wants_openmetrics(accept: str) -> bool:
    """Return whether ``accept`` prefers OpenMetrics 1.0.0 to the text format 0.0.4.

    A wildcard is no preference: a person with a browser or curl gets plain text. So does a client
    that accepts neither, because a response is more useful than a 406.
    """
    openmetrics = _wanted(accept, "application", "openmetrics-text", "1.0.0")
    return openmetrics > _wanted(accept, "text", "plain", "0.0.4")


def wants_gzip(accept_encoding: str) -> bool:
    """Return whether gzip is acceptable, and preferred at least as much as no encoding."""
    wishes = {name: quality for name, _, quality in _wishes(accept_encoding)}
    gzip = wishes.get("gzip", wishes.get("x-gzip", wishes.get("*", 0.0)))
    return gzip > 0 and gzip >= wishes.get("identity", 0.0)


def _wanted(accept: str, kind: str, subtype: str, version: str) -> tuple[float, int]:
    """Return quality and specificity of the closest media range; ``(0, 0)`` if none matches."""
    ranges = {f"{kind}/{subtype}": 3, f"{kind}/*": 2, "*/*": 1}
    fits = [
        (ranges[name] + ("version" in parameters), quality)
        for name, parameters, quality in _wishes(accept)
        if name in ranges and parameters.get("version", version) == version
    ]
    specificity, quality = max(fits, default=(0, 0.0))
    return (quality, specificity) if quality else (0.0, 0)


def _wishes(header: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yield name, parameters and quality of each valid element of ``header``."""
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip(' "') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name and 0 <= quality <= 1:
            yield name.lower(), parameters, quality


async def _within(seconds: float, verifying: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(verifying)  # other scrapes wait for it as well
    except TimeoutError:
        return False


async def _refusal(_request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else 500)
    headers = dict(getattr(error, "headers", None) or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return PlainTextResponse(f"{status} {status.phrase}\n", status, headers)


async def _crash(_request: Request, _error: Exception) -> Response:
    return _text("Internal error; see the log.\n", HTTPStatus.INTERNAL_SERVER_ERROR)


def _foreign(request: Request) -> bool:
    """Return whether another site's page sent this; only browsers send the headers that show it."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    own = {f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")}
    return site not in {"same-origin", "none"} or (origin is not None and origin not in own)


def _joined(request: Request, header: str) -> str:
    return ",".join(request.headers.getlist(header))


def _text(text: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return PlainTextResponse(text, status)

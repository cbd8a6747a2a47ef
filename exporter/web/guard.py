"""Checks before every path: rate, passwords, body size; and headers for browsers."""

import base64
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.clock import Clock
from exporter.web.hosts import is_allowed
from exporter.web.options import RateOptions
from exporter.web.passwords import Overloaded, Passwords
from exporter.web.rate import TokenBucket

MAX_BODY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 32 * 1024
CHALLENGE = 'Basic realm="chatbot-exporter", charset="UTF-8"'
SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Users, extra response headers and rate limit; without users, everybody has access."""

    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate: RateOptions | None = None


class Headers:
    """Adds the headers that keep browsers careful; the operator's own win over ours."""

    def __init__(self, app: ASGIApp, access: Callable[[], Access]) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                headers.update(self._access().headers)
            await send(message)

        await self._app(scope, receive, dressed)


class BodyLimit:
    """Refuses large bodies, and closes after any of unknown length: no path reads one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = RequestHeaders(scope=scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            await _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"Connection": "close"})(
                scope, receive, send
            )
        elif "transfer-encoding" in headers:
            await self._app(scope, receive, _closing(send))
        else:
            await self._app(scope, receive, send)


class Guard:
    """Lets through, within the rate, who knows a password; everybody where there are no users.

    Where there are no users, the ``Host`` must be one that no stranger's page can name.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Callable[[], Access],
        hosts: Callable[[], Collection[str]],
        clock: Clock,
    ) -> None:
        self._app = app
        self._access = access
        self._hosts = hosts
        self._bucket = TokenBucket(clock)
        self._passwords = Passwords()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = _origin_form(scope)
        headers = RequestHeaders(scope=scope)
        client, _port = scope.get("client") or ("", 0)
        refusal = await self._refusal(self._access(), headers, client)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(
        self, access: Access, headers: RequestHeaders, client: str
    ) -> ASGIApp | None:
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            return _refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {"Connection": "close"})
        if not access.users and not is_allowed(headers.get("host", ""), self._hosts()):
            return _refuse(HTTPStatus.MISDIRECTED_REQUEST, {})
        if not self._bucket.allows(access.rate):
            return _refuse(HTTPStatus.TOO_MANY_REQUESTS, {})
        try:
            welcome = not access.users or await self._known(access.users, headers, client)
        except Overloaded:
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        return (
            None if welcome else _refuse(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": CHALLENGE})
        )

    async def _known(self, users: Mapping[str, str], headers: RequestHeaders, client: str) -> bool:
        given = credentials(headers.get("authorization", ""))
        return given is not None and await self._passwords.match(users, *given, client)


def credentials(header: str) -> tuple[str, bytes] | None:
    """Return user and password of a ``Basic`` authorization header; None when it is not one."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except ValueError:  # not base64, not ASCII, not UTF-8
        return None


def _origin_form(scope: Scope) -> Scope:
    """Return ``scope`` with path and host apart where the request target is a whole URL.

    RFC 9112, 3.2.2: a server takes the absolute form, too, and its host instead of ``Host``.
    """
    scheme, mark, rest = scope["path"].partition("://")
    if not mark or scheme.lower() not in {"http", "https"}:
        return scope
    host, _, path = rest.partition("/")
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    headers = [(b"host", host.encode()), *others]
    return {**scope, "path": f"/{path}", "raw_path": None, "headers": headers}


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return closing


def _refuse(status: HTTPStatus, headers: Mapping[str, str]) -> PlainTextResponse:
    return PlainTextResponse(f"{status} {status.phrase}\n", status, dict(headers))

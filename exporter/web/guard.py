"""Checks before every path: host, rate, passwords, body size; and headers for browsers.

A page of a stranger's domain must not reach the exporter. With DNS rebinding a domain of an attacker
points at this machine, and a browser then treats the attacker's page as ours. Such a domain is a
public name, so addresses, names without a dot and names under reserved domains (RFC 6761, RFC 6762,
Kubernetes) are safe.
"""

import base64
import ipaddress
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.clock import MILLISECONDS, Clock
from exporter.web.options import RateOptions
from exporter.web.passwords import Overloaded, Passwords

MAX_BODY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 32 * 1024
CHALLENGE = 'Basic realm="chatbot-exporter", charset="UTF-8"'
RESERVED = (".localhost", ".local", ".internal", ".svc", ".test")
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


class TokenBucket:
    """A bucket over all requests, as the exporter toolkit's ``rate_limit``.

    Tokens come back with time; it is full at first, and again when the rate is changed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rate: RateOptions | None = None
        self._tokens = 0.0
        self._at = 0.0

    def allows(self, rate: RateOptions | None) -> bool:
        """Return whether one more request may pass now under ``rate``, and count it if so."""
        if rate is None or not rate.interval:
            return True
        self._refill(rate)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self, rate: RateOptions) -> None:
        now = self._clock.monotonic()
        if rate != self._rate:
            self._rate, self._tokens, self._at = rate, float(rate.burst), now
        earned = (now - self._at) * MILLISECONDS / rate.interval
        self._tokens, self._at = min(float(rate.burst), self._tokens + earned), now


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
        host = headers.get("host")  # None: HTTP/1.0, of health checks and of no browser
        if not access.users and host is not None and not is_allowed(host, self._hosts()):
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


def is_allowed(host: str, allowed: Collection[str]) -> bool:
    """Return whether the ``Host`` header ``host`` (with or without port) may be served.

    ``allowed`` are further names, in lower case and without port.
    """
    name = _name(host)
    if name in allowed or _is_address(name):
        return True
    return bool(name) and ("." not in name or name.endswith(RESERVED))


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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

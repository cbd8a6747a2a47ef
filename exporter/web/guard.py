"""Checks every request: host, rate, passwords, body size; adds headers for browsers.

A page from a foreign domain must not reach the exporter. With DNS rebinding, an attacker's domain
points at this machine, and a browser then treats the attacker's page as ours. Such a domain is a
public name, so addresses, names without a dot and names under reserved domains (RFC 6761, RFC 6762,
Kubernetes) are safe.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http import HTTPStatus

import bcrypt
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.clock import Clock
from exporter.http_client.detached import Detached
from exporter.model.samples import SECOND_MS
from exporter.web.webconfig import Access, RateOptions, cost_of

MAX_BODY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 32 * 1024
WAITING_CHECKS = 64
WAITING_OF_A_CLIENT = 4
BCRYPT_BYTES = 72  # bcrypt rejects longer passwords; older versions truncated them
_BODY = "C6UzMDM.H6dfI/f/IKcEeO7ZD2cZ0DSvYFWK.kS8m/Cx1T2hPj5Oa"  # salt and digest that no password matches
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


class TokenBucket:
    """A token bucket for all requests together, as in the exporter toolkit's ``rate_limit``.

    It is full at first, and again whenever the rate changes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rate: RateOptions | None = None
        self._tokens = 0.0
        self._at = 0.0

    def allows(self, rate: RateOptions) -> bool:
        """Return whether ``rate`` allows another request now, and count it if so."""
        if not rate.interval:
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
        earned = (now - self._at) * SECOND_MS / rate.interval
        self._tokens, self._at = min(float(rate.burst), self._tokens + earned), now


class Overloaded(Exception):
    """Too many passwords are waiting to be checked."""


class Passwords:
    """Compares passwords with bcrypt hashes, one at a time, off the event loop.

    A check cannot be cancelled, and a high cost takes minutes, so a stop does not wait for it.

    Only successes are cached, one per user and hash, so that guesses can neither fill the memory
    nor evict a scrape's entry. The cache is keyed with a secret of this process.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[tuple[str, str], bytes] = {}
        self._one = asyncio.Semaphore()
        self._apart = Detached()
        self._waiting: Counter[str] = Counter()

    async def match(
        self, users: Mapping[str, str], user: str, password: bytes, client: str = ""
    ) -> bool:
        """Return whether ``password`` belongs to ``user``; raise ``Overloaded`` under a flood.

        ``users`` maps at least one name to its hash. An unknown name takes as long as some known
        one. ``client`` is the sender's address: one sender cannot use up the turns of another.
        """
        hashed = users.get(user) or self._decoy(users, user)
        seal = hmac.digest(self._key, password, hashlib.sha256)
        if hmac.compare_digest(self._known.get((user, hashed), b""), seal):
            return True
        if not await self._check(password, hashed, client) or user not in users:
            return False
        self._known = {
            key: kept for key, kept in self._known.items() if users.get(key[0]) == key[1]
        }
        self._known[user, hashed] = seal
        return True

    async def _check(self, password: bytes, hashed: str, client: str) -> bool:
        if self._waiting[client] >= WAITING_OF_A_CLIENT or self._waiting.total() >= WAITING_CHECKS:
            raise Overloaded
        self._waiting[client] += 1
        try:
            async with self._one:
                key = object()  # unique, so that no two checks share a run
                return await self._apart(key, partial(_same, password, hashed))
        finally:
            self._waiting[client] -= 1
            self._waiting += Counter()  # drops clients without waiting checks

    def _decoy(self, users: Mapping[str, str], user: str) -> str:
        """Return a hash that no password matches, with the cost of one of ``users``.

        The name decides which one, so that the response time does not show whether a name exists.
        """
        costs = sorted(map(cost_of, users.values()))
        mark = int.from_bytes(hmac.digest(self._key, user.encode(), hashlib.sha256)[:8])
        return f"$2b${costs[mark % len(costs)]:02}${_BODY}"


class Guard:
    """Admits requests within the rate and with a valid password; without users, all requests.

    Without users, the ``Host`` must be one that no foreign page can have. Large bodies are refused,
    and after a body of unknown length the connection closes: no path reads one. Every response has
    headers that make browsers careful; the operator's own headers take precedence.
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
        access, headers = self._access(), Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    answer.setdefault(name, value)
                answer.update(access.headers)
                if "transfer-encoding" in headers:
                    answer["Connection"] = "close"
            await send(message)

        client, _port = scope.get("client") or ("", 0)
        refusal = _too_large(headers) or await self._refusal(access, headers, client)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, access: Access, headers: Headers, client: str) -> ASGIApp | None:
        host = headers.get("host")  # None: HTTP/1.0, which health checks use and browsers do not
        if not access.users and host is not None and not is_allowed(host, self._hosts()):
            return _refuse(HTTPStatus.MISDIRECTED_REQUEST)
        if not self._bucket.allows(access.rate):
            return _refuse(HTTPStatus.TOO_MANY_REQUESTS)
        given = credentials(headers.get("authorization", ""))
        try:
            welcome = not access.users or (
                given is not None and await self._passwords.match(access.users, *given, client)
            )
        except Overloaded:
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        return (
            None if welcome else _refuse(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": CHALLENGE})
        )


def credentials(header: str) -> tuple[str, bytes] | None:
    """Return the user and password of a ``Basic`` authorization header; None if it is not one."""
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

    ``allowed`` has further names, in lower case and without port.
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
    """Return ``scope`` with host and path split if the request target is a whole URL.

    RFC 9112, 3.2.2: a server must accept the absolute form, and use its host instead of ``Host``.
    """
    scheme, mark, rest = scope["path"].partition("://")
    if not mark or scheme.lower() not in {"http", "https"}:
        return scope
    host, _, path = rest.partition("/")
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    headers = [(b"host", host.encode()), *others]
    return {**scope, "path": f"/{path}", "raw_path": None, "headers": headers}


def _too_large(headers: Headers) -> ASGIApp | None:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        return _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"Connection": "close"})
    if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
        return _refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {"Connection": "close"})
    return None


def _refuse(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(f"{status} {status.phrase}\n", status, headers)


def _same(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed.encode())
    except ValueError:
        return False

"""Calls to vendors: deadlines, retries, pacing, typed errors; no secret in any message."""

import asyncio
import codecs
import email.utils
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from http import HTTPStatus
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec
import stamina
import stamina.instrumentation

from exporter import __version__
from exporter.clock import Clock
from exporter.errors import (
    ClaimLost,
    OutOfFiles,
    ProviderError,
    Refused,
    SchemaError,
    ServerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from exporter.http_client.detached import Blocking, inline
from exporter.http_client.transport import Request, Response, Transport, always
from exporter.model.samples import SECOND_MS

T = TypeVar("T")
K = TypeVar("K")

DEEPEST = 32
MOST_OBJECTS = 1_000_000
"""Objects and lists of one answer: of the empty ones, 16 MiB would decode to a gigabyte."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 5
READ_KEY_S = 5.0
REQUESTS_PER_TARGET = 2
USER_AGENT = f"chatbot-exporter/{__version__}"

EPOCH_S = 1e9
"""From here on (31 years), a number of seconds is not a wait but an instant since 1970."""

_SECONDS = re.compile(r"\d{1,15}(\.\d+)?", re.ASCII)
_QUOTED = re.compile(r"'.*'", re.DOTALL)  # msgspec repeats a wrong value of a closed set
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB].{2}\\u[dD][c-fC-F].{2}|(?P<half>u[dD][89abcdefABCDEF].{2})|.)"
)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_SIGNS = bytes(set(range(256)) - set(b'[]{}"'))


# The default hooks log the arguments of retried calls, which may hold keys here.
stamina.instrumentation.set_on_retry_hooks([])


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request; ``path`` is appended to ``base`` or, without one, to the target's base URL.

    ``label`` names the endpoint in messages, in place of a path that holds a secret. ``json`` or
    ``form`` is the body. ``signed`` adds the target's own headers. After the first attempt, up to
    ``retries`` more are made, only after transport and 5xx errors.
    """

    method: str
    path: str
    params: Mapping[str, str] | Sequence[tuple[str, str]] | None = None
    json: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None
    label: str | None = None
    signed: bool = True
    retries: int = 2

    @property
    def endpoint(self) -> str:
        """Return the name of this request in messages."""
        return f"{self.method} {self.label or self.path}"


class Pacer:
    """Spaces requests evenly, ``per_second`` of them; 0 means no limit."""

    def __init__(self, clock: Clock, per_second: float) -> None:
        self._clock = clock
        self._gap = 1 / per_second if per_second else 0.0
        self._free = 0.0
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Return when the next request may leave; a wait that is cancelled takes no place."""
        async with self._turn:
            ahead = self._free - self._clock.monotonic()
            if ahead > 0:
                await self._clock.sleep(ahead)
            self._free = max(self._free, self._clock.monotonic()) + self._gap


@dataclass(eq=False, repr=False, kw_only=True)
class ApiClient:
    """The client of one target, with which its provider reads.

    ``observe`` receives the code class and duration in seconds of every request. ``may_send`` is
    called before each request connects and before it is written; what it raises ends the poll.
    """

    base_url: str
    sign: Callable[[], Mapping[str, str]]
    transport: Transport
    clock: Clock
    requests_per_second: float
    observe: Callable[[str, float], None] = lambda _code, _seconds: None
    blocking: Blocking = inline
    may_send: Callable[[], None] = always

    def __post_init__(self) -> None:
        self._pacer = Pacer(self.clock, self.requests_per_second)
        self._gate = asyncio.Semaphore(REQUESTS_PER_TARGET)

    async def fetch(self, call: ApiCall, into: type[T]) -> T:
        """Return the answer to ``call``, decoded as ``into``; raise a ``ProviderError``."""
        return decode(await self.send(call), into, call.endpoint)

    async def send(self, call: ApiCall) -> bytes:
        """Return the body of a 200 answer to ``call``; raise a ``ProviderError`` otherwise."""
        return (await self.exchange(call)).body

    async def exchange(self, call: ApiCall) -> Response:
        """Return a 200 answer to ``call``, headers and all; raise a ``ProviderError`` otherwise."""
        async for attempt in attempts(call.retries + 1):
            with attempt:
                return await self._send_once(call)
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(self, call: ApiCall) -> Response:
        async with self._gate:
            await self._pacer.wait()
            message = await self._message(call)
            self.may_send()  # reading the key may have taken seconds
            started, code = self.clock.monotonic(), "error"
            try:
                answer = await self.transport.send(message, self.may_send)
                code = _code_class(answer.status)
            except (ClaimLost, OutOfFiles):
                code = ""  # nothing was sent
                raise
            finally:
                if code:
                    self.observe(code, self.clock.monotonic() - started)
        if answer.status != HTTPStatus.OK:
            raise self._error(call, answer)
        return answer

    async def _message(self, call: ApiCall) -> Request:
        content, own = None, {"Accept": "application/json", "User-Agent": USER_AGENT}
        if call.json is not None:
            content = msgspec.json.encode(call.json)
            own["Content-Type"] = "application/json"
        if call.form is not None:
            content = urlencode(call.form).encode()
            own["Content-Type"] = "application/x-www-form-urlencoded"
        keys = await self.read_key(self.sign) if call.signed else {}
        headers = merged_headers(own, keys, call.headers)
        return Request(call.endpoint, call.method, self._url(call), headers, content)

    async def read_key(self, read: Callable[[], K]) -> K:
        """Return what ``read`` makes of the key.

        Raises ``TimedOut`` if its file hangs, ``Unreachable`` if it cannot be read.
        """
        try:
            async with asyncio.timeout(READ_KEY_S):
                return await self.blocking((self, read), read)  # a run of this target only
        except TimeoutError:
            words = f"the key could not be read within {READ_KEY_S:g} s; does its disk hang?"
            raise TimedOut(words) from None  # or this machine was suspended
        except OSError as error:
            raise Unreachable(f"the key cannot be read: {error.strerror}") from None

    def _url(self, call: ApiCall) -> str:
        """Return the URL of ``call`` as one text: httpx would parse separate parts twice."""
        url = (call.base or self.base_url).rstrip("/") + call.path
        return f"{url}?{urlencode(call.params)}" if call.params else url

    def _error(self, call: ApiCall, answer: Response) -> ProviderError:
        status = answer.status
        message = f"{call.endpoint}: HTTP {status}"
        wait_s = retry_after_s(answer.headers.get("retry-after"), self.clock.now_ms())
        if status == HTTPStatus.FORBIDDEN and wait_s is not None:
            status = HTTPStatus.TOO_MANY_REQUESTS  # it says when to retry: the rate, not the key
        match status:
            case 401 | 403:
                refusal = f"{message}; the key is not accepted for this request"
                return Unauthorized(refusal, status=status)
            case 429:
                return Throttled(f"{message}; too many requests{_asked_to_wait(wait_s)}", wait_s)
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return ServerError(f"{message}{_asked_to_wait(wait_s)}", wait_s)
            case _ if status >= HTTPStatus.BAD_REQUEST:
                return Refused(message, status)
            case _:
                redirect = status >= HTTPStatus.MULTIPLE_CHOICES
                note = ", redirects are not followed" if redirect else ""
                return SchemaError(f"{message}; expected 200{note}")


def merged_headers(*given: Mapping[str, str]) -> httpx.Headers:
    """Return the headers of all; of those with one name, in whatever case, only the last.

    Blanks around a value, which are no part of it (RFC 9110, 5.5), would be refused when it is sent.
    """
    headers = httpx.Headers()
    for name, value in chain.from_iterable(each.items() for each in given):
        headers[name] = value.strip()
    return headers


def decode(body: bytes, into: type[T] | msgspec.json.Decoder[T], endpoint: str) -> T:
    """Return ``body`` decoded as ``into``; raise ``SchemaError`` with the path of the error."""
    decoder = into if isinstance(into, msgspec.json.Decoder) else msgspec.json.Decoder(into)
    body = body.removeprefix(codecs.BOM_UTF8)
    if body.count(b"{") + body.count(b"[") > MOST_OBJECTS:
        raise SchemaError(
            f"{endpoint}: the answer has more than {MOST_OBJECTS:,} objects and lists"
        )
    try:
        found = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{endpoint}: {_QUOTED.sub('…', str(error))}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        whole = with_whole_characters(body)
        if whole == body:
            raise SchemaError(f"{endpoint}: the answer is not JSON") from None
        return decode(whole, decoder, endpoint)
    if is_deeper(body, DEEPEST):
        raise SchemaError(f"{endpoint}: the answer is nested more than {DEEPEST} levels deep")
    return found


def with_whole_characters(body: bytes) -> bytes:
    """Return ``body`` with U+FFFD for each half of a character.

    Vendors cut users' texts after a number of UTF-16 units or bytes, even within a character.
    """
    paired = _ESCAPE.sub(lambda found: rb"\ufffd" if found["half"] else found[0], body)
    return paired.decode("utf-8", "replace").encode()


def is_deeper(body: bytes, limit: int) -> bool:
    """Return whether ``body``, which is JSON, nests lists and objects more than ``limit`` deep.

    Works on the whole body at once, since pages are large: without texts, and with one kind of
    bracket, JSON loses exactly its innermost level when empty pairs are removed.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    signs = body.translate(_ONE_KIND, _NO_SIGNS).replace(b'""', b"")
    brackets = b"".join(signs.split(b'"')[::2])
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def retry_after_s(header: str | None, now_ms: int) -> float | None:
    """Return the wait in seconds that a ``Retry-After`` header asks for, at least 0.

    It is a number of seconds, an instant in seconds or milliseconds since 1970, or an HTTP date
    (RFC 9110, 10.2.3); return None if it is absent or anything else.
    """
    wait_s = _seconds_from(header.strip(), now_ms / SECOND_MS) if header else None
    return None if wait_s is None else max(wait_s, 0.0)


def _seconds_from(text: str, now_s: float) -> float | None:
    if not _SECONDS.fullmatch(text):
        try:
            found = email.utils.parsedate_to_datetime(text)
            return found.replace(tzinfo=found.tzinfo or UTC).timestamp() - now_s
        except (ValueError, OverflowError):
            return None
    number = float(text)
    if number >= EPOCH_S * SECOND_MS:
        return number / SECOND_MS - now_s
    return number - now_s if number >= EPOCH_S else number


def _asked_to_wait(wait_s: float | None) -> str:
    return "" if wait_s is None else f", asked to wait {wait_s:.0f} s"


def _code_class(status: int) -> str:
    return str(status) if status in {401, 403, 404, 429} else f"{status // 100}xx"


def attempts(number: int) -> AsyncIterator[stamina.Attempt]:
    """Yield up to ``number`` attempts with waits between them, while the error is worth a retry."""
    return stamina.retry_context(
        on=_worth_another,
        attempts=number,
        timeout=None,
        wait_initial=FIRST_WAIT_S,
        wait_max=LONGEST_WAIT_S,
    )


def _worth_another(error: Exception) -> bool:
    match error:
        case ServerError():
            return error.retry_after_s is None
        case Unreachable() | TimedOut():
            return True
        case _:
            return False

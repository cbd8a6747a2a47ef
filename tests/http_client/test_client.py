"""Calls to vendors, against a transport that answers as scripted."""

import asyncio
import errno
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import httpx
import pytest

from exporter.clock import Clock
from exporter.errors import (
    ClaimLost,
    ExporterError,
    ProviderError,
    Refused,
    SchemaError,
    ServerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from exporter.http_client.client import (
    DEEPEST,
    LONGEST_WAIT_S,
    MOST_OBJECTS,
    ApiCall,
    ApiClient,
    decode,
    retry_after_s,
)
from exporter.http_client.transport import MAX_BODY_BYTES, TIMEOUT_S, Transport
from tests.support.virtual import START_MS, VirtualClock, run_virtual

Handler = Callable[[httpx.Request], httpx.Response]


def client_on(handler: Handler, clock: Clock, **more: Any) -> ApiClient:
    given: dict[str, Any] = {
        "sign": lambda: {"authorization": "canary-key"},
        "requests_per_second": 0,
    }
    network = Transport(httpx.MockTransport(handler))
    base = "https://vendor.test/v1"
    return ApiClient(base_url=base, transport=network, clock=clock, **(given | more))


def ask(handler: Handler, *, rps: float = 0, times: int = 1) -> tuple[list[Any], VirtualClock]:
    clock = VirtualClock()

    async def main() -> list[Any]:
        api = client_on(handler, clock, requests_per_second=rps)
        call = ApiCall("GET", "/usage", params={"a": "b"})
        return [await api.fetch(call, dict[str, int]) for _ in range(times)]

    return run_virtual(main(), clock), clock


def test_a_request_is_signed_and_decoded() -> None:
    seen: list[httpx.Request] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'\xef\xbb\xbf{"count": 3}')  # with a byte-order mark

    answers, _ = ask(vendor)

    assert answers == [{"count": 3}]
    assert str(seen[0].url) == "https://vendor.test/v1/usage?a=b"
    assert seen[0].headers["authorization"] == "canary-key"


async def test_a_header_is_sent_once_and_the_more_specific_one_is_sent() -> None:
    seen: list[httpx.Request] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}")

    clock = VirtualClock()

    api = client_on(vendor, clock, sign=lambda: {"accept": "a/target", "x-key": "target"})
    own = {"content-type": "application/vnd.api+json", "x-Key": "former", "X-Key": "call"}
    await api.send(ApiCall("POST", "/usage", json={}, headers=own))

    sent = seen[0].headers
    assert sent.get_list("content-type") == ["application/vnd.api+json"]
    assert sent.get_list("accept") == ["a/target"]
    assert sent.get_list("x-key") == ["call"]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (204, SchemaError, "; expected 200$"),
        (301, SchemaError, "; expected 200, redirects are not followed$"),
        (400, Refused, "$"),
        (401, Unauthorized, "; the key is not accepted"),
        (403, Unauthorized, "; the key is not accepted"),
        (404, Refused, "$"),
        (429, Throttled, "; too many requests$"),
        (500, ServerError, "$"),
        (503, ServerError, "$"),
    ],
)
def test_a_status_becomes_a_typed_failure(
    status: int, error: type[ProviderError], words: str
) -> None:
    with pytest.raises(error, match=f"^GET /usage: HTTP {status}{words}") as caught:
        ask(lambda _request: httpx.Response(status, text="canary-key in a body"))

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("status", "error"), [(403, Throttled), (503, ServerError)])
def test_who_names_a_time_is_not_asked_again_before_and_a_403_is_no_refused_key(
    status: int, error: type[ProviderError]
) -> None:
    calls: list[httpx.Request] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(status, headers={"Retry-After": "120"})

    with pytest.raises(error) as caught:
        ask(vendor)

    assert (len(calls), caught.value.retry_after_s) == (1, 120)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "the answer is not JSON"),
        (b"[1]", "Expected `object`, got `array`"),
        (b'{"count": "x"}', r"Expected `int`, got `str` - at `\$\[\.\.\.\]`"),
        (b"[" * 5000, "the answer is not JSON|Expected `object`"),
        (b"\xff\xfe", "the answer is not JSON"),
        (b" " * (MAX_BODY_BYTES + 1), "larger than 16 MiB"),
    ],
)
def test_a_wrong_body_is_a_schema_error_with_its_place(body: bytes, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        ask(lambda _request: httpx.Response(200, content=body))


ALERT = ssl.SSLError(1, "tlsv13 alert certificate required")
ALERT.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (httpx.ReadTimeout("slow"), TimedOut),
        (httpx.ConnectError("refused"), Unreachable),
        (httpx.RemoteProtocolError("reset"), Unreachable),
        (ALERT, Unreachable),
    ],
)
def test_transport_errors_are_retried_twice_then_typed(
    raised: Exception, error: type[ProviderError]
) -> None:
    calls: list[httpx.Request] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        raise raised

    with pytest.raises(error):
        ask(vendor)

    assert len(calls) == 3


async def drops() -> AsyncIterator[bytes]:
    for _ in range(12):
        await asyncio.sleep(10)  # noqa: TID251 - virtual
        yield b" "


def test_an_answer_that_comes_drop_by_drop_is_given_up_after_30_seconds_and_asked_for_again() -> (
    None
):
    answers = iter([httpx.Response(200, content=drops()), httpx.Response(200, json={"n": 1})])

    found, clock = ask(lambda _request: next(answers))

    assert found == [{"n": 1}]
    assert TIMEOUT_S <= clock.monotonic() <= TIMEOUT_S + LONGEST_WAIT_S


def test_a_server_error_that_passes_is_retried() -> None:
    answers = iter([httpx.Response(500), httpx.Response(502), httpx.Response(200, json={"n": 1})])

    found, _ = ask(lambda _request: next(answers))

    assert found == [{"n": 1}]


def test_requests_are_spaced() -> None:
    _, clock = ask(lambda _request: httpx.Response(200, json={}), rps=2, times=5)

    assert clock.monotonic() == pytest.approx(2.0)


async def test_a_request_that_is_given_up_while_it_waits_takes_no_place(
    clock: VirtualClock,
) -> None:
    sent_s = list[float]()

    def answer(_request: httpx.Request) -> httpx.Response:
        sent_s.append(clock.monotonic())
        return httpx.Response(200, json={})

    api, call = client_on(answer, clock, requests_per_second=0.1), ApiCall("GET", "/usage")
    await api.fetch(call, dict[str, int])
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await api.fetch(call, dict[str, int])
    await api.fetch(call, dict[str, int])

    assert sent_s == [0, pytest.approx(10)]


@pytest.mark.parametrize(
    ("error", "observed"),
    [
        (httpx.ReadError("reset"), ["error"]),
        (OSError(errno.EMFILE, "too many open files"), []),
        (ClaimLost("another replica may have the target"), []),
    ],
    ids=["sent", "no descriptor", "no claim"],
)
async def test_only_what_was_sent_is_counted(
    error: Exception, observed: list[str], clock: VirtualClock
) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        if isinstance(error, OSError):
            raise httpx.ConnectError("") from error
        raise error

    codes = list[str]()
    api = client_on(fail, clock, observe=lambda code, _seconds: codes.append(code))
    with pytest.raises(ExporterError):
        await api.send(ApiCall("GET", "/usage", retries=0))

    assert codes == observed


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        ("Tue, 03 Mar 2026 11:21:30 GMT", 90.0),
        ("Tue, 03 Mar 2026 11:00:00 GMT", 0.0),
        ("30.5", 30.5),
        (str(START_MS // 1000 + 45), 45.0),
        (str(START_MS + 45_000), 45.0),
        ("0", 0.0),
        ("soon", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_in_every_form(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, START_MS) == seconds


def test_a_date_of_an_unknown_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as machine:
        machine.setenv("TZ", "America/New_York")
        time.tzset()
        found = retry_after_s("Tue, 03 Mar 2026 11:21:30 -0000", START_MS)
    time.tzset()

    assert found == 90


def test_a_wrong_value_of_a_closed_set_is_not_repeated() -> None:
    with pytest.raises(SchemaError) as caught:
        decode(b'{"status": "what a user wrote"}', dict[str, Literal["ok"]], "GET /usage")

    assert "Invalid enum value" in str(caught.value)
    assert "user" not in str(caught.value)


@pytest.mark.parametrize("inner", ["1", '"[[]{"', '"\\\\"', '"\\"]"', '[{}, {"[": []}]'])
def test_an_answer_may_be_nested_only_so_deep(inner: str) -> None:
    depth = 3 if inner.startswith("[") else 0
    deep = "[" * (DEEPEST - depth) + inner + "]" * (DEEPEST - depth)

    assert decode(deep.encode(), object, "GET /usage")
    with pytest.raises(SchemaError, match="nested more than 32 levels deep"):
        decode(f"[{deep}]".encode(), object, "GET /usage")


@pytest.mark.parametrize("empty", ["{}", "[]"])
def test_an_answer_may_hold_only_so_many_objects(empty: str) -> None:
    """Empty ones are three bytes each as sent, and a hundred or more in memory."""
    most = ",".join([empty] * (MOST_OBJECTS - 1))
    assert len(decode(f"[{most}]".encode(), list[Any], "GET /usage")) == MOST_OBJECTS - 1
    with pytest.raises(SchemaError, match="more than 1,000,000 objects and lists"):
        decode(f"[{most},{empty}]".encode(), list[Any], "GET /usage")


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\ude00 cut", "\ufffd cut"),
        (rb"\uD83D\ud83d\uDE00", "\ufffd\N{GRINNING FACE}"),
        (rb"\\ud83d \"\ud83d\" \n", '\\ud83d "\ufffd" \n'),
        ("é".encode()[:1], "\ufffd"),
    ],
)
def test_half_a_character_in_a_text_spoils_no_answer(text: bytes, decoded: str) -> None:
    assert decode(b'{"name": "%b"}' % text, dict[str, str], "GET /usage") == {"name": decoded}
    assert decode(b'[1, "%b"]' % text, tuple[int, Any], "GET /usage") == (1, decoded)

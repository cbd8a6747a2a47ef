"""Answers of a vendor with wrong values in them, always the same ones."""

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx

CANARY = "what a user wrote"
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, -0.0, 1.5, 2**53 + 1, 2**64, 10**30, 1e300, 253402300800, -62135596801),
    *("", CANARY, "12", "-3", "1e2", "1_0", "NaN", "\ud800", "\0", "\xe9" * 300),
    *("2026-02-30", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    *([], {}, [None], [[[[]]]], [CANARY], {CANARY: CANARY}),
)
LITERALS = (
    *(b"NaN", b"-Infinity", b"1e400", b"1e99999999999999999999", b"0.1e-99999999999", b"1" * 400),
    *(b'"s\xe9"', b'"s\\ud83d"', b"{", b'"'),
)
PLACE = "the place of a literal"


class Mutated(httpx.ASGITransport):
    """Leads to a simulator, and puts wrong values into one of its first three answers, or all.

    Then only so many are answered, since it might lead a reader on for ever.
    """

    def __init__(self, service: Any, rng: random.Random) -> None:
        super().__init__(service)
        self._rng = rng
        self._wrong = set(rng.choice([(1,), (2,), (3,), range(99)]))
        self._asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._asked += 1
        if self._asked > 40:
            return httpx.Response(429)
        response = await super().handle_async_request(request)
        if self._asked not in self._wrong:
            return response
        body = await response.aread()
        if self._rng.random() < 0.1:
            body = body[: self._rng.randint(0, len(body))]
        for _ in range(self._rng.randint(1, 3)):
            body = _mutated(self._rng, body)
        return httpx.Response(response.status_code, content=body)


def _mutated(rng: random.Random, body: bytes) -> bytes:
    """Return ``body`` with one value replaced, left out, repeated, renamed or put elsewhere."""
    try:
        answer = json.loads(body)
    except (ValueError, OverflowError):
        return body
    places = list(_places(answer))
    if not places or rng.random() < 0.05:
        return json.dumps(rng.choice(VALUES)).encode()
    holder, key = rng.choice(places)
    elsewhere, other = rng.choice(places)
    literal = rng.choice(LITERALS)
    match rng.choice(["value", "value", "literal", "literal", "gone", "again", "renamed", "moved"]):
        case "value":
            holder[key] = rng.choice(VALUES)
        case "literal":
            holder[key] = PLACE
        case "gone":
            del holder[key]
        case "again" if isinstance(holder, list):
            holder.append(holder[key])
        case "renamed" if isinstance(holder, dict):
            holder[f"{key}X"] = holder.pop(key)
        case _:
            holder[key] = json.loads(json.dumps(elsewhere[other]))
    return json.dumps(answer).encode().replace(json.dumps(PLACE).encode(), literal)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what holds a value, and its name or number there; of a long list only some."""
    members: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = [each for each in enumerate(value) if each[0] < 4 or each[0] == len(value) - 1]
    for key, inner in members:
        yield value, key
        yield from _places(inner)

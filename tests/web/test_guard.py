"""Passwords, rates and hosts: who is let through, at what cost, and what guessing gains."""

import asyncio
import base64
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import bcrypt
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web import guard
from exporter.web.app import build
from exporter.web.guard import (
    WAITING_CHECKS,
    WAITING_OF_A_CLIENT,
    Overloaded,
    Passwords,
    TokenBucket,
    credentials,
    is_allowed,
)
from exporter.web.webconfig import Access, RateOptions
from tests.support.virtual import VirtualClock
from tests.web.served import ask, sources


def hashed(password: str, prefix: bytes = b"2b") -> str:
    salt = bcrypt.gensalt(rounds=4)
    return bcrypt.hashpw(password.encode(), salt).replace(b"$2b$", b"$" + prefix + b"$").decode()


USERS = {"alice": hashed("wonderland"), "bob": hashed("builder")}


def get(
    path: str = "/metrics",
    access: Access = Access(),  # noqa: B008 - frozen
    method: str = "GET",
    **request: Any,
) -> httpx.Response:
    app = build(sources(hosts=lambda: {"metrics.example.com"}), lambda: access)
    return ask(app, method, path, **request)


class Counting(Passwords):
    """Counts how often bcrypt runs."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[str] = []

    async def _check(self, password: bytes, hashed: str, client: str) -> bool:
        self.checked.append(hashed)
        return await super()._check(password, hashed, client)


def tries(users: Mapping[str, str], *given: tuple[str, bytes]) -> tuple[list[bool], list[str]]:
    async def main() -> tuple[list[bool], list[str]]:
        counting = Counting()
        return [await counting.match(users, *each) for each in given], counting.checked

    return asyncio.run(main())


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/api/v1/status", "/nope"])
def test_every_path_asks_for_a_password(path: str) -> None:
    answer = get(path, Access(USERS))

    assert (answer.status_code, answer.text) == (401, "401 Unauthorized\n")
    assert answer.headers["www-authenticate"] == 'Basic realm="chatbot-exporter", charset="UTF-8"'
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        (("alice", "wonderland"), 200),
        (("bob", "builder"), 200),
        (("alice", "builder"), 401),
        (("alice", ""), 401),
        (("Alice", "wonderland"), 401),
        (("nobody", "wonderland"), 401),
        (("", ""), 401),
    ],
)
def test_who_knows_the_password_gets_in(auth: tuple[str, str], status: int) -> None:
    assert get("/metrics", Access(USERS), auth=auth).status_code == status


@pytest.mark.parametrize(
    ("users", "guesses", "answers", "checks"),
    [
        *(
            ({"alice": hashed("wonderland", prefix)}, [b"wonderland", b"wonder"], [True, False], 2)
            for prefix in (b"2a", b"2b", b"2y")
        ),
        (  # a published hash
            {"alice": "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
            [b"U*U"],
            [True],
            1,
        ),
        # a long password is cut where bcrypt cuts it
        ({"alice": hashed("x" * 72)}, [b"x" * 100, b"x" * 71], [True, False], 2),
        (USERS, [b"wonderland"] * 5, [True] * 5, 1),
        (USERS, [b"wonderland", b"wrong", b"wrong"], [True, False, False], 3),
    ],
)
def test_the_right_password_costs_bcrypt_once_and_a_wrong_one_each_time(
    users: dict[str, str], guesses: list[bytes], answers: list[bool], checks: int
) -> None:
    found, checked = tries(users, *(("alice", guess) for guess in guesses))

    assert (found, len(checked)) == (answers, checks)


def test_an_unknown_name_costs_as_much_as_that_of_some_user_and_always_the_same() -> None:
    users = {"a": hashed("x"), "b": bcrypt.hashpw(b"y", bcrypt.gensalt(rounds=5)).decode()}
    names = [f"guess-{n}" for n in range(40)]

    known, checked = tries(users, *[(name, b"wrong") for name in [*names, *names]])

    costs = [each.split("$")[2] for each in checked]
    assert known == [False] * 80
    assert set(costs) == {"04", "05"}
    assert costs[:40] == costs[40:]


@pytest.mark.real_time
async def test_a_changed_hash_ends_the_old_password() -> None:
    known = Passwords()
    old, new = {"alice": hashed("old")}, {"alice": hashed("new")}
    asked = [(old, b"old"), (new, b"old"), (new, b"new"), (old, b"new")]

    found = [await known.match(users, "alice", password) for users, password in asked]
    assert found == [True, False, True, False]


@pytest.mark.parametrize(
    ("guesses", "clients", "checked"),
    [(500, 1, WAITING_OF_A_CLIENT), (WAITING_CHECKS + 5, WAITING_CHECKS + 5, WAITING_CHECKS)],
)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.real_time
async def test_a_flood_of_guesses_is_refused_and_others_have_their_turn(
    guesses: int, clients: int, checked: int, *, known: bool
) -> None:
    passwords = Passwords()
    scrape = partial(passwords.match, USERS, "alice", b"wonderland", "10.0.0.1")
    assert not known or await scrape()
    flood = [
        asyncio.ensure_future(passwords.match(USERS, "bob", b"%d" % n, f"10.6.{n % clients}"))
        for n in range(guesses)
    ]
    await asyncio.sleep(0)  # noqa: TID251 - the flood is there first
    passes = (known or clients == 1) and await scrape()
    done, _ = await asyncio.wait(flood)

    refused = [each for each in done if isinstance(each.exception(), Overloaded)]
    assert len(refused) == guesses - checked
    assert passes is (known or clients == 1)


def test_the_end_waits_for_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    released, checked = threading.Event(), list[str]()

    def check(_password: bytes, hashed: str) -> bool:
        released.wait(5)
        checked.append(hashed)
        return False

    async def main() -> None:
        guessing = asyncio.ensure_future(Passwords().match(USERS, "alice", b"guess"))
        await asyncio.sleep(0)  # noqa: TID251 - the check has begun
        guessing.cancel()

    monkeypatch.setattr(guard, "_same", check)
    asyncio.run(main())
    ended_before = not checked
    released.set()

    assert ended_before


def test_an_overloaded_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WAITING_CHECKS", 0)

    answer = get("/metrics", Access(USERS), auth=("alice", "wonderland"))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic(b"alice:won:der"), ("alice", b"won:der")),
        (basic(b"alice:wonder").replace("Basic", "bASIC"), ("alice", b"wonder")),
        (basic("élise:château".encode()), ("élise", "château".encode())),
        (basic(b":"), ("", b"")),
        (basic(b"alice"), None),
        (basic(b"\xff:x"), None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic YWxpY2U6d29uZGVy YWxp", None),
        ("Bearer YWxpY2U6d29uZGVy", None),
        ("", None),
    ],
)
def test_only_basic_credentials_are_read(header: str, expected: tuple[str, bytes] | None) -> None:
    assert credentials(header) == expected


@given(st.text(max_size=100))
def test_no_authorization_header_breaks_the_guard(token: str) -> None:
    assert credentials(f"Basic {token}") is None or ":" in base64.b64decode(token).decode("latin-1")


def test_the_operators_headers_win_over_ours() -> None:
    own = {"X-Frame-Options": "sameorigin", "X-XSS-Protection": "1"}

    headers = get("/", Access(headers=own)).headers

    assert headers.get_list("x-frame-options") == ["sameorigin"]
    assert headers["x-xss-protection"] == "1"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_rate_lets_a_burst_through_and_then_one_an_interval() -> None:
    clock = VirtualClock()
    bucket, rate = TokenBucket(clock), RateOptions(burst=2, interval="1s")

    at_once = [bucket.allows(rate) for _ in range(3)]
    clock.advance(1)
    after_one = [bucket.allows(rate) for _ in range(2)]
    clock.advance(60)
    after_all = [bucket.allows(rate) for _ in range(3)]

    assert at_once == [True, True, False]
    assert after_one == [True, False]
    assert after_all == [True, True, False]
    assert all(bucket.allows(RateOptions()) for _ in range(1000))


def test_beyond_the_rate_is_429() -> None:
    access = Access(rate=RateOptions(burst=1, interval="1s"))
    app = build(sources(), lambda: access, VirtualClock())

    statuses = [ask(app, "GET", "/-/healthy").status_code for _ in range(2)]

    assert statuses == [200, 429]


ALLOWED = (
    *("localhost", "localhost:10877", "LOCALHOST:10877", "127.0.0.1:10877", "[::1]:10877"),
    *("10.1.2.3", "exporter:10877", "exporter.monitoring.svc:10877", "host.local."),
    *("exporter.monitoring.svc.cluster.local", "metrics.example.com", "metrics.example.com:443"),
)
STRANGERS = (
    *("attacker.example", "attacker.example:10877", "127.0.0.1.attacker.example", ""),
    *("localhost.attacker.example", "x.metrics.example.com", "[attacker.example]:1"),
)


@pytest.mark.parametrize("host", [*ALLOWED, *STRANGERS])
def test_addresses_private_names_and_listed_names_are_allowed_and_no_others(host: str) -> None:
    assert is_allowed(host, {"metrics.example.com"}) is (host in ALLOWED)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/metrics"), ("GET", "/api/v1/status"), ("POST", "/-/reload")],
)
def test_a_strangers_host_is_refused_on_every_path(method: str, path: str) -> None:
    stranger = "attacker.example:10877"

    refused = get(path, method=method, headers={"Host": stranger, "Origin": f"http://{stranger}"})

    assert refused.status_code == 421


def test_a_listed_host_is_served_and_so_is_any_to_who_knows_a_password() -> None:
    listed, stranger = {"Host": "metrics.example.com"}, {"Host": "attacker.example"}
    known = ("alice", "wonderland")

    assert get(headers=listed).status_code == 200
    assert get(access=Access(USERS), headers=stranger).status_code == 401
    assert get(access=Access(USERS), headers=stranger, auth=known).status_code == 200


def test_headers_over_32_kib_are_refused_even_in_one_segment() -> None:
    assert get(headers={"X-Padding": "x" * 30_000}).status_code == 200
    assert get(headers={"X-Padding": "x" * 100_000}).status_code == 431

"""A fake of Xenioo's statistics API: the token call, account and bot statistics, receipts."""

import hashlib
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Service
from exporter.simulator.traffic import Traffic
from exporter.simulator.xenioo_rows import (
    ACCOUNT_TYPES,
    BOT_TYPES,
    BOTS,
    FORMS,
    ROW_MODES,
    Bot,
    Scope,
    rows,
)
from exporter.simulator.xenioo_throttle import Throttle

ACCOUNT_KEY = "5f0c1a2b-3d4e-4f50-8a6b-7c8d9e0f1a2b"
ACCOUNT = "account"
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
LIFETIME_MINUTES = 60
MOST_DAYS = 30

MODES = ROW_MODES | {
    "token_v1",  # {"Token": …, "Expires": 60}
    "token_expire",  # {"token": …, "expire": 60}
    "free_account",  # the token call is refused with 403
    "revoked",  # the token of this call is not known any more
    "expired_status",  # status=400 for a token that is not accepted, where it is 401 otherwise
    "auth_counts",  # a call whose token is not accepted uses up the hour
    "throttle",  # window=sliding|clock, restart=True|False, status, body=empty|text|json
    "unthrottled",  # every call is answered
    "shared_budget",  # receipts use up the hour of the statistics
    "bad_request_status",  # status=404 for an unknown type, mode or number of days
    "literal_only",  # a percent-encoded path is not found
}

Budget = tuple[str, float]
"""Whose calls are counted together, and how much of the hour lies between two."""


class Tokens:
    """Tokens by what they stand for: the account, or one bot's key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._owners: dict[str, tuple[str, int]] = {}

    def issue(self, owner: str) -> str:
        """Return a new token, good for an hour."""
        text = f"{len(self._owners)}/{owner}/{self._clock.now_ms()}"
        token = hashlib.blake2b(text.encode(), digest_size=24).hexdigest()
        ends_ms = self._clock.now_ms() + LIFETIME_MINUTES * MINUTE_MS
        self._owners[token] = (owner, ends_ms)
        return token

    def owner(self, call: Call) -> str | None:
        """Return what the token of ``call`` stands for, None where it stands for nothing now."""
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        if "revoked" in call.faults:
            self._owners.pop(token, None)
        owner, ends_ms = self._owners.get(token, ("", 0))
        return owner if call.now_ms < ends_ms else None


class Account:
    """One account with its bots, its tokens and its calls so far."""

    def __init__(self, clock: Clock, traffic: Traffic, key: str, period_ms: int) -> None:
        self._traffic = traffic
        self._key = key
        self._tokens = Tokens(clock)
        self._throttle = Throttle(period_ms)

    async def authorize(self, call: Call) -> Answer:
        """Answer the token call, for an account or for one bot."""
        match call.body:
            case {"AccountAPIKey": str(key), "BotAPIKey": str(bot), "BotAPISecret": str(secret)}:
                known = any((one.key, one.secret) == (bot, secret) for one in BOTS)
                owner = bot
            case {"AccountAPIKey": str(key)}:
                known, owner = True, ACCOUNT
            case _:
                raise Refusal(400, "AccountAPIKey is required")
        if key != self._key or not known:
            raise Refusal(404)
        if "free_account" in call.faults:
            raise Refusal(403)
        token_name, expiry_name = _token_names(call.faults)
        return Answer({token_name: self._tokens.issue(owner), expiry_name: LIFETIME_MINUTES})

    async def account_statistics(self, call: Call) -> Answer:
        """Answer statistics of all bots, or of the one whose key is in the path."""
        self._admit(call, ACCOUNT, (ACCOUNT, 1))
        return self._statistics(call, _bots(call), ACCOUNT_TYPES)

    async def bot_statistics(self, call: Call) -> Answer:
        """Answer statistics of the bot that the token is for."""
        bot = self._bot(call)
        self._admit(call, bot.key, (bot.key, 0.5))
        return self._statistics(call, (bot,), BOT_TYPES)

    async def account_receipts(self, call: Call) -> Answer:
        """Answer delivery receipts of the account, of which there are none."""
        shared = "shared_budget" in call.faults
        self._admit(call, ACCOUNT, (ACCOUNT if shared else "receipts", 1))
        _bots(call)
        return Answer([])

    async def bot_receipts(self, call: Call) -> Answer:
        """Answer delivery receipts of the bot that the token is for, of which there are none."""
        bot = self._bot(call)
        self._admit(call, bot.key, (f"receipts/{bot.key}", 0.5))
        return Answer([])

    def _bot(self, call: Call) -> Bot:
        owner = self._tokens.owner(call)
        found = [bot for bot in BOTS if bot.key == owner]
        if not found:
            raise _not_accepted(call)
        return found[0]

    def _admit(self, call: Call, owner: str, budget: Budget) -> None:
        if "literal_only" in call.faults and "%" in call.raw_path:
            raise Refusal(404)
        rule = call.faults.get("throttle", {})
        if self._tokens.owner(call) != owner:
            if "auth_counts" in call.faults:
                self._throttle.admits(*budget, call.now_ms, rule)
            raise _not_accepted(call)
        if call.headers.get("content-type") != "application/json":
            raise Refusal(400, "Content-Type must be application/json")
        admitted = self._throttle.admits(*budget, call.now_ms, rule)
        if not admitted and "unthrottled" not in call.faults:
            raise _throttled(rule)

    def _statistics(self, call: Call, bots: tuple[Bot, ...], known: frozenset[int]) -> Answer:
        zone = ZoneInfo(call.faults.get("zone", {}).get("of", "UTC"))
        scope = Scope(
            call.now_ms, bots, _types(call, known), _mode(call), _days(call), zone, call.faults
        )
        found = rows(self._traffic, scope)
        return Answer(found, found)


def build(
    clock: Clock, traffic: Traffic, *, key: str = ACCOUNT_KEY, period_ms: int = HOUR_MS
) -> Service:
    """Return the fake of one account; its modes are ``MODES``, its bots ``BOTS``.

    ``period_ms`` is what lies between two account calls.
    """
    account = Account(clock, traffic, key, period_ms)
    base = "/analytics/statistics"
    return Service(
        clock=clock,
        traffic=traffic,
        routes=[
            Route("POST", "/authorization/integration", account.authorize),
            Route("GET", base + "/account/{bot}/{types}/{mode}/{days}", account.account_statistics),
            Route("GET", base + "/dlr/account/{bot}/{mode}/{days}", account.account_receipts),
            Route("GET", base + "/dlr/{mode}/{days}", account.bot_receipts),
            Route("GET", base + "/{types}/{mode}/{days}", account.bot_statistics),
        ],
        faults=Faults(frozenset(MODES)),
        secrets=[key, *(text for bot in BOTS for text in (bot.key, bot.secret))],
        target=lambda url: {
            "provider": "xenioo",
            "account_key": key,
            "service_url": url,
            "base_url": url,
        },
    )


def _token_names(modes: Mapping[str, Any]) -> tuple[str, str]:
    if "token_v1" in modes:
        return "Token", "Expires"
    return "token", "expire" if "token_expire" in modes else "expires"


def _not_accepted(call: Call) -> Refusal:
    return Refusal(call.faults.get("expired_status", {}).get("status", 401))


def _throttled(rule: Mapping[str, Any]) -> Refusal:
    bodies = {"empty": " ", "text": "One call per hour.", "json": None}
    return Refusal(rule.get("status", 429), "One call per hour", bodies[rule.get("body", "json")])


def _bad_request(call: Call, reason: str) -> Refusal:
    return Refusal(call.faults.get("bad_request_status", {}).get("status", 400), reason)


def _bots(call: Call) -> tuple[Bot, ...]:
    wanted = call.segments["bot"]
    found = tuple(bot for bot in BOTS if wanted in ("*", bot.key))
    if not found:
        raise Refusal(404)
    return found


def _types(call: Call, known: frozenset[int]) -> tuple[int, ...]:
    given = call.segments["types"].split(",")
    if not all(each.isdecimal() and int(each) in known for each in given):
        raise _bad_request(call, "unknown type")
    return tuple(int(each) for each in given)


def _mode(call: Call) -> str:
    mode = str(call.segments["mode"])
    if mode not in FORMS:
        raise _bad_request(call, "unknown group mode")
    return mode


def _days(call: Call) -> int:
    days = call.segments["days"]
    if not days.isdecimal() or not 1 <= int(days) <= MOST_DAYS:
        raise _bad_request(call, "days must be from 1 to 30")
    return int(days)

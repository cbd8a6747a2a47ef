"""A simulator of Xenioo's statistics API: the token call and the statistics of an account."""

import hashlib
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Service
from exporter.simulator.times import HOUR_MS
from exporter.simulator.traffic import Traffic
from exporter.simulator.xenioo_rows import BOTS, ROW_MODES, StatisticsScope, rows

ACCOUNT_KEY = "5f0c1a2b-3d4e-4f50-8a6b-7c8d9e0f1a2b"
LIFETIME_MINUTES = 60

MODES = ROW_MODES | {
    "token_v1",  # {"Token": …, "Expires": 60}
    "token_expire",  # {"token": …, "expire": 60}
    "free_account",  # the token call is refused with 403
    "revoked",  # the token of this call is not known any more
    "auth_counts",  # a call whose token is not accepted uses up the hour
    "throttle",  # window=sliding|clock, restart=True|False, status, body=empty|text|json
    "unthrottled",  # every call is answered
}


class StatisticsPath(msgspec.Struct):
    """What is asked for, as the path says it."""

    bot: str
    types: Annotated[str, msgspec.Meta(pattern=r"^(\d|1[0-7])(,(\d|1[0-7]))*$")]
    mode: Literal["hour", "day"]
    days: Annotated[int, msgspec.Meta(ge=1, le=30)]


class Account:
    """One account with its tokens and its calls so far; ``period_ms`` is its hour."""

    def __init__(self, clock: Clock, traffic: Traffic, period_ms: int) -> None:
        self._clock = clock
        self._traffic = traffic
        self._period_ms = period_ms
        self._last_ms: int | None = None
        self._tokens: dict[str, int] = {}

    async def authorize(self, call: Call) -> Answer:
        """Answer the token call."""
        if not isinstance(call.body, dict) or not call.body.get("AccountAPIKey"):
            raise Refusal(400, "AccountAPIKey is required")
        if call.body["AccountAPIKey"] != ACCOUNT_KEY:
            raise Refusal(404)
        if "free_account" in call.faults:
            raise Refusal(403)
        names = "token", "expire" if "token_expire" in call.faults else "expires"
        if "token_v1" in call.faults:
            names = "Token", "Expires"
        values = self._new_token(), LIFETIME_MINUTES
        return Answer(dict(zip(names, values, strict=True)))

    async def statistics(self, call: Call) -> Answer:
        """Answer statistics of all bots, or of the one whose key is in the path."""
        self._admit(call)
        path = call.read_segments(StatisticsPath)
        bots = tuple(bot for bot in BOTS if path.bot in ("*", bot.key))
        if not bots:
            raise Refusal(404)
        scope = StatisticsScope(
            now_ms=call.now_ms,
            bots=bots,
            types=tuple(map(int, path.types.split(","))),
            mode=path.mode,
            days=path.days,
            zone=ZoneInfo(call.option("zone", "of", "UTC")),
            modes=call.faults,
        )
        found = rows(self._traffic, scope)
        return Answer(found, found)

    def _new_token(self) -> str:
        text = f"{len(self._tokens)}/account/{self._clock.now_ms()}"
        token = hashlib.blake2b(text.encode(), digest_size=24).hexdigest()
        self._tokens[token] = self._clock.now_ms() + LIFETIME_MINUTES * 60_000
        return token

    def _admit(self, call: Call) -> None:
        if not self._accepts_token(call):
            if "auth_counts" in call.faults:
                self._is_in_time(call)
            raise Refusal(401)
        if call.headers.get("content-type") != "application/json":
            raise Refusal(400, "Content-Type must be application/json")
        if not self._is_in_time(call) and "unthrottled" not in call.faults:
            bodies = {"empty": " ", "text": "One call per hour.", "json": None}
            body = bodies[call.option("throttle", "body", "json")]
            raise Refusal(call.option("throttle", "status", 429), "One call per hour", body)

    def _accepts_token(self, call: Call) -> bool:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        if "revoked" in call.faults:
            self._tokens.pop(token, None)
        return call.now_ms < self._tokens.get(token, 0)

    def _is_in_time(self, call: Call) -> bool:
        """Return whether an hour has passed since the last call, and remember this one.

        ``window`` is ``sliding``, from call to call, or ``clock``, one in each; ``restart`` says
        whether a refused call counts.
        """
        now_ms, last_ms, period_ms = call.now_ms, self._last_ms, self._period_ms
        if last_ms is None:
            free = True
        elif call.option("throttle", "window", "sliding") == "clock":
            free = last_ms // period_ms < now_ms // period_ms
        else:
            free = now_ms - last_ms >= period_ms
        if free or call.option("throttle", "restart", default=True):
            self._last_ms = now_ms
        return free


def build(clock: Clock, traffic: Traffic, *, period_ms: int = HOUR_MS) -> Service:
    """Return the simulator of one account; its modes are ``MODES``, its bots ``BOTS``.

    ``period_ms`` is what lies between two statistics calls.
    """
    account = Account(clock, traffic, period_ms)
    path = "/analytics/statistics/account/{bot}/{types}/{mode}/{days}"
    return Service(
        clock=clock,
        traffic=traffic,
        routes=[
            Route("POST", "/authorization/integration", account.authorize),
            Route("GET", path, account.statistics),
        ],
        faults=Faults(MODES),
        secrets=[ACCOUNT_KEY, *(bot.key for bot in BOTS)],
        target=lambda url: {
            "provider": "xenioo",
            "account_key": ACCOUNT_KEY,
            "service_url": url,
            "base_url": url,
        },
    )

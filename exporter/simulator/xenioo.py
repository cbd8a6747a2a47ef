"""A simulator of Xenioo's statistics API: tokens, and values by group, bot, channel and event."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import DAY_MS, HOUR_MS, Kind
from exporter.simulator.server import Answer, Call, Refusal, Service
from exporter.simulator.traffic import Traffic, Window

CHANNELS = {"": "Web", "web": "Web", "whatsapp": "WhatsApp", "messenger": "Facebook"} | {
    "telegram": "Telegram"
}
FORMS = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d"}


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot of the account; the second one gets what happens in the environment ``staging``."""

    key: str
    name: str


BOTS = (Bot("Kq7RtZ2mXw9LpV4s", "Shop bot"), Bot("Hn3YcB8vFd6JgT1e", 'Größe "XL" 👟'))


class StatisticsPath(msgspec.Struct):
    """The request, as in its path."""

    bot: str
    types: Annotated[str, msgspec.Meta(pattern=r"^(\d|1[0-7])(,(\d|1[0-7]))*$")]
    mode: Literal["hour", "day"]
    days: Annotated[int, msgspec.Meta(ge=1, le=30)]


@dataclass(frozen=True, slots=True)
class StatisticsScope:
    """The request with its bots and time zone."""

    call: Call
    path: StatisticsPath
    bots: tuple[Bot, ...]
    zone: tzinfo

    @property
    def window(self) -> Window:
        """Return the requested days, up to this instant."""
        now_ms = self.call.now_ms
        if "rolling_days" in self.call.faults:
            return now_ms - self.path.days * DAY_MS, now_ms + 1
        return self.midnight(now_ms, 1 - self.path.days), now_ms + 1

    def local_days(self) -> Iterator[Window]:
        """Yield the window in local days, so that all events share each generated hour."""
        start_ms, end_ms = self.window
        while start_ms < end_ms:
            until_ms = min(self.midnight(start_ms, 1), end_ms)
            yield start_ms, until_ms
            start_ms = until_ms

    def midnight(self, at_ms: int, days: int) -> int:
        """Return the start of the day that is ``days`` after that of ``at_ms``."""
        day = self.local(at_ms).date() + timedelta(days=days)
        return round(datetime.combine(day, time(), self.zone).timestamp() * 1000)

    def local(self, at_ms: int) -> datetime:
        """Return an instant in the account's time zone."""
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self.zone)

    def group(self, at_ms: int) -> str:
        """Return the label of the group that an instant belongs to."""
        return self.local(at_ms).strftime(FORMS[self.path.mode])


Place = tuple[str, str, str]
"""A group's label, the key of a bot, the name of a channel."""


Measure = Callable[[StatisticsScope, Window], Mapping[Place, float]]


def _count(*kinds: Kind, **only: str) -> Measure:
    """Return a measure of how often any of ``kinds`` happened."""

    def measure(scope: StatisticsScope, window: Window) -> Counter[Place]:
        counts: Counter[Place] = Counter()
        for kind in kinds:
            for place, _, number in _sums(scope, window, kind, **only):
                counts[place] += number
        return counts

    return measure


def _users(kind: Kind) -> Measure:
    """Return a measure of the number of distinct users."""

    def measure(scope: StatisticsScope, window: Window) -> Counter[Place]:
        sums = _sums(scope, window, kind, "user")
        found = {(place, user) for place, user, _ in sums}
        return Counter(place for place, _ in found)

    return measure


def _average(factor: float, of: Kind, per: Kind) -> Measure:
    """Return a measure of an invented average: ``factor`` for each ``of``, per each ``per``."""

    def measure(scope: StatisticsScope, window: Window) -> dict[Place, float]:
        found, every = (_count(kind)(scope, window) for kind in (of, per))
        return {
            place: round(factor * found.get(place, 0) / number, 2)
            for place, number in every.items()
        }

    return measure


EVENTS: Mapping[str, Measure] = {
    "New User": _count(Kind.NEW_USER),
    "Returning User": _users(Kind.RETURNING_USER),
    "Active User": _users(Kind.MESSAGE_RECEIVED),
    "Messages": _count(Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT, Kind.OPERATOR_MESSAGE_SENT),
    "Action Messages": _count(Kind.FLOW_TRIGGER),
    "Fallback Reply": _count(Kind.FALLBACK),
    "NLP Detected": _count(Kind.NLP_MATCH),
    "NLP Missed": _count(Kind.NLP_MISS),
    "Conversation Length": _average(7.5, Kind.MESSAGE_RECEIVED, Kind.CONVERSATION_STARTED),
    "Time To Pick Up": _average(30.5, Kind.HANDOVER, Kind.HANDOVER),
    "Takeover Rate": _average(100, Kind.HANDOVER, Kind.CONVERSATION_STARTED),
    "Support Conversation Length": _average(60.25, Kind.OPERATOR_MESSAGE_SENT, Kind.HANDOVER),
    "Goal Reached": _count(Kind.GOAL),
    "Incoming Message": _count(Kind.MESSAGE_RECEIVED),
    "API Request": _count(Kind.API_CALL),
    "API Request Error": _count(Kind.API_CALL, ok="false"),
    "Time To First Message": _average(1.5, Kind.MESSAGE_SENT, Kind.CONVERSATION_STARTED),
    "Operator Message": _count(Kind.OPERATOR_MESSAGE_SENT),
}
"""The events of an account, in the order of their codes."""


def rows(scope: StatisticsScope) -> list[dict[str, Any]]:
    """Return the rows of ``scope``, in no order."""
    events = list(EVENTS)
    measured: dict[int, dict[Place, float]] = {int(c): {} for c in scope.path.types.split(",")}
    for day in scope.local_days():
        for code, values in measured.items():
            values.update(EVENTS[events[code]](scope, day))
    if "zero_filled" in scope.call.faults:
        everywhere = {place for values in measured.values() for place in values}
        pairs = {(bot, channel) for _, bot, channel in everywhere}
        groups = {scope.group(at_ms) for at_ms in range(*scope.window, HOUR_MS)}
        zeros = {(group, *pair): 0 for group in groups for pair in pairs}
        measured = {code: zeros | values for code, values in measured.items()}
    found = [
        _row(scope, place, code, value)
        for code, values in measured.items()
        for place, value in values.items()
        if value or "zero_filled" in scope.call.faults
    ]
    return sorted(found, key=lambda row: hashlib.blake2b(repr(row).encode()).digest())


def _sums(
    scope: StatisticsScope, window: Window, kind: Kind, *more: str, **only: str
) -> Iterator[tuple[Place, str, int]]:
    """Yield how often ``kind`` happened in each place, and by another attribute if one is named."""
    sums = scope.call.hourly(kind, window, "environment", "channel", *more, **only)
    labels = {hour_ms: scope.group(hour_ms) for hour_ms in {key[0] for key in sums}}
    for (hour_ms, *values), number in sums.items():
        environment, channel, *rest = map(str, values)
        bot = BOTS[environment == "staging"]
        if bot in scope.bots:
            place = labels[hour_ms], bot.key, CHANNELS.get(channel, channel)
            yield place, "".join(rest), number


def _row(scope: StatisticsScope, place: Place, code: int, value: float) -> dict[str, Any]:
    modes, (group, key, channel) = scope.call.faults, place
    event = str(code) if "codes_as_events" in modes else list(EVENTS)[code]
    row = {
        "GroupLabel": group,
        "BotName": next(bot.name for bot in BOTS if "same_names" in modes or bot.key == key),
        "ChannelName": channel,
        "EventLabel": event.upper().replace(" ", "") if "shouted_events" in modes else event,
        "Value": value,
    }
    if "second_number" in modes:
        row["Previous"] = value + 1
    return {key.lower(): cell for key, cell in row.items()} if "lower_keys" in modes else row


ACCOUNT_KEY = "5f0c1a2b-3d4e-4f50-8a6b-7c8d9e0f1a2b"
LIFETIME_MINUTES = 60

MODES = frozenset(
    {
        "zero_filled",  # every event of every known bot and channel in every group
        "same_names",  # all bots have the same name
        "second_number",  # one more number in each row
        "lower_keys",  # groupLabel → grouplabel
        "codes_as_events",  # EventLabel is the code
        "shouted_events",  # EventLabel in capitals, without spaces
        "zone",  # of=ZONE of the account, whole hours from UTC; default UTC
        "rolling_days",  # days of 24 h until now; otherwise today and the days before
        "token_v1",  # {"Token": …, "Expires": 60}
        "token_expire",  # {"token": …, "expire": 60}
        "free_account",  # the token call is refused with 403
        "revoked",  # the token of this call is no longer known
        "auth_counts",  # a call with a rejected token uses up the hour
        "throttle",  # window=sliding|clock, restart=True|False, status, body=empty|text|json
        "unthrottled",  # every call is answered
    }
)


@dataclass(slots=True)
class Account:
    """One account with its tokens and past calls; ``period_ms`` is the length of its hour."""

    period_ms: int
    _last_ms: int | None = None
    _tokens: dict[str, int] = field(default_factory=dict)

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
        values = self._new_token(call.now_ms), LIFETIME_MINUTES
        return Answer(dict(zip(names, values, strict=True)))

    async def statistics(self, call: Call) -> Answer:
        """Answer with statistics of all bots, or of the one whose key is in the path."""
        self._admit(call)
        path = call.read_segments(StatisticsPath)
        bots = tuple(bot for bot in BOTS if path.bot in ("*", bot.key))
        if not bots:
            raise Refusal(404)
        zone = ZoneInfo(call.option("zone", "of", "UTC"))
        found = rows(StatisticsScope(call, path, bots, zone))
        return Answer(found, found)

    def _new_token(self, now_ms: int) -> str:
        text = f"{len(self._tokens)}/account/{now_ms}"
        token = hashlib.blake2b(text.encode(), digest_size=24).hexdigest()
        self._tokens[token] = now_ms + LIFETIME_MINUTES * 60_000
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

        ``window`` is ``sliding``, from call to call, or ``clock``, one call in each hour;
        ``restart``: a refused call counts, too.
        """
        now_ms, last_ms, period_ms = call.now_ms, self._last_ms, self.period_ms
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
    """Return the simulator of one account with the modes ``MODES`` and the bots ``BOTS``.

    ``period_ms`` must lie between two statistics calls.
    """
    account = Account(period_ms)
    path = "/analytics/statistics/account/{bot}/{types}/{mode}/{days}"
    return Service(
        clock,
        traffic,
        routes={
            ("POST", "/authorization/integration"): account.authorize,
            ("GET", path): account.statistics,
        },
        modes=MODES,
        secrets=[ACCOUNT_KEY, *(bot.key for bot in BOTS)],
        target=lambda url: {
            "provider": "xenioo",
            "account_key": ACCOUNT_KEY,
            "service_url": url,
            "base_url": url,
        },
    )

"""The truth as rows of Xenioo's statistics: a value per group, bot, channel and event."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from exporter.simulator.conversations import Kind
from exporter.simulator.times import DAY_MS, HOUR_MS
from exporter.simulator.traffic import Traffic, Window

CHANNELS = {"": "Web", "web": "Web", "whatsapp": "WhatsApp", "messenger": "Facebook"} | {
    "telegram": "Telegram"
}
FORMS = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d"}

ROW_MODES = frozenset(
    {
        "zero_filled",  # every event of every known bot and channel in every group
        "same_names",  # all bots are called the same
        "second_number",  # one more number in each row
        "lower_keys",  # groupLabel → grouplabel
        "codes_as_events",  # EventLabel is the code
        "shouted_events",  # EventLabel in capitals, without spaces
        "zone",  # of= the account, by whole hours from UTC, which it is otherwise
        "rolling_days",  # 24 h a day until now; otherwise today and the days before
    }
)


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot of the account; what happens in the environment ``staging`` is the second one's."""

    key: str
    name: str


BOTS = (Bot("Kq7RtZ2mXw9LpV4s", "Shop bot"), Bot("Hn3YcB8vFd6JgT1e", 'Größe "XL" 👟'))


@dataclass(frozen=True, slots=True)
class StatisticsScope:
    """What is asked for, by whom and when."""

    now_ms: int
    bots: tuple[Bot, ...]
    types: tuple[int, ...]
    mode: str
    days: int
    zone: tzinfo
    modes: Mapping[str, Mapping[str, Any]]

    @property
    def window(self) -> Window:
        """Return the days that were asked for, to this instant."""
        today = self.local(self.now_ms).date()
        first = datetime.combine(today - timedelta(days=self.days - 1), time(), self.zone)
        start_ms = round(first.timestamp() * 1000)
        if "rolling_days" in self.modes:
            start_ms = self.now_ms - self.days * DAY_MS
        return start_ms, self.now_ms + 1

    def local(self, at_ms: int) -> datetime:
        """Return an instant in the account's time zone."""
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self.zone)

    def group(self, at_ms: int) -> str:
        """Return the label of the group that an instant belongs to."""
        return self.local(at_ms).strftime(FORMS[self.mode])


Place = tuple[str, str, str]
"""A group's label, the key of a bot, the name of a channel."""


Measure = Callable[[Traffic, StatisticsScope], Mapping[Place, float]]


def _count(*kinds: Kind, **only: str) -> Measure:
    """Return what measures how often something of ``kinds`` happened."""

    def measure(traffic: Traffic, scope: StatisticsScope) -> Counter[Place]:
        counts: Counter[Place] = Counter()
        for kind in kinds:
            for place, _, number in _sums(traffic, scope, kind, **only):
                counts[place] += number
        return counts

    return measure


def _users(kind: Kind) -> Measure:
    """Return what measures the number of different users."""

    def measure(traffic: Traffic, scope: StatisticsScope) -> Counter[Place]:
        found = {(place, user) for place, user, _ in _sums(traffic, scope, kind, "user")}
        return Counter(place for place, _ in found)

    return measure


def _average(factor: float, of: Kind, per: Kind) -> Measure:
    """Return what measures a made-up average: so much for each ``of``, per each ``per``."""

    def measure(traffic: Traffic, scope: StatisticsScope) -> dict[Place, float]:
        found, every = (_count(kind)(traffic, scope) for kind in (of, per))
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


def rows(traffic: Traffic, scope: StatisticsScope) -> list[dict[str, Any]]:
    """Return the rows of ``scope``, in no order."""
    events = list(EVENTS)
    measured = {code: EVENTS[events[code]](traffic, scope) for code in scope.types}
    if "zero_filled" in scope.modes:
        everywhere = {place for values in measured.values() for place in values}
        pairs = {(bot, channel) for _, bot, channel in everywhere}
        groups = {scope.group(at_ms) for at_ms in range(*scope.window, HOUR_MS)}
        zeros = {(group, *pair): 0 for group in groups for pair in pairs}
        measured = {code: zeros | dict(values) for code, values in measured.items()}
    found = [
        _row(scope, place, code, value)
        for code, values in measured.items()
        for place, value in values.items()
        if value or "zero_filled" in scope.modes
    ]
    return sorted(found, key=_shuffled)


def _sums(
    traffic: Traffic, scope: StatisticsScope, kind: Kind, *more: str, **only: str
) -> Iterator[tuple[Place, str, int]]:
    """Yield how often ``kind`` happened in each place, by one attribute more where it is named."""
    by = ("environment", "channel", *more)
    sums = traffic.hourly(kind, scope.window, scope.now_ms, by=by, **only)
    labels = {hour_ms: scope.group(hour_ms) for hour_ms in {key[0] for key in sums}}
    for (hour_ms, *values), number in sums.items():
        environment, channel, *rest = map(str, values)
        bot = BOTS[environment == "staging"]
        if bot in scope.bots:
            place = labels[hour_ms], bot.key, CHANNELS.get(channel, channel)
            yield place, "".join(rest), number


def _row(scope: StatisticsScope, place: Place, code: int, value: float) -> dict[str, Any]:
    modes, (group, key, channel) = scope.modes, place
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


def _shuffled(row: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(repr(row).encode(), digest_size=8).digest()

"""Which call a Xenioo target makes: one an hour, for all bots and types, its budget spent first.

Source: https://docs.xenioo.com, "Account Statistics Data"
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from exporter.config.model import Secret
from exporter.errors import (
    ProviderError,
    Refused,
    ServerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from exporter.http_client.client import ApiClient, Call
from exporter.model import families
from exporter.model.query import Budget, Cost, PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window, floor_to
from exporter.providers.base.labels import Labels
from exporter.providers.base.plugin import (
    CustomQuery,
    LabelSettings,
    Provider,
    Query,
    key_of,
    spec_for,
)
from exporter.providers.xenioo import families as own
from exporter.providers.xenioo.groups import GroupMode, Groups, closed_day, day_window
from exporter.providers.xenioo.mapping import (
    AVERAGES,
    COUNTED,
    DISTINCT,
    NAMES,
    Dialect,
    day_to_reading,
    hours_to_reading,
)
from exporter.providers.xenioo.options import XeniooOptions
from exporter.providers.xenioo.tokens import Tokens

PATH = "/analytics/statistics/account"
TYPES = ",".join(str(code) for code in range(len(NAMES)))
MOST_DAYS = 30
DAYS_FOR_A_DAY = 3  # the day before this one is whole in them, however days are counted
MARGIN_MS = 60_000
LONGER_BY_S = 300
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Statistics:
    """Reads hours; once a local day, in their place, the distinct counts and averages of a day.

    Its memo: ``day`` is the newest day read, ``trying`` one whose call has left.
    """

    options: XeniooOptions
    tokens: Tokens
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading: hours of ``ask.window``, or the newest settled day."""
        token = await self.tokens.current(api, ask.now_ms)
        day = self._day_due(ask)
        await ask.spend()
        if day is None:
            yield await self._hours(api, ask, token)
            return
        # Committed before the call leaves: should it fail, hours have the next turn.
        nothing = Window(ask.now_ms, ask.now_ms)
        trying = {**ask.memo, "trying": day.isoformat()}
        yield Reading(nothing, gauges_only=True, memo=trying, more=True)
        yield await self._day(api, ask, token, day)

    def _day_due(self, ask: PollRequest) -> date | None:
        """Return the day that this call is for; None where it is for hours, as the first one is."""
        day = closed_day(ask.now_ms - self.options.settle, self.options.timezone)
        seen = {ask.memo.get("day"), ask.memo.get("trying")}
        return None if ask.first or day.isoformat() in seen else day

    async def _hours(self, api: ApiClient, ask: PollRequest, token: str) -> Reading:
        days = days_for(ask.window, ask.now_ms, self.options.lookback)
        rows = await self._rows(api, ask, token, _path(self.options.bot, "hour", days))
        reading = hours_to_reading(
            rows,
            self._groups("hour"),
            self._dialect,
            Labels({}, self.limit),
            window=ask.window,
            now_ms=ask.now_ms,
            certain_ms=certain_ms(days, ask.now_ms, self.options.timezone),
        )
        memo = {name: value for name, value in ask.memo.items() if name != "trying"}
        return replace(reading, memo=memo)

    async def _day(self, api: ApiClient, ask: PollRequest, token: str, day: date) -> Reading:
        path = _path(self.options.bot, "day", DAYS_FOR_A_DAY)
        rows = await self._rows(api, ask, token, path)
        reading = day_to_reading(
            rows,
            self._groups("day"),
            self._dialect,
            Labels({}, self.limit),
            day=day_window(day, self.options.timezone),
            now_ms=ask.now_ms,
        )
        return replace(reading, memo={"day": day.isoformat()})

    async def _rows(
        self, api: ApiClient, ask: PollRequest, token: str, path: str
    ) -> list[dict[str, Any]]:
        """Return the answer; a token that is not accepted is renewed once, at no second spend."""
        try:
            try:
                return await api.fetch(_call(path, token), list[dict[str, Any]])
            except Unauthorized as error:
                if error.status != UNAUTHORIZED:
                    raise
            token = await self.tokens.renewed(api, ask.now_ms)
            return await api.fetch(_call(path, token), list[dict[str, Any]])
        except (Refused, ServerError, Throttled, TimedOut, Unauthorized, Unreachable) as error:
            raise waited_out(error, wait_s(self.options.name, ask.now_ms)) from None

    def _groups(self, mode: GroupMode) -> Groups:
        return Groups(mode, self.options.timezone, self.options.label_format)

    @property
    def _dialect(self) -> Dialect:
        return Dialect(self.options.value_field, self.options.units.known)


def _path(bot: str, mode: GroupMode, days: int) -> str:
    return f"{PATH}/{quote(bot, safe='*')}/{TYPES}/{mode}/{days}"


def _call(path: str, token: str) -> Call:
    _, mode, days = path.rsplit("/", 2)
    return Call(
        "GET",
        path,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        label=f"{PATH}/…/{mode}/{days}",  # the path may hold a bot's key
        signed=False,
        retries=0,
    )


def days_for(window: Window, now_ms: int, lookback_ms: int) -> int:
    """Return DAYS: enough for ``window``, with a day to spare where it makes up for an outage."""
    behind_ms = floor_to(now_ms, HOUR_MS) - window.start_ms
    if behind_ms <= lookback_ms + HOUR_MS:
        return min(max(_whole_days(lookback_ms) + 1, 1), MOST_DAYS)
    return min(_whole_days(now_ms - window.start_ms) + 2, MOST_DAYS)


def certain_ms(days: int, now_ms: int, zone: str) -> int:
    """Return from when on ``days`` of history are complete.

    Whether they are days of 24 hours before now or today and the local days before it is not
    documented; this is the later of the two.
    """
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    midnight_ms = day_window(today - timedelta(days=days - 1), zone).start_ms
    return max(midnight_ms, now_ms - days * DAY_MS)


def wait_s(target: str, now_ms: int) -> float:
    """Return an hour and up to five minutes, which differ from target to target and call to call."""
    digest = hashlib.blake2b(f"{target}/{now_ms}".encode(), digest_size=4).digest()
    return HOUR_MS / 1000 + LONGER_BY_S * int.from_bytes(digest) / 2**32


def waited_out(error: ProviderError, least_s: float) -> ProviderError:
    """Return what a refused statistics call leads to: nothing is asked for an hour.

    How Xenioo refuses a call that comes too early is not documented, so every refusal may be that
    one, and a call without an answer may have been counted. A shorter ``Retry-After`` is no help.
    """
    wait = max(least_s, error.retry_after_s or 0.0)
    match error:
        case Refused(status=404):
            return error
        case Unauthorized(status=401):
            return Unauthorized(str(error), wait, status=UNAUTHORIZED)
        case TimedOut():
            return TimedOut(str(error), wait)
        case _:
            return Throttled(f"{error}; waiting for the next hour", wait)


def _whole_days(duration_ms: int) -> int:
    return -(-duration_ms // DAY_MS)


def account_name(account_key: Secret, target: str) -> str:
    """Return the name of the account's budget, from which its key cannot be had.

    A key that cannot be read now leaves the target with a budget of its own.
    """
    try:
        key = key_of(account_key)
    except Unauthorized:
        return f"xenioo/{target}"
    return "xenioo/" + hashlib.blake2b(key.encode(), digest_size=16, person=b"account").hexdigest()


def queries(options: XeniooOptions, rules: LabelSettings) -> tuple[Query, ...]:
    """Return the queries of a target."""
    return (_statistics(options, rules),)


def _statistics(options: XeniooOptions, rules: LabelSettings) -> Query:
    meaning = {
        "bot": options.bot,
        "types": TYPES,
        "group": "hour",
        "timezone": options.timezone,
        "value_field": options.value_field,
    }
    name = account_name(options.account_key, options.name)
    spec = replace(
        spec_for(options, rules, "statistics", f"GET {PATH}", meaning=meaning),
        reach_ms=MOST_DAYS * DAY_MS,
        fields=_fields(),
        cost=Cost(note="access tokens are calls of their own, about one an hour"),
        budget=Budget(name, HOUR_MS, MARGIN_MS),
    )
    tokens = Tokens(options.account_key, options.service_url)
    return CustomQuery(spec, Statistics(options, tokens, rules.limits.label_value_bytes).read)


def _fields() -> Mapping[str, str]:
    raw = {code: average.raw for code, average in AVERAGES.items()}
    normalised = {code: average.normalised for code, average in AVERAGES.items()}
    return {
        family.name: f"statistic type {code} ({NAMES[code]})"
        for each in (COUNTED, DISTINCT, raw, normalised)
        for code, family in each.items()
    }


PROVIDER = Provider(
    name="xenioo",
    options=XeniooOptions,
    families=(
        own.MESSAGES,
        own.ACTION_MESSAGES,
        own.CONVERSATION_LENGTH,
        own.TIME_TO_PICK_UP,
        own.TAKEOVER_RATE,
        own.SUPPORT_CONVERSATION_LENGTH,
        own.TIME_TO_FIRST_MESSAGE,
    ),
    feeds=frozenset(
        family.name
        for family in (
            families.NEW_USERS,
            families.FALLBACKS,
            families.NLP_MATCHES,
            families.NLP_MISSES,
            families.GOALS_REACHED,
            families.MESSAGES_RECEIVED,
            families.OUTBOUND_API_REQUESTS,
            families.OUTBOUND_API_REQUEST_ERRORS,
            families.OPERATOR_MESSAGES_SENT,
            families.RETURNING_USERS,
            families.ACTIVE_USERS,
            families.CONVERSATION_DURATION_AVERAGE_SECONDS,
            families.TIME_TO_PICK_UP_AVERAGE_SECONDS,
            families.TAKEOVER_RATIO,
            families.SUPPORT_CONVERSATION_DURATION_AVERAGE_SECONDS,
            families.TIME_TO_FIRST_MESSAGE_AVERAGE_SECONDS,
        )
    ),
    sign=lambda _: {},
    queries=queries,
    keys=lambda options: {"account": key_of(options.account_key)},
)

"""Xenioo's one statistics call an hour, for all bots and types; its budget is spent first.

Source: https://docs.xenioo.com, "Account Statistics Data"
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
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
from exporter.http_client.client import ApiCall, ApiClient
from exporter.model.query import Budget, Cost, PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Readings, Window, ceil_to, floor_to
from exporter.providers.base.plugin import LabelSettings, Provider, Query, key_of, spec_for
from exporter.providers.xenioo.group_labels import GroupLabels, GroupMode, closed_day, day_window
from exporter.providers.xenioo.mapping import RowFormat, day_to_reading, hours_to_reading
from exporter.providers.xenioo.options import XeniooOptions
from exporter.providers.xenioo.statistics import FEEDS, OWN_FAMILIES, STATISTICS
from exporter.providers.xenioo.tokens import AccessTokens

PATH = "/analytics/statistics/account"
TYPES = ",".join(str(code) for code in range(len(STATISTICS)))
MAX_DAYS = 30
DAYS_FOR_A_DAY = 3  # contains all of yesterday, however the vendor counts days
MARGIN_MS = 60_000
MAX_EXTRA_WAIT_S = 300
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    """Reads hours; once per local day, instead of hours, that day's distinct counts and averages.

    In the memo, ``day`` is the newest day read and ``trying`` a day whose call has left.
    """

    spec: QuerySpec
    options: XeniooOptions
    tokens: AccessTokens

    async def read(self, client: ApiClient, request: PollRequest, /) -> Readings:
        """Yield one reading: hours of ``request.window``, or the newest settled day."""
        token = await self.tokens.current(client, request.now_ms)
        day = self._day_due(request)
        await request.spend()
        if day is None:
            yield await self._hours(client, request, token)
            return
        # Committed before the call leaves: if it fails, the next call is for hours.
        nothing = Window(request.now_ms, request.now_ms)
        trying = {**request.memo, "trying": day.isoformat()}
        yield Reading(nothing, gauges_only=True, memo=trying, more=True)
        yield await self._day(client, request, token, day)

    def _day_due(self, request: PollRequest) -> date | None:
        """Return the day that this call is for; None for hours, as at the first poll."""
        day = closed_day(request.now_ms - self.options.settle, self.options.timezone)
        seen = {request.memo.get("day"), request.memo.get("trying")}
        return None if request.first or day.isoformat() in seen else day

    async def _hours(self, client: ApiClient, request: PollRequest, token: str) -> Reading:
        days = days_for(request.window, request.now_ms, self.options.lookback)
        rows = await self._rows(client, request, token, "hour", days)
        reading = hours_to_reading(
            rows,
            self._row_format("hour"),
            self.spec,
            window=request.window,
            now_ms=request.now_ms,
            certain_ms=certain_ms(days, request.now_ms, self.options.timezone),
        )
        memo = {name: value for name, value in request.memo.items() if name != "trying"}
        return replace(reading, memo=memo)

    async def _day(self, client: ApiClient, request: PollRequest, token: str, day: date) -> Reading:
        rows = await self._rows(client, request, token, "day", DAYS_FOR_A_DAY)
        reading = day_to_reading(
            rows,
            self._row_format("day"),
            self.spec,
            day=day_window(day, self.options.timezone),
            now_ms=request.now_ms,
        )
        return replace(reading, memo={"day": day.isoformat()})

    async def _rows(
        self, client: ApiClient, request: PollRequest, token: str, mode: GroupMode, days: int
    ) -> list[dict[str, Any]]:
        """Return the response; a 401 renews the token once and spends no second call."""
        try:
            try:
                return await client.fetch(self._call(mode, days, token), list[dict[str, Any]])
            except Unauthorized as error:
                if error.status != UNAUTHORIZED:
                    raise
            token = await self.tokens.current(client, request.now_ms, renew=True)
            return await client.fetch(self._call(mode, days, token), list[dict[str, Any]])
        except (Refused, ServerError, Throttled, TimedOut, Unauthorized, Unreachable) as error:
            self.tokens.expire()
            raise waited_out(error, wait_s(self.options.name, request.now_ms)) from None

    def _call(self, mode: GroupMode, days: int, token: str) -> ApiCall:
        return ApiCall(
            "GET",
            f"{PATH}/{quote(self.options.bot, safe='*')}/{TYPES}/{mode}/{days}",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            label=f"{PATH}/…/{mode}/{days}",  # the path may contain a bot's key
            signed=False,
            retries=0,
        )

    def _row_format(self, mode: GroupMode) -> RowFormat:
        groups = GroupLabels(mode, self.options.timezone, self.options.label_format)
        return RowFormat(groups, self.options.value_field, self.options.units.known)


def days_for(window: Window, now_ms: int, lookback_ms: int) -> int:
    """Return DAYS: enough for ``window``, and a day to spare after an outage."""
    behind_ms = floor_to(now_ms, HOUR_MS) - window.start_ms
    if behind_ms <= lookback_ms + HOUR_MS:
        return min(ceil_to(lookback_ms, DAY_MS) // DAY_MS + 1, MAX_DAYS)
    return min(ceil_to(now_ms - window.start_ms, DAY_MS) // DAY_MS + 2, MAX_DAYS)


def certain_ms(days: int, now_ms: int, zone: str) -> int:
    """Return the time since which ``days`` of history are complete.

    Whether they are days of 24 hours before now or today and the local days before it is not
    documented; this is the later of the two.
    """
    today = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(zone)).date()
    midnight_ms = day_window(today - timedelta(days=days - 1), zone).start_ms
    return max(midnight_ms, now_ms - days * DAY_MS)


def wait_s(target: str, now_ms: int) -> float:
    """Return an hour and up to five minutes, spread over targets and calls."""
    digest = hashlib.blake2b(f"{target}/{now_ms}".encode(), digest_size=4).digest()
    return HOUR_MS / 1000 + MAX_EXTRA_WAIT_S * int.from_bytes(digest) / 2**32


def waited_out(error: ProviderError, least_s: float) -> ProviderError:
    """Return the error of a failed statistics call: no further call for an hour.

    How Xenioo rejects a call that comes too early is not documented, so any answer may be that,
    and a call without an answer may count. A shorter ``Retry-After`` does not help.
    """
    wait = max(least_s, error.retry_after_s or 0.0)
    match error:
        case Refused(status=404):
            return error
        case Unauthorized(status=401):
            return Unauthorized(str(error), wait, status=UNAUTHORIZED)
        case TimedOut() | Unreachable():
            return type(error)(f"{error}; waiting for the next hour", wait)
        case _:
            return Throttled(f"{error}; waiting for the next hour", wait)


def account_name(account_key: Secret) -> str:
    """Return the name of the account's budget, which does not disclose the account key.

    Where the key cannot be read now, targets that refer to the same key share a budget.
    """
    try:
        key = key_of(account_key)
    except Unauthorized:
        key = repr(account_key)
    return "xenioo/" + hashlib.blake2b(key.encode(), digest_size=16, person=b"account").hexdigest()


def queries(options: XeniooOptions, settings: LabelSettings) -> list[Query]:
    """Return the one query of a target."""
    meaning = {
        "bot": options.bot,
        "types": TYPES,
        "group": "hour",
        "timezone": options.timezone,
        "value_field": options.value_field,
    }
    spec = spec_for(
        options,
        settings,
        "statistics",
        f"GET {PATH}",
        FEEDS,
        meaning=meaning,
        local_hours=True,
        reach_ms=MAX_DAYS * DAY_MS,
        cost=Cost(note="access tokens are calls of their own, about one an hour"),
        budget=Budget(account_name(options.account_key), HOUR_MS, MARGIN_MS),
    )
    tokens = AccessTokens(options.account_key, options.service_url)
    return [StatisticsQuery(spec, options, tokens)]


PROVIDER = Provider(
    name="xenioo",
    options=XeniooOptions,
    families=OWN_FAMILIES,
    feeds=frozenset({each.family.name for each in FEEDS} - {each.name for each in OWN_FAMILIES}),
    sign=lambda _: {},
    queries=queries,
    keys=lambda options: {"account": key_of(options.account_key)},
)

"""Manifests polled for hours: which requests leave, what they cover, and what is counted."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from exporter.exposition.self_metrics import is_up
from exporter.http_client.transport import Transport
from exporter.ledger import tables
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, SECOND_MS
from exporter.polling.past import read_slice
from exporter.polling.poll import PollContext, ScheduledQuery, poll
from exporter.providers.base.plugin import Target
from exporter.telemetry.counters import Telemetry
from tests.providers.manifest.files import BASE, NOON_MS, QUERY, SENT, loaded, problems, target
from tests.providers.vendor import published
from tests.support.driver import LedgerDriver
from tests.support.virtual import VirtualClock, inline, run_virtual

Answer = Callable[[int, int, int], Any]
"""Returns the answer to a request for a span; its bounds and the present are in seconds."""

STREAM: dict[str, Any] = {
    "shape": "records",
    "missing": None,
    "window": {"end": "exclusive", "lookback": "2h"},
    "interval": "1h",
    "id": "row.time",
    "count": {SENT: {}},
}


class Polling:
    """Targets of manifests, polled on a ledger in virtual time, while ``answer`` is their API.

    ``asked`` has each request: when it came, in hours since the start, and the hours that it asks
    for.
    """

    def __init__(self, folder: Path, answer: Answer, *targets: Target) -> None:
        self.answer = answer
        self.clock = VirtualClock(NOON_MS + 10 * SECOND_MS)
        self.asked: list[tuple[float, float]] = []
        self.driver = LedgerDriver(folder, *self._taking(*targets), clock=self.clock)
        self.context = PollContext(
            self.driver.ledger,
            self.clock,
            random.Random(5),  # noqa: S311 - the same each time
            Telemetry(),
            inline,
            published,
        )

    def _taking(self, *targets: Target) -> list[QuerySpec]:
        self.queries = {q.spec.key: (each, q) for each in targets for q in each.queries}
        return [query.spec for _, query in self.queries.values()]

    def reload(self, *targets: Target) -> None:
        """Go on with other targets."""
        self.driver.sync(*self._taking(*targets))

    def reply(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "t"})
        start, end = (int(request.url.params[name]) for name in ("from", "to"))
        now_ms = self.clock.now_ms()
        self.asked.append(((now_ms - NOON_MS) / HOUR_MS, (end - start) / 3600))
        found = self.answer(start, end, now_ms // SECOND_MS)
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    def pause(self, hours: float) -> None:
        """Let some hours pass in which no exporter runs."""
        self.clock.advance(hours * 3600)

    def for_hours(self, hours: float) -> None:
        """Poll what is due, and read the past between, for some hours."""
        run_virtual(self._for(round(self.clock.now_ms() + hours * HOUR_MS)), self.clock)

    async def _for(self, until_ms: int) -> None:
        ledger = self.driver.ledger
        while self.clock.now_ms() < until_ms:
            assert len(self.asked) < 500, "requests without end"
            if (claim := ledger.claim()) is not None:
                await poll(self.context, self._scheduled(claim), claim)
            elif (claim := ledger.claim_slice()) is not None:
                await read_slice(self.context, self._scheduled(claim), claim)
            else:
                due_ms = min(ledger.next_due_ms() or until_ms, until_ms)
                await self.clock.sleep(max(0.001, (due_ms - self.clock.now_ms()) / SECOND_MS))

    def _scheduled(self, claim: Any) -> ScheduledQuery:
        made, query = self.queries[claim.target, claim.query]
        transport = Transport(httpx.MockTransport(self.reply))
        return ScheduledQuery(query, made.client(transport, self.clock))

    @property
    def count(self) -> float:
        """Return the sum of the counter over all targets."""
        return sum(
            sum(self.driver.shown(SENT, query.spec).values()) for _, query in self.queries.values()
        )

    def truth(self, seconds: int) -> int:
        """Return how many rows ``every`` had from the first poll to the last."""
        first, last = (round(self.asked[at][0] * 3600) for at in (0, -1))
        return -(-last // seconds) - -(-first // seconds)

    @property
    def up(self) -> bool:
        """Return whether every query is up."""
        states = [(self.driver.view(q.spec).state, q.spec) for _, q in self.queries.values()]
        return all(is_up(state, spec, self.clock.now_ms()) for state, spec in states)


def every(seconds: int, most_hours: float = 1e9) -> Answer:
    """Return an API with a row at each multiple of ``seconds``; it refuses longer spans."""

    def answer(start: int, end: int, now: int) -> Any:
        if end - start > most_hours * 3600:
            return httpx.Response(400)
        times = range(-(-start // seconds) * seconds, min(end, now), seconds)
        return {"data": [{"time": at, "sent": 1} for at in times]}

    return answer


@pytest.fixture
def polling(tmp_path: Path) -> Iterator[Callable[..., Polling]]:
    """Return what makes a ``Polling``, whose ledger is closed at the end."""
    made: list[Polling] = []

    def make(answer: Answer, *targets: Target) -> Polling:
        made.append(Polling(tmp_path, answer, *targets))
        return made[-1]

    yield make
    for each in made:
        each.driver.close()


Make = Callable[..., Polling]


@pytest.mark.parametrize("start", ["zero", "history"])
def test_a_stream_has_no_past_to_read(polling: Make, start: str) -> None:
    made = polling(every(600), target(loaded(STREAM), start=start))

    made.for_hours(26)

    assert len(made.asked) <= 27  # one an hour, and no audit after a day
    assert made.up
    made.driver.confirm_zero_scraped()
    assert made.count == made.truth(600)


def test_a_stream_asks_for_at_most_max_span_and_catches_up(polling: Make) -> None:
    window = STREAM["window"] | {"max_span": "1d"}
    made = polling(every(600, 24), target(loaded(STREAM | {"window": window})))

    made.for_hours(5)
    made.pause(40)
    made.for_hours(2)

    assert 23 < max(hours for _, hours in made.asked) <= 24
    assert made.up
    made.driver.confirm_zero_scraped()
    assert made.count == made.truth(600)


@pytest.mark.parametrize("wrong", [{"only": {"row.kind": ["x"]}}, {"labels": {"project": "row.b"}}])
@pytest.mark.parametrize("max_span", ["1h", "1d"])
def test_a_stream_does_not_begin_with_a_field_that_no_row_has(
    polling: Make, max_span: str, wrong: dict[str, Any]
) -> None:
    window = STREAM["window"] | {"max_span": max_span}
    made = polling(every(600), target(loaded(STREAM | {"window": window} | wrong)))

    made.for_hours(3)

    assert not made.up
    assert made.driver.view().state.last_reason == "schema"
    assert max(hours for _, hours in made.asked) < 3


def test_a_stream_with_another_name_counts_nothing_again(polling: Make) -> None:
    query = {name: value for name, value in {**QUERY, **STREAM}.items() if value is not None}
    former, renamed, again = (loaded(queries={name: query}) for name in ("stats", "calls", "b"))
    made = polling(every(600), target(former))
    made.for_hours(5)
    with made.driver.transaction() as tx:  # as an earlier version has left the ledger
        tx.execute(sa.update(tables.query).values(memo="{}"))

    for manifest in (former, renamed, again):
        made.reload(target(manifest))
        made.for_hours(5)
        made.driver.confirm_zero_scraped()

        assert made.count == made.truth(600)


def test_a_variable_that_no_query_names_changes_no_count(polling: Make) -> None:
    made = polling(every(600), target(loaded(STREAM)))
    made.for_hours(5)
    made.reload(target(loaded(STREAM, variables={"unused": {"default": ""}})))
    made.for_hours(5)
    made.driver.confirm_zero_scraped()

    assert made.count == made.truth(600)


def budgeted(calls: int = 24, auth: Any = BASE["auth"], **query: Any) -> Any:
    """Return a manifest that may be called ``calls`` times a day."""
    rate = {"budget": {"calls": calls, "per": "1d"}}
    return loaded({"missing": "zero", "interval": "1h"} | query, rate=rate, auth=auth)


@pytest.mark.parametrize("max_span", ["72h", "49h", None])
@pytest.mark.parametrize("start", ["zero", "history"])
def test_one_call_of_a_budget_reads_the_past_too(
    polling: Make, max_span: str | None, start: str
) -> None:
    longest = 35 * 24 + 1 if max_span is None else int(max_span[:-1])
    window = {"end": "exclusive", "lookback": "48h"} | ({"max_span": max_span} if max_span else {})
    made = polling(every(3600, longest), target(budgeted(window=window), start=start))

    made.for_hours(50)  # across two audits
    made.driver.confirm_zero_scraped()

    assert len(made.asked) == 50
    assert made.up
    assert max(hours for _, hours in made.asked) == longest
    assert made.count == 49 + (longest if start == "history" else 0)
    made.pause(100)
    made.for_hours(3)
    assert made.count == 152 + (longest if start == "history" else 0)


def test_a_stream_may_have_a_budget(polling: Make) -> None:
    made = polling(every(600), target(budgeted(**STREAM)))

    made.for_hours(5)
    made.driver.confirm_zero_scraped()

    assert made.up
    assert made.count == made.truth(600)


@pytest.mark.parametrize("end", ["exclusive", "inclusive"])
@pytest.mark.parametrize(("lookback", "max_span"), [(1, 2), (6, 7), (6, 8), (6, None)])
def test_a_stream_reads_at_each_call_of_a_budget_all_that_is_new(
    polling: Make, lookback: int, max_span: int | None, end: str
) -> None:
    window = {"lookback": f"{lookback}h"} | ({"max_span": f"{max_span}h"} if max_span else {})
    query = STREAM | {"window": window | {"end": end}, "complete": {"rows_below": 1000}}
    made = polling(
        every(600, lookback + 2 if max_span is None else max_span), target(budgeted(**query))
    )

    made.for_hours(20)
    assert made.up
    made.pause(24)
    made.for_hours(30)
    made.driver.confirm_zero_scraped()

    assert made.up
    assert made.driver.view().state.last_reason is None
    assert len(made.asked) <= 51
    assert made.count == made.truth(600)


@pytest.mark.parametrize("end", ["exclusive", "inclusive"])
@pytest.mark.parametrize("lookback", [1, 6])
def test_a_stream_with_a_budget_finds_what_is_late_by_less_than_its_lookback(
    polling: Make, lookback: int, end: str
) -> None:
    rows, latest = every(600, lookback + 1), lookback * 3600 - 60

    def listed_at(at: int) -> int:
        return at + at * 7 // 600 * 997 % latest

    def answer(start: int, until: int, now: int) -> Any:
        found = rows(start, until, now)
        return {"data": [row for row in found["data"] if listed_at(row["time"]) <= now]}

    window = {"lookback": f"{lookback}h", "max_span": f"{lookback + 1}h", "end": end}
    made = polling(answer, target(budgeted(**STREAM | {"window": window})))

    made.for_hours(30)
    made.driver.confirm_zero_scraped()

    first, last = (NOON_MS // 1000 + round(made.asked[at][0] * 3600) for at in (0, -1))
    times = range(-(-first // 600) * 600, last, 600)
    assert made.count == sum(listed_at(at) <= last for at in times)


@pytest.mark.parametrize(("rows", "reason"), [(50, None), (30, "truncated")])
def test_a_call_of_a_budget_is_not_repeated_in_parts_where_it_is_cut_off(
    polling: Make, rows: int, reason: str | None
) -> None:
    made = polling(every(3600), target(budgeted(complete={"rows_below": rows})))

    made.for_hours(3)

    assert [hours for _, hours in made.asked] == [49] * 3
    assert made.driver.view().state.last_reason == reason


def test_a_lookback_that_one_call_of_a_budget_does_not_reach_is_refused() -> None:
    window = {"end": "exclusive", "max_span": "72h", "lookback": "48h"}
    manifest = budgeted(window=window)

    target(manifest, lookback="71h")
    with pytest.raises(ValueError, match="lookback: stats has a call budget"):
        target(manifest, lookback="72h")
    target(loaded({"window": window}), lookback="72h")
    rare = {"calls": 1, "per": "1d"}
    assert "one call per poll" in problems(
        {**STREAM, "window": window | {"max_span": "71h"}}, rate={"budget": rare}
    )
    with pytest.raises(ValueError, match="lookback: stats has a call budget"):
        target(loaded({**STREAM, "window": window}, rate={"budget": rare}), lookback="49h")


def test_a_budget_belongs_to_the_account_and_no_call_of_it_is_sent_again(polling: Make) -> None:
    manifest = budgeted()
    one, two, other = (
        target(manifest, name=name, secrets={"key": key})
        for name, key in (("a", "k"), ("b", "k"), ("c", "another"))
    )
    elsewhere = target(manifest, name="d", base_url="https://eu.acme.example")
    made = polling(lambda *_: httpx.Response(500), one, two)

    made.for_hours(4)

    assert len(made.asked) == 4
    budgets = [each.queries[0].spec.budget for each in (one, two, other, elsewhere)]
    assert len({each.name for each in budgets if each}) == 3
    assert not any(word in repr(budgets) for word in ("another", "acme"))


def test_a_token_that_is_refused_is_reported_where_a_budget_has_no_second_call(
    polling: Make,
) -> None:
    auth = {"kind": "oauth2_client_credentials", "token_url": "/token", "client_id": "me"}
    manifest = budgeted(auth=auth | {"client_secret": "secrets.key"})
    refusals, hours = [httpx.Response(401)] * 2, every(3600)
    made = polling(lambda *span: refusals.pop() if refusals else hours(*span), target(manifest))

    made.for_hours(2)
    refused = made.driver.view().state
    made.for_hours(1)

    assert (refused.last_reason, refused.fail_streak) == ("auth", 2)
    assert made.up
    assert len(made.asked) == 3


def with_gaps(start: int, end: int, now: int) -> Any:
    """Answer as an API with a row an hour that leaves out the open hour and every third one."""
    found = every(3600)(start, end, now - 3599)
    return {"data": [each | {"b": "x"} for each in found["data"] if each["time"] // 3600 % 3]}


KEEPS: dict[str, Any] = {
    "missing": "keep",
    "interval": "1h",
    "window": {"end": "exclusive", "lookback": "6h", "max_span": "72h"},
    "labels": {"project": "row.b"},
}


@pytest.mark.parametrize("manifest", [budgeted(**KEEPS), loaded(KEEPS)], ids=["budget", "free"])
def test_an_audit_of_an_api_that_leaves_hours_out_reads_each_slice_once(
    polling: Make, manifest: Any
) -> None:
    made = polling(with_gaps, target(manifest))

    made.for_hours(50)

    audit = made.driver.view().state.audit
    assert made.up
    assert len(made.asked) <= (50 if manifest.settings.rate.budget else 50 + 3 * 13)
    assert audit is not None
    assert (audit.different, audit.missing) == (0, 0)
    assert 40 <= audit.equal <= 35 * 16
    assert made.driver.counted("claims_lost_total") == 0
    made.driver.confirm_zero_scraped()
    now = NOON_MS // 1000 + round(made.asked[-1][0] * 3600)
    assert made.count == len(with_gaps(NOON_MS // 1000, now, now)["data"])


def test_a_renamed_series_counts_on_where_the_open_hour_is_left_out(polling: Make) -> None:
    renamed = KEEPS | {"label_rules": {"project": {"map": {"x": "y"}}}}
    before, after = (target(loaded(each), initial_lookback=0) for each in (KEEPS, renamed))
    made = polling(with_gaps, before)
    made.for_hours(6)

    made.queries = {query.spec.key: (after, query) for query in after.queries}
    made.driver.reopen(*(query.spec for query in after.queries))
    made.context = replace(made.context, ledger=made.driver.ledger)
    made.for_hours(6)
    made.driver.confirm_zero_scraped()
    first = made.count
    made.for_hours(24)

    assert made.count - first == 16

"""A target of any provider, and polls of it: of a vendor that a transport plays, or a simulator."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx

from exporter.config.model import Limits, Privacy
from exporter.config.secret import SecretContext
from exporter.http_client.transport import Transport
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from exporter.model.query import LabelRule, PollRequest, QueryKey, QuerySpec
from exporter.model.samples import Reading, Window
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery, poll
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Query, Target
from exporter.providers.base.rows import Rows
from exporter.simulator import SIMULATORS
from exporter.simulator.traffic import Traffic
from exporter.telemetry.counters import Telemetry
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import VirtualClock, inline, run_virtual

ItemT = TypeVar("ItemT")
URL = "http://127.0.0.1"


def options_of(**settings: Any) -> Any:
    """Return the options that ``settings`` describe, secrets inline."""
    model, context = PROVIDERS[settings["provider"]].options, SecretContext({}, Path(), inline=True)
    return model.model_validate({"name": "shop", **settings}, context=context)


def build_target(
    privacy: Privacy = Privacy(),  # noqa: B008 - frozen
    limits: Limits = Limits(),  # noqa: B008 - frozen
    **settings: Any,
) -> Target:
    """Return the target that ``settings`` describe, secrets inline."""
    options = options_of(**settings)
    return PROVIDERS[options.provider].build(options, LabelSettings(limits, privacy))


def query_of(target: Target, name: str) -> Query:
    """Return the query of this name."""
    return next(query for query in target.queries if query.spec.name == name)


def read(
    target: Target,
    query: Query,
    transport: httpx.AsyncBaseTransport,
    request: PollRequest,
    clock: VirtualClock | None = None,
) -> list[Reading]:
    """Return the readings of one poll."""
    clock = clock or VirtualClock(request.now_ms)

    async def main() -> list[Reading]:
        client = replace(target, requests_per_second=0).client(Transport(transport), clock)
        return [reading async for reading in query.read(client, request)]

    return run_virtual(main(), clock)


def played(vendor: Callable[[Any], Any]) -> httpx.MockTransport:
    """Return a transport where ``vendor`` returns a body for what a request sends.

    That is the JSON body, else the parameters. The body returned is bytes, or made JSON.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content) if request.content else dict(request.url.params)
        body = vendor(sent)
        return httpx.Response(200, content=body if isinstance(body, bytes) else json.dumps(body))

    return httpx.MockTransport(answer)


def collected(
    collect: Callable[[Sequence[ItemT], Rows], None],
    items: Sequence[ItemT],
    window: Window,
    *,
    label_rules: Mapping[str, LabelRule] | None = None,
    memo: Mapping[str, Any] | None = None,
    lists_of: Iterable[str] = (),
) -> Reading:
    """Return the reading that ``collect`` makes of ``items``."""
    rows = Rows(window, spec(meaning={}, label_rules=label_rules or {}), memo or {})
    rows.list_of(*lists_of)
    collect(items, rows)
    return rows.reading()


class Polled:
    """Targets on their simulator, and the ledger of an exporter that polls them, in virtual time.

    The ledger is in ``folder``, or at the URL ``postgresql``. Each of ``entries`` changes what the
    simulator suggests for a target.
    """

    def __init__(
        self,
        folder: Path,
        provider: str,
        traffic: Traffic,
        *entries: dict[str, Any],
        postgresql: str | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.traffic = traffic
        self.service = SIMULATORS[provider](self.clock, traffic)
        self.rng = random.Random(5)  # noqa: S311 - the same each time
        self.telemetry = Telemetry()
        self.families = NORMALISED | {each.name: each for each in PROVIDERS[provider].families}
        self.set_targets(*entries)
        self.driver = LedgerDriver(
            folder,
            *self.specs,
            clock=self.clock,
            families=self.families,
            postgresql=postgresql,
        )

    def set_targets(self, *entries: dict[str, Any]) -> None:
        """Read other settings; an open ledger learns of them when it is opened again."""
        suggested = {"name": "shop"} | self.service.target(URL)
        self.targets = [build_target(**suggested | each) for each in entries]

    def restart(self) -> None:
        """Stop cleanly and start again."""
        self.driver.reopen(*self.specs)

    @property
    def ledger(self) -> Ledger:
        return self.driver.ledger

    @property
    def queries(self) -> dict[QueryKey, tuple[Target, Query]]:
        return {q.spec.key: (target, q) for target in self.targets for q in target.queries}

    @property
    def specs(self) -> list[QuerySpec]:
        return [query.spec for _, query in self.queries.values()]

    async def poll_claimed(
        self, claim: Claim, ledger: Ledger | None = None, offload: Any = inline, read: Any = poll
    ) -> PollResult:
        """Poll what was claimed on ``ledger``, or this one's own; or read a slice of its past."""
        shown = self.ledger if ledger is None else ledger
        context = PollContext(shown, self.clock, self.rng, self.telemetry, offload, published)
        built, query = self.queries[claim.target, claim.query]
        api = built.client(Transport(httpx.ASGITransport(self.service)), self.clock)
        polled: PollResult = await read(context, ScheduledQuery(query, api), claim)
        return polled


async def published(_key: QueryKey) -> None:
    """Take no notice of what a poll shows."""

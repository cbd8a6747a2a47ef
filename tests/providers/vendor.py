"""A target of any provider, and one poll of it against a vendor that a transport plays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from exporter.clock import Clock
from exporter.config.model import Limits, Privacy
from exporter.config.secret import SecretContext
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest
from exporter.model.samples import Reading
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Query, Target
from tests.support.virtual import VirtualClock, run_virtual


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


def client_of(
    target: Target, transport: Transport, clock: Clock, requests_per_second: float = 0
) -> ApiClient:
    """Return a client that signs as ``target`` does."""
    return ApiClient(
        base_url=target.base_url,
        sign=target.sign,
        transport=transport,
        clock=clock,
        requests_per_second=requests_per_second,
    )


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
        sending = Transport(transport)
        client = client_of(target, sending, clock)
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

"""The page that explains why a series has its value, and its JSON form."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from exporter.errors import LedgerError
from exporter.explain.reader import Explanations
from exporter.explain.selector import SelectorError
from exporter.format import exact_sum, number
from exporter.status import FamilyStatus
from exporter.web.page import STYLE, filled, hash_of

AT_A_TIME = 2  # each one reads the ledger; further requests wait, scrapes do not
POLICY = (
    f"default-src 'none'; style-src {hash_of(STYLE)}; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

USUAL = "_(messages_received|interactions|conversations_started)_total$"
LARGEST_NUMBER = 9  # digits
NEWEST = 24  # buckets per series; a single series shows all


def endpoint(
    explain: Callable[[str, int], Explanations], families: Callable[[], Sequence[FamilyStatus]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of ``GET /explain?series=SELECTOR``; ``explain`` runs on a thread."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def page(request: Request) -> Response:
        selector = request.query_params.get("series", "").strip()
        first = _number(request.query_params.get("first", "1"))
        as_json = _wants_json(request)
        if not selector and not as_json:
            return _page("", HTTPStatus.OK, families=families())
        try:
            async with turn:
                found = await asyncio.to_thread(explain, selector, first)
        except SelectorError as error:
            return _error(selector, str(error), HTTPStatus.BAD_REQUEST, as_json=as_json)
        except LedgerError as error:
            return _error(selector, str(error), HTTPStatus.SERVICE_UNAVAILABLE, as_json=as_json)
        if not found.series:
            text = f"Only {found.total} series match." if found.total else found.note
            return _error(selector, text, HTTPStatus.NOT_FOUND, as_json=as_json)
        if as_json:
            return Response(msgspec.json.encode(found), media_type="application/json")
        return _page(selector, HTTPStatus.OK, found=found)

    return page


def _number(text: str) -> int:
    """Return the number in ``text``; 1 if it is not one that a page could begin with."""
    plain = text.isascii() and text.isdigit() and len(text) <= LARGEST_NUMBER
    return max(1, int(text)) if plain else 1


def _wants_json(request: Request) -> bool:
    form = request.query_params.get("format")
    accept = request.headers.get("accept", "")
    return form == "json" or (
        form is None and "application/json" in accept and "text/html" not in accept
    )


def _error(selector: str, text: str, status: HTTPStatus, *, as_json: bool) -> Response:
    if as_json:
        return Response(msgspec.json.encode({"error": text}), status, media_type="application/json")
    return _page(selector, status, error=text)


def _examples(families: Sequence[FamilyStatus]) -> Iterator[tuple[str, str]]:
    """Yield up to three selectors of existing series, each with its meaning."""
    wanted = (
        ("counts that a provider took back", lambda each: each.retracted),
        ("a counter", lambda each: each.targets[-1] if re.search(USUAL, each.name) else None),
        ("the newest settled hour or day", lambda each: "period" in each.name and each.targets[0]),
    )
    for meaning, target_of in wanted:
        for family in families:
            if target := target_of(family):
                yield f'{family.name}{{target="{target}"}}', meaning
                break


def _page(
    selector: str,
    status: HTTPStatus,
    *,
    found: Explanations | None = None,
    error: str = "",
    families: Sequence[FamilyStatus] = (),
) -> Response:
    html = filled(
        "explain.html",
        selector=selector,
        found=found,
        error=error,
        examples=[*_examples(families)],
        families=families,
        number=number,
        provider_sum=lambda each: exact_sum(bucket.provider for bucket in each.buckets),
        newest=NEWEST,
    )
    headers = {"Content-Security-Policy": POLICY}
    return Response(html, status, headers, media_type="text/html; charset=utf-8")

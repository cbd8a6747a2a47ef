"""The page that says why a series shows what it shows, and the same as JSON."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from exporter.errors import LedgerError
from exporter.explain.answer import Explanation, Explanations
from exporter.explain.selector import SelectorError
from exporter.format import number
from exporter.web.page import STYLE, filled, hash_of

AT_A_TIME = 2  # explaining reads the ledger; further requests wait, scrapes do not
POLICY = (
    f"default-src 'none'; style-src {hash_of(STYLE)}; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

EXAMPLES = ("chatbot_messages_received_total", '{__name__=~"chatbot_period_.*"}', '{target=~".+"}')
LARGEST_NUMBER = 9  # digits
Explain = Callable[[str, int], Explanations]


def endpoint(explain: Explain) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers ``GET /explain?series=SELECTOR``; ``explain`` runs on a thread."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def page(request: Request) -> Response:
        selector = request.query_params.get("series", "").strip()
        first = _number(request.query_params.get("first", "1"))
        as_json = _wants_json(request)
        if not selector and not as_json:
            return _page("", HTTPStatus.OK)
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
    """Return the number in ``text``; 1 where there is none that a page could begin with."""
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


def _page(
    selector: str, status: HTTPStatus, *, found: Explanations | None = None, error: str = ""
) -> Response:
    html = filled(
        "explain.html",
        selector=selector,
        found=found,
        error=error,
        examples=EXAMPLES,
        number=number,
        provider_sum=_provider_sum,
    )
    headers = {"Content-Security-Policy": POLICY}
    return Response(html, status, headers, media_type="text/html; charset=utf-8")


def _provider_sum(found: Explanation) -> float:
    return sum(bucket.provider for bucket in found.buckets)

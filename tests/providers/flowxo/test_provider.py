"""What a Flow XO target asks."""

from typing import Any

import httpx
import pytest

from exporter.config.model import Privacy
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Reading, Window
from exporter.providers.base.plugin import Target
from tests.providers.vendor import build_target, query_of, read
from tests.support.virtual import START_MS

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
LISTS: dict[str, Any] = {
    "top_flows": {"limit": 5, "window": "7d"},
    "top_messages": {"allow": ["Hi"]},
}


def target(privacy: Privacy = Privacy(), **changes: Any) -> Target:  # noqa: B008 - frozen
    return build_target(privacy, provider="flowxo", api_key="k", project="promo", **changes)


def ask(built: Target, name: str, window: Window) -> tuple[list[Reading], list[httpx.URL]]:
    asked: list[httpx.URL] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        answer = {"stats": [], "metrics": []} if name == "hourly" else []
        return httpx.Response(200, json=answer)

    request = PollRequest(window, START_MS)
    return read(built, query_of(built, name), httpx.MockTransport(vendor), request), asked


def test_hours_are_asked_in_utc_with_both_ends_in_full() -> None:
    (reading,), asked = ask(target(), "hourly", Window(NOON - HOUR_MS, NOON - 1))

    (url,) = asked
    assert url.copy_with(query=None) == "https://flowxo.com/api/insights"
    assert dict(url.params) == {
        "offset": "0",
        "unit": "hour",
        "start": "2026-03-03T11:00:00.000Z",
        "end": "2026-03-03T12:00:00.000Z",
    }
    assert reading.window == Window(NOON - HOUR_MS, NOON)


def test_a_top_list_is_asked_for_whole_hours_with_its_limit() -> None:
    (reading,), asked = ask(target(**LISTS), "top_flows", Window(NOON - HOUR_MS, NOON))

    (url,) = asked
    assert url.copy_with(query=None) == "https://flowxo.com/api/insights/top_flows"
    assert dict(url.params) == {
        "start": "2026-02-24T11:00:00.000Z",
        "end": "2026-03-03T11:00:00.000Z",
        "limit": "5",
    }
    assert reading.lists_of == {"chatbot_flowxo_top_flow_triggers"}


@pytest.mark.parametrize(
    ("privacy", "names"),
    [
        (Privacy(), ["hourly", "top_flows"]),
        (Privacy(top_messages="raw"), ["hourly", "top_flows"]),
        (Privacy(top_messages="allowlist"), ["hourly", "top_flows", "top_messages"]),
        (
            Privacy(top_messages="raw", allow_raw_text=True),
            ["hourly", "top_flows", "top_messages"],
        ),
    ],
)
def test_what_users_wrote_is_not_even_asked_for_unless_it_may_be_shown(
    privacy: Privacy, names: list[str]
) -> None:
    assert [query.spec.name for query in target(privacy, **LISTS).queries] == names


def test_listed_messages_are_compared_by_their_normalized_form() -> None:
    built = target(Privacy(top_messages="allowlist"), **LISTS)
    label_rules = built.queries[-1].spec.label_rules["message"]

    assert (label_rules.name("hi"), label_rules.name("bye")) == ("Hi", "other")

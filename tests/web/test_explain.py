"""The page of ``GET /explain``, and the same as JSON."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from exporter.errors import LedgerError
from exporter.explain.reader import Explainer, Explanations
from exporter.status import FamilyStatus
from exporter.web import explain as explain_page
from exporter.web.app import build
from tests.support.driver import LedgerDriver
from tests.support.explained import by_key, explained_ledger, report
from tests.web.served import ask, sources

FAMILIES = (
    FamilyStatus("chatbot_messages_received_total", "Messages.", 3, ("shop",)),
    FamilyStatus("chatbot_messages_sent_total", "Answers.", 3, ("shop",), retracted="shop"),
    FamilyStatus("chatbot_period_messages_received", "Newest.", 2, ("shop",)),
)
ANY = '{target=~".+"}'
RECEIVED = 'chatbot_messages_received_total{target="shop"}'


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerDriver]:
    monkeypatch.setenv("FLOWXO_API_KEY", "sk-C4n4ry")
    found = explained_ledger(tmp_path)
    report(found, "shop", {9: 100, 10: 30})
    found.clock.advance(60 * 20)
    report(found, "shop", {9: 104, 10: 80, 11: 12})
    found.confirm_zero_scraped()
    yield found
    found.close()


def get(driver: LedgerDriver, most: int = 1, **request: Any) -> httpx.Response:
    def explain(selector: str, first: int) -> Explanations:
        now_ms = driver.clock.now_ms()
        explainer = Explainer(driver.url, by_key(driver), driver.families, now_ms)
        return explainer.answer(selector, first, most)

    app = build(sources(explain=explain, families=lambda: FAMILIES))
    return ask(app, "GET", "/explain", **request)


def test_without_a_selector_there_is_a_form_to_fill_in(driver: LedgerDriver) -> None:
    response = get(driver)

    assert response.status_code == 200
    assert get(driver, params={"format": "json"}).status_code == 400
    assert '<input name="series"' in response.text
    assert "<section" not in response.text


def test_it_opens_with_what_exists_and_examples_that_have_something_to_show(
    driver: LedgerDriver,
) -> None:
    text = html.unescape(get(driver).text)

    assert re.findall(r"<code>(.*?)</code></a>: (.*?)</li>", text) == [
        ('chatbot_messages_sent_total{target="shop"}', "counts that a provider took back"),
        ('chatbot_messages_received_total{target="shop"}', "a counter"),
        ('chatbot_period_messages_received{target="shop"}', "the newest settled hour or day"),
    ]
    for family in FAMILIES:
        assert f"{family.name}</a></th><td>{family.help}</td><td>{family.series}</td>" in text
    found = get(driver, params={"series": RECEIVED})
    assert "Families" not in found.text
    assert series_on(found.text)


def test_the_page_shows_the_sum_and_every_bucket(driver: LedgerDriver) -> None:
    response = get(driver, params={"series": RECEIVED})

    text = html.unescape(response.text)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert 'project="shop",bot_environment="",channel=""}</code> 66' in text
    assert '<th scope="row">= counter</th><td>66</td>' in text
    assert text.count("<td>settled</td>") + text.count("<td>settling</td>") == 2
    assert "<code>GET /insights</code>, field <code>metrics[].received_messages</code>" in text


def test_of_several_series_the_newest_buckets_are_shown_and_a_link_to_all(
    driver: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain_page, "NEWEST", 2)

    several = get(driver, 100, params={"series": ANY}).text

    (section,) = (
        each
        for each in several.split("</section>")
        if "All 3 buckets" in each and "_received_total" in each
    )
    assert section.count("<td>open") + section.count("<td>settl") == 2
    every = re.search(r'<a href="/explain\?(.*?)">All 3 buckets', section)
    assert every
    alone = get(driver, 100, params=html.unescape(every[1])).text
    assert alone.count("<td>open") + alone.count("<td>settl") == 3


@pytest.mark.parametrize(
    ("accept", "form", "kind"),
    [
        ("*/*", {"format": "json"}, "application/json"),
        ("application/json", {}, "application/json"),
        ("text/html,application/xhtml+xml,application/json;q=0.9", {}, "text/html; charset=utf-8"),
    ],
)
def test_the_same_is_there_as_json_for_who_asks_for_it(
    driver: LedgerDriver, accept: str, form: dict[str, str], kind: str
) -> None:
    response = get(driver, params={"series": RECEIVED} | form, headers={"Accept": accept})

    assert response.headers["content-type"] == kind
    if kind == "application/json":
        (series,) = json.loads(response.content)["series"]
        assert (series["exported"], len(series["buckets"])) == (66, 3)


def series_on(page: str) -> list[str]:
    return re.findall(r"<h2 [^>]*><code>(.*?)</code>", page)


def link(page: str, rel: str = "") -> str | None:
    attribute = f'rel="{rel}" ' if rel else ""
    found = re.search(f'<a {attribute}href="/explain\\?(.*?)"', page)
    return html.unescape(found[1]) if found else None


def test_a_reader_goes_on_page_by_page_and_sees_every_series_once(driver: LedgerDriver) -> None:
    driver.clock.advance(60 * 1)
    report(driver, "promo", {10: 1}, users=3)
    driver.clock.advance(60 * 1)
    report(driver, "shop", {9: 104, 10: 80, 11: 12}, users=5)
    everything = get(driver, 100, params={"series": ANY}).text
    query: str | None = f"series={quote(ANY)}"
    seen: list[str] = []
    words: list[str] = []

    while query:
        page = get(driver, 2, params=query).text
        seen += series_on(page)
        words += re.findall(r"Series \d+ to \d+ of \d+", page)
        query = link(page, "next")

    before = link(get(driver, 2, params={"series": ANY, "first": "3"}).text, "prev")
    number = len(series_on(everything))
    assert number > 4
    assert before is not None
    assert series_on(get(driver, 2, params=before).text) == seen[:2]
    assert seen == series_on(everything)
    assert words[0] == f"Series 1 to 2 of {number}"
    assert words[-1].endswith(f"to {number} of {number}")
    assert link(everything, "next") is None
    assert f"<p>{number} series, as of" in everything


def test_json_says_how_many_there_are_and_which_these_are(driver: LedgerDriver) -> None:
    params = {"series": ANY, "first": "2", "format": "json"}

    found = get(driver, 2, params=params).json()

    assert (found["first"], found["most"], found["total"]) == (2, 2, 12)
    assert len(found["series"]) == 2


@pytest.mark.parametrize("first", ["0", "-1", "x", "", "٣", "1e9", "9" * 5_000])
def test_a_number_that_is_none_is_the_first_page(first: str, driver: LedgerDriver) -> None:
    response = get(driver, params={"series": RECEIVED, "first": first})

    assert (response.status_code, len(series_on(response.text))) == (200, 1)


def test_a_page_behind_the_last_says_how_many_there_are(driver: LedgerDriver) -> None:
    response = get(driver, params={"series": RECEIVED, "first": "999999999"})

    assert response.status_code == 404
    assert "Only 1 series match." in response.text


@pytest.mark.parametrize(
    ("selector", "status", "words"),
    [
        (
            'a{b="<script>alert(1)</script>"}',
            404,
            "No series matches: there is no such metric family",
        ),
        ("chatbot_engagement_score", 404, "Explain that counter instead."),
        ("<script>alert(1)</script>", 400, "character 1: unexpected text after the selector"),
        ('{a=~"("}', 400, "invalid regular expression: missing )"),
    ],
)
def test_what_cannot_be_explained_is_said_and_escaped(
    driver: LedgerDriver, selector: str, status: int, words: str
) -> None:
    page = get(driver, params={"series": selector})
    data = get(driver, params={"series": selector, "format": "json"})

    assert (page.status_code, data.status_code) == (status, status)
    assert words in html.unescape(page.text)
    assert words in json.loads(data.content)["error"]
    assert "<script" not in page.text


def test_a_ledger_that_cannot_be_read_is_503() -> None:
    def explain(_selector: str, _first: int) -> Explanations:
        raise LedgerError("the ledger cannot be read: database is locked")

    response = ask(build(sources(explain=explain)), "GET", "/explain", params={"series": "a"})

    assert response.status_code == 503
    assert "database is locked" in response.text


def test_the_page_may_run_nothing_and_fetch_nothing(driver: LedgerDriver) -> None:
    policy = get(driver, params={"series": RECEIVED}).headers["content-security-policy"]

    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy

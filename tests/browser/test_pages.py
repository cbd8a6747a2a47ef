"""The pages in a real browser: Debian's Chromium, driven by Playwright, judged by axe.

Needs ``chromium`` and ``axe.min.js`` (``npm install axe-core@4`` in
``node_modules`` of this folder's root, or wherever ``AXE_CORE`` points). Without them it is
skipped; where ``CI=true`` it fails.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.processes import wait_for
from tests.packaging.programs import needed

ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules/axe-core/axe.min.js"))
ARTIFACTS = ROOT / "artifacts"
SERIES = 'chatbot_messages_received_total{target="demo-flowxo"}'
MANY = '{target=~"demo-.*"}'
PAGES = {
    "status": "/",
    "target": "/?target=demo-flowxo",
    "families": "/explain",
    "explain": f"/explain?series={SERIES}",
    "explain-many": f"/explain?series={MANY}",
}

WIDER_THAN_THEIR_PLACE = """
    [document.documentElement, ...document.querySelectorAll(".wide, .bot, .facts, main *")]
      .filter((each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0
        && getComputedStyle(each).display !== "inline")
      .map((each) => each.outerHTML.slice(0, 120))
"""
ROWS_ALIKE = "document.querySelectorAll('tbody tr:nth-child(n+20)').forEach((row) => row.remove())"
"""Twenty rows of a table stand for all: axe takes a minute for the hours of five weeks."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not AXE.is_file():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{AXE} is absent")
    with sync_playwright() as playwright:
        chromium = needed("chromium", "make tools")
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def demo(browser: object) -> Iterator[str]:  # noqa: ARG001 - which may have to be skipped
    """Yield the URL of a demo that has polled."""
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", "demo", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as run:
        assert run.stdout is not None
        url = next(line.split()[-1].rstrip("/") for line in run.stdout if "status page" in line)
        transport = httpx.HTTPTransport(retries=3)
        try:
            with httpx.Client(transport=transport, timeout=30) as client:
                status = partial(client.get, url + "/api/v1/status")
                wait_for(lambda: polled(status().json()), 300, every=1)
            yield url
        finally:
            run.terminate()
            run.communicate(timeout=15)


def polled(status: dict[str, Any]) -> bool:
    """Return whether every query was polled and every target's bots are there."""
    return all(
        target["bots"] and all(query["last_success_ms"] for query in target["queries"])
        for target in status["targets"]
    )


def opened(browser: Any, url: str, width: int = 1400, **options: Any) -> tuple[Any, list[str]]:
    """Return the page and, as they come, its console's errors and its requests elsewhere."""
    context = browser.new_context(
        bypass_csp=True, viewport={"width": width, "height": 900}, **options
    )
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(request.url))
    response = page.goto(url)
    assert response.ok
    return page, trouble


@pytest.mark.parametrize(("width", "scheme"), [(800, "light"), (1400, "dark")])
@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"explain-many"}))  # as one, fifty times
def test_a_page_has_no_error_and_nothing_serious_and_cuts_nothing_off(
    name: str,
    width: int,
    scheme: str,
    demo: str,
    browser: Any,
) -> None:
    page, trouble = opened(browser, demo + PAGES[name], width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
    page.evaluate(AXE.read_text("utf-8"))
    ARTIFACTS.mkdir(exist_ok=True)

    cut_off = page.evaluate(WIDER_THAN_THEIR_PLACE)
    page.evaluate(ROWS_ALIKE)
    page.screenshot(path=str(ARTIFACTS / f"{name}-{scheme}-{width}.png"), full_page=True)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")

    assert [
        (each["id"], each["nodes"][0]["html"])
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ] == []
    assert cut_off == []
    assert trouble == []


def test_the_policy_lets_the_pages_run(demo: str, browser: Any) -> None:
    page = browser.new_context().new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)

    for path in PAGES.values():
        page.goto(demo + path)

    assert refused == []


def test_what_is_chosen_outlives_a_refresh(demo: str, browser: Any) -> None:
    page, trouble = opened(browser, demo)
    targets = page.locator("section.target:visible")
    everything = targets.count()

    page.get_by_label("Filter").fill("demo-flowxo promo")
    page.reload()

    assert everything == 5
    assert page.get_by_label("Filter").input_value() == "demo-flowxo promo"
    assert targets.count() == 1
    assert "1 of 5 targets shown" in page.locator("#shown").inner_text()
    assert trouble == []


def test_the_table_is_one_click_away_and_sorted_by_keyboard(demo: str, browser: Any) -> None:
    page, _ = opened(browser, demo)
    assert page.locator("#queries").is_hidden()

    page.get_by_text("Every query in a table").click()
    page.get_by_role("button", name="Target").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")

    names = page.locator("#queries tbody th").all_inner_texts()
    assert names == sorted(names, reverse=True)
    assert len(names) > 20


def test_an_instant_is_shown_in_local_time_on_hover(demo: str, browser: Any) -> None:
    page, _ = opened(browser, demo, timezone_id="Asia/Tokyo", locale="en-GB")
    seen = page.locator("time").first

    title = seen.get_attribute("title")

    utc = datetime.fromisoformat(seen.get_attribute("datetime"))
    local = utc.astimezone(ZoneInfo("Asia/Tokyo")).strftime("%d/%m/%Y, %H:%M:%S")
    assert title == f"{local} local time, {utc:%Y-%m-%d %H:%M:%S} UTC"


def test_a_reader_of_the_screen_hears_what_the_charts_show(demo: str, browser: Any) -> None:
    page, _ = opened(browser, demo)

    charts = page.get_by_role("img").all()

    named = [chart.get_attribute("aria-label") for chart in charts]
    assert len(named) == 2 * page.locator(".bot").count() > 10
    assert all(re.match(r"(24 h|7 d): .+", name) for name in named)


def test_a_series_is_explained_from_the_form(demo: str, browser: Any) -> None:
    page, trouble = opened(browser, demo + "/explain")

    page.get_by_label("Series").fill(SERIES)
    page.keyboard.press("Enter")
    page.wait_for_selector("section h2")

    assert page.locator("section").count() == 1
    assert page.get_by_role("link", name="Next").count() == 0
    assert "= counter" in page.locator("table.sum").inner_text()
    assert trouble == []


def test_a_reader_goes_on_to_the_next_page_of_series(demo: str, browser: Any) -> None:
    asked = partial(httpx.get, f"{demo}/explain", params={"series": MANY, "format": "json"})
    assert asked(timeout=30).json()["total"] > 50
    page, trouble = opened(browser, demo + PAGES["explain-many"])
    first = page.locator("h2").all_inner_texts()

    page.get_by_role("link", name="Next").first.click()
    page.wait_for_url("**first=51**")

    assert len(first) == 50
    assert not set(first) & set(page.locator("h2").all_inner_texts())
    assert trouble == []

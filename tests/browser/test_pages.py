"""The pages in a real browser: Debian's Chromium, driven by Playwright, judged by axe.

Needs ``chromium``, the package ``playwright`` and ``axe.min.js`` (``npm install axe-core@4`` in
``node_modules`` of this folder's root, or wherever ``AXE_CORE`` points). Without them it is
skipped; where ``CI=true`` it fails.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.processes import wait_for

ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules/axe-core/axe.min.js"))
ARTIFACTS = ROOT / "artifacts"
CHROMIUM = shutil.which("chromium") or ""
MISSING = [
    name
    for name, there in (
        ("chromium", CHROMIUM),
        ("playwright", importlib.util.find_spec("playwright")),
        (str(AXE), AXE.is_file()),
    )
    if not there
]
SERIES = 'chatbot_messages_received_total{target="demo-flowxo"}'
MANY = '{target=~"demo-.*"}'
PAGES = {
    "status": "/",
    "target": "/?target=demo-flowxo",
    "explain": f"/explain?series={SERIES}",
    "explain-many": f"/explain?series={MANY}",
}

if MISSING and os.environ.get("CI") == "true":
    pytest.fail(f"missing for the browser tests: {', '.join(MISSING)}", pytrace=False)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
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
        with httpx.Client(transport=transport, timeout=30) as client:
            asked = partial(client.get, url + "/explain", params={"series": SERIES})
            wait_for(lambda: asked().status_code == httpx.codes.OK, 300)
        yield url
        run.terminate()
        run.communicate(timeout=15)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - may be missing

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Any, url: str, **options: Any) -> tuple[Any, list[str]]:
    """Return the page and, as they come, its console's errors and its requests elsewhere."""
    context = browser.new_context(
        bypass_csp=True, viewport={"width": 1280, "height": 900}, **options
    )
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(request.url))
    response = page.goto(url)
    assert response.ok
    return page, trouble


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_has_no_error_and_nothing_serious(
    name: str, scheme: str, demo: str, browser: Any
) -> None:
    page, trouble = opened(browser, demo + PAGES[name], color_scheme=scheme)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTIFACTS / f"{name}-{scheme}.png"), full_page=True)

    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run()")

    assert trouble == []
    assert [
        (each["id"], each["nodes"][0]["html"])
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ] == []


def test_the_policy_lets_the_pages_run(demo: str, browser: Any) -> None:
    page = browser.new_context().new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)

    for path in PAGES.values():
        page.goto(demo + path)

    assert refused == []


def test_rows_are_filtered_and_sorted_by_keyboard(demo: str, browser: Any) -> None:
    page, _ = opened(browser, demo)
    rows = page.locator("#queries tbody tr:not([hidden])")
    everything = rows.count()

    page.get_by_label("Filter").fill("demo-flowxo")

    assert 0 < rows.count() < everything
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Target").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    names = [row.split("\t")[0] for row in rows.all_inner_texts()]
    assert names == sorted(names, reverse=True)


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
    wait_for(lambda: "never polled" not in httpx.get(f"{demo}/api/v1/status").text, 180, every=1)
    assert asked(timeout=30).json()["total"] > 50
    page, trouble = opened(browser, demo + PAGES["explain-many"])
    first = page.locator("h2").all_inner_texts()

    page.get_by_role("link", name="Next").first.click()
    page.wait_for_url("**first=51**")

    assert len(first) == 50
    assert not set(first) & set(page.locator("h2").all_inner_texts())
    assert trouble == []

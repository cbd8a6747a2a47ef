"""``python -m scripts.status_picture`` makes docs/pictures/status.png of the demo in Chromium."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[1] / "docs/pictures/status.png"
URL = "http://127.0.0.1:18777"
WITHIN_S = 600
WIDTH = 1400


def main() -> None:
    """Run the demo until every bot is judged and counts were retracted; picture its page."""
    with subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", "exporter", "demo", "--listen", URL.removeprefix("http://")]
    ) as demo:
        try:
            _wait()
            picture(URL)
        finally:
            demo.terminate()


def picture(url: str) -> None:
    """Write the picture of the status page at ``url``."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(url)
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()


def _wait() -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=30) as client:
        for _ in range(WITHIN_S):
            if _complete(client.get(f"{URL}/api/v1/status").json()):
                return
            time.sleep(1)  # noqa: TID251 - waits for another process
    raise SystemExit(f"the demo's history was not read within {WITHIN_S} s")


def _complete(status: dict[str, Any]) -> bool:
    targets = status["targets"]
    retracted = any(query["overhang"] for target in targets for query in target["queries"])
    read = all(target["bots"] and not target["history"] for target in targets)
    return retracted and read and all(bot["windows"] for t in targets for bot in t["bots"])


if __name__ == "__main__":
    main()

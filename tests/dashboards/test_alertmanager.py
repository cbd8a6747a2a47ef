"""The example for Alertmanager: it loads, routes every alert, and silences only consequences.

By the README alone, with the demo and Prometheus, an alert fires and is resolved.
"""

import contextlib
import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from dashboards.source.alerts import alerts
from dashboards.source.files import FOLDER
from dashboards.source.thresholds import Thresholds
from tests.dashboards.live import started
from tests.dashboards.promtool import needed
from tests.docs.pages import snippets
from tests.e2e.processes import ROOT, free_port, page, program, wait_for
from tests.packaging.programs import said

SETTINGS = FOLDER / "alertmanager.yml"
ALERTS = {alert.name: alert for alert in alerts(Thresholds()) if not alert.labels}
PAGED = {
    *("ChatbotExporterDown", "ChatbotExporterAbsent", "ChatbotLedgerFailing"),
    *("ChatbotLedgerUnreachable", "ChatbotAuthenticationFailing"),
}
DROPS = {f"ChatbotEngagementDrop{drop.name}" for drop in Thresholds().drops}
PRODUCT = DROPS | {
    "ChatbotUsersDropWeekly",
    "ChatbotFallbackShareHigh",
    "ChatbotHandoverShareHigh",
}
UNTOLD = {"ChatbotBaselineNotLearnt", "ChatbotOverhangStanding"}


def amtool(*arguments: str) -> str:
    return said(needed("amtool"), *arguments)


def receiver(name: str) -> str:
    if name in PAGED:
        return "pager"
    if name in PRODUCT:
        return "product"
    return "nobody" if name in UNTOLD else "tickets"


def test_alertmanager_takes_the_example() -> None:
    assert "SUCCESS" in amtool("check-config", str(SETTINGS))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_goes_to_those_who_can_act(name: str) -> None:
    labels = (f"alertname={name}", f"severity={ALERTS[name].severity}", "target=shop")
    route = ("config", "routes", "test", f"--config.file={SETTINGS}")

    assert amtool(*route, f"--verify.receivers={receiver(name)}", *labels).strip()


def test_a_route_to_the_wrong_people_is_noticed() -> None:
    route = ("config", "routes", "test", f"--config.file={SETTINGS}", "--verify.receivers=tickets")

    with pytest.raises(AssertionError, match="pager"):
        amtool(*route, "alertname=ChatbotExporterDown", "severity=critical")


CAUSES: Mapping[str, set[str]] = {
    "ChatbotAuthenticationFailing": {"ChatbotDataStale", "ChatbotNeverSucceeded"},
    "ChatbotThrottled": {"ChatbotDataStale", "ChatbotNeverSucceeded"},
    "ChatbotEngagementDropDaily": DROPS - {"ChatbotEngagementDropDaily"},
    "ChatbotExporterDown": set(),
    "ChatbotExporterAbsent": set(),
}
"""What follows from an alert of the same query or bot; every other alert must stay."""


def fired(name: str, cause: str, part: str) -> dict[str, str]:
    """Return an alert on the target ``cause`` and one part of it (a bot, a query, a family)."""
    place = {"provider": "flowxo", "target": cause, "job": "chatbots", "instance": cause}
    place |= dict.fromkeys(
        ("project",) if ALERTS[name].of_engagement else ("query", "family"), part
    )
    return place | {"alertname": name, "severity": ALERTS[name].severity}


def test_an_alert_silences_only_what_follows_from_it(tmp_path: Path) -> None:
    others = ALERTS.keys() - CAUSES.keys()
    posted = [fired(cause, cause, "a") for cause in CAUSES]
    posted += [fired(name, cause, part) for cause in CAUSES for name in others for part in "ab"]
    expected = {
        frozenset(fired(name, cause, "a").items())
        for cause, consequences in CAUSES.items()
        for name in consequences
    }

    command = [
        *(needed("alertmanager"), f"--config.file={SETTINGS}", f"--storage.path={tmp_path}"),
        "--cluster.listen-address=",
    ]
    with started(command) as client:
        client.post("/api/v2/alerts", json=[{"labels": labels} for labels in posted])

        def silenced() -> set[frozenset[tuple[str, str]]]:
            found = client.get("/api/v2/alerts").json()
            return {frozenset(a["labels"].items()) for a in found if a["status"]["inhibitedBy"]}

        with contextlib.suppress(AssertionError):
            wait_for(lambda: silenced() == expected, 5)
        assert silenced() == expected


ALERT = "ChatbotExporterDown"
WITHIN_S = 60
SHORTER = {
    "dashboards/prometheus.yml": {r"\b60s": "1s"},
    "dashboards/rules/chatbot-alerts.yaml": {
        r"interval: \d+s": "interval: 1s",
        "for: 10m": "for: 2s",
    },
    "dashboards/alertmanager.yml": {"group_wait: 1m": "group_wait: 1s"},
}
"""The files that the README's commands read, and which of their times are too long for a test."""


def typed(program: str) -> list[str]:
    """Return the README's only command of this program."""
    (line,) = (
        line
        for snippet in snippets("sh")
        for line in snippet.text.splitlines()
        if snippet.place.startswith("README.md") and line.split()[0] == program
    )
    return shlex.split(line, comments=True)


@contextmanager
def demo(port: int) -> Iterator[None]:
    """Run the demo as ``make demo`` does, until Ctrl-C ends it."""
    with program("demo", "--listen", f"127.0.0.1:{port}") as process:
        wait_for(lambda: page(port) is not None, WITHIN_S)
        yield
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WITHIN_S)


def test_the_readme_leads_to_an_alert_that_fires_and_is_resolved(tmp_path: Path) -> None:
    assert "$(PY) -m exporter demo\n" in (ROOT / "Makefile").read_text("utf-8")
    ports = {"10877": free_port(), "9090": free_port(), "9093": free_port()}

    def here(text: str) -> str:
        """Return ``text`` with ports and folders of this test."""
        for usual, port in ports.items():
            text = text.replace(usual, str(port))
        return text.replace("/tmp/", f"{tmp_path}/")  # noqa: S108 - as the README has it

    for name, times in SHORTER.items():
        text = (ROOT / name).read_text("utf-8")
        for usual, shorter in times.items():
            assert re.search(usual, text), f"{name}: {usual}"
            text = re.sub(usual, shorter, text)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(here(text), "utf-8")

    def listed() -> bool:
        command = [needed("amtool"), *typed("amtool")[1:]]
        return ALERT in said(*map(here, command))

    with ExitStack() as stack:
        servers = {}
        for name, port in (("prometheus", ports["9090"]), ("alertmanager", ports["9093"])):
            command = [needed(name), *map(here, typed(name)[1:])]
            servers[name] = stack.enter_context(started(command, port, tmp_path))
        with demo(ports["10877"]):
            wait_for(lambda: scraped(servers["prometheus"]), WITHIN_S)
            assert not listed()

        wait_for(listed, WITHIN_S)

        with demo(ports["10877"]):
            wait_for(lambda: not listed(), WITHIN_S)


def scraped(prometheus: httpx.Client) -> bool:
    query = {"query": "up == 1 and on (job, instance) chatbot_exporter_build_info"}
    return bool(prometheus.get("/api/v1/query", params=query).json()["data"]["result"])

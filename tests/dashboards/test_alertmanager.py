"""The example for Alertmanager: it loads, routes every alert, and silences only consequences."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from dashboards.source.alerts import alerts
from dashboards.source.files import FOLDER
from dashboards.source.thresholds import Thresholds
from tests.dashboards.live import started
from tests.dashboards.promtool import needed
from tests.e2e.processes import wait_for
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

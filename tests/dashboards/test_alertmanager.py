"""The example for Alertmanager: it loads, and every alert goes where the example says."""

import subprocess

import pytest
import yaml

from dashboards.source.alerts import alerts
from dashboards.source.files import FOLDER
from dashboards.source.thresholds import Tuning
from tests.dashboards.promtool import DEADLINE_S, needed

SETTINGS = FOLDER / "alertmanager.yml"
ALERTS = {alert.name: alert.severity for alert in alerts(Tuning())}
PAGED = {"ChatbotExporterDown", "ChatbotExporterAbsent", "ChatbotAuthenticationFailing"}
PRODUCT = {
    *(f"ChatbotEngagementDrop{drop.name}" for drop in Tuning().drops),
    "ChatbotUsersDropWeekly",
    "ChatbotFallbackShareHigh",
    "ChatbotHandoverShareHigh",
}
UNTOLD = {"ChatbotBaselineNotLearnt", "ChatbotOverhangStanding"}
BOT = "provider, target, project, bot_environment"


def amtool(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - amtool itself
        [needed("amtool"), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    labels = (f"alertname={name}", f"severity={ALERTS[name]}", "provider=flowxo", "target=shop")
    route = ("config", "routes", "test", f"--config.file={SETTINGS}")

    assert amtool(*route, f"--verify.receivers={receiver(name)}", *labels).strip()


def test_a_route_to_the_wrong_people_is_noticed() -> None:
    route = ("config", "routes", "test", f"--config.file={SETTINGS}", "--verify.receivers=tickets")

    with pytest.raises(AssertionError, match="pager"):
        amtool(*route, "alertname=ChatbotExporterDown", "severity=critical")


def test_only_drops_of_one_bot_silence_each_other() -> None:
    rules = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["inhibit_rules"]
    by_source = {rule["source_matchers"][0]: rule for rule in rules}

    daily = by_source['alertname="ChatbotEngagementDropDaily"']
    assert ", ".join(daily["equal"]) == BOT
    assert daily["target_matchers"] == [
        'alertname=~"ChatbotEngagementDrop(Sudden|Fast|QuarterDay|HalfDay)"',
    ]

"""Drops in engagement: the gauges of the exporter on both sides of every threshold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from dashboards.source.files import FOLDER
from dashboards.source.thresholds import Drop, Thresholds
from tests.dashboards.promtool import BUILDS, Values, firing, rules

STEP_S = 300
HOUR = 3600 // STEP_S
STEPS = 8 * HOUR
START, END = 2 * HOUR, 3 * HOUR
THRESHOLDS = Thresholds(interval_s=STEP_S)
DROPS = {f"ChatbotEngagementDrop{drop.name}": drop for drop in THRESHOLDS.drops}
UNLEARNT = "ChatbotBaselineNotLearnt"
EXPECTED = 1000.0
PAGE = FOLDER.parent / "docs/alerts.md"


@dataclass(frozen=True, slots=True)
class Gauges:
    """The gauges of one bot and window, in steps ``[START, end)``; before and after all is well."""

    actual: float
    score: float
    expected: float = EXPECTED
    weeks: float = 5
    newest: float = 0
    end: int = END


@pytest.mark.parametrize("name", DROPS)
def test_the_page_has_the_numbers_of_the_rule(name: str) -> None:
    drop = DROPS[name]
    window, newest, keep = (
        f"{text[:-1]} h" for text in (drop.window, drop.newest, drop.keep_firing)
    )
    share = f"{100 * drop.share:g} %" + (f", the newest {newest} as well" if drop.newest else "")
    cells = (name, window, share, f"{drop.score:g}", str(drop.min_expected), keep)

    assert f"| {' | '.join(cells)} |" in PAGE.read_text().splitlines()


def low(drop: Drop) -> Gauges:
    """Return gauges that are just beyond every threshold."""
    return Gauges(drop.share * EXPECTED - 1, drop.score - 0.01)


def cases(drop: Drop) -> Iterator[tuple[str, Gauges, str]]:
    """Yield what a bot shows and the severity that must fire for it (empty: none)."""
    beyond = low(drop)
    few = replace(beyond, actual=0, expected=drop.min_expected)
    yield "low", beyond, "warning"
    yield "with four weeks", replace(beyond, weeks=4), "warning"
    yield "with less history", replace(beyond, weeks=3.9), "info"
    yield "score as usual", replace(beyond, score=drop.score), ""
    yield "enough left", replace(beyond, actual=drop.share * EXPECTED), ""
    yield "just enough expected", few, "warning"
    yield "too few expected", replace(few, expected=drop.min_expected - 0.1), ""
    yield "for five minutes", replace(beyond, end=START + 2), ""
    if drop.newest:
        yield "over by now", replace(beyond, newest=drop.share * EXPECTED), ""


def series(name: str, drop: Drop, gauges: Gauges, replica: str = "") -> dict[str, Values]:
    """Return what Prometheus has of a bot named ``name``."""
    labels = f'provider="flowxo",target="{name}",project="bot",bot_environment=""{replica}'

    def during(low: float, usual: float) -> Values:
        return [low if START <= step < gauges.end else usual for step in range(STEPS)]

    expected: Values = [gauges.expected] * STEPS
    values = {
        ("", drop.window): during(gauges.actual, gauges.expected),
        ("_expected", drop.window): expected,
        ("_score", drop.window): during(gauges.score, 0),
    }
    if drop.newest:
        values["", drop.newest] = during(gauges.newest, gauges.expected)
        values["_expected", drop.newest] = expected
    found = {
        f'chatbot_engagement{family}{{{labels},window="{window}"}}': each
        for (family, window), each in values.items()
    }
    return found | {f"chatbot_engagement_history_weeks{{{labels}}}": [gauges.weeks] * STEPS}


CASES = [
    (alert, name, severity) for alert, drop in DROPS.items() for name, _, severity in cases(drop)
]
JOBS = {"two replicas": ("a", "a"), "two exporters": ("a", "b")}


@pytest.fixture(scope="module", params=BUILDS)
def fired(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[int, list[dict[str, str]]]:
    """Return what fires at each step; a bot is named after its alert and case."""
    shown: dict[str, Values] = {}
    for alert, drop in DROPS.items():
        for name, gauges, _ in cases(drop):
            shown |= series(f"{alert} {name}", drop, gauges)
        for name, jobs in JOBS.items():
            for number, job in enumerate(jobs):
                replica = f',job="{job}",instance="{number}",pod="{number}"'
                shown |= series(f"{alert} {name}", drop, low(drop), replica)
    return firing(
        tmp_path_factory.mktemp("drops"),
        rules(THRESHOLDS, DROPS),
        shown,
        [step * STEP_S for step in range(STEPS)],
        step_s=STEP_S,
        build=request.param,
    )


def of(
    fired: Mapping[int, list[dict[str, str]]], alert: str, name: str
) -> list[tuple[int, dict[str, str]]]:
    return [
        (step, found)
        for step, all_ in fired.items()
        for found in all_
        if found["target"] == f"{alert} {name}"
    ]


@pytest.mark.parametrize(("alert", "name", "severity"), CASES)
def test_a_drop_fires_where_every_threshold_is_passed(
    fired: Mapping[int, list[dict[str, str]]], alert: str, name: str, severity: str
) -> None:
    found = of(fired, alert, name)

    assert {labels["severity"] for _, labels in found} == ({severity} if severity else set())
    assert {labels["alertname"] for _, labels in found} <= {alert}
    assert all(("provisional" in labels) is (severity == "info") for _, labels in found)


@pytest.mark.parametrize("alert", DROPS)
def test_a_drop_fires_after_ten_minutes_and_goes_on_as_long_as_it_is_kept(
    fired: Mapping[int, list[dict[str, str]]], alert: str
) -> None:
    steps = [step // STEP_S for step, _ in of(fired, alert, "low")]

    kept = int(DROPS[alert].keep_firing.removesuffix("h")) * HOUR
    assert steps == list(range(START + 2, min(END + kept, STEPS)))


@pytest.mark.parametrize("alert", DROPS)
@pytest.mark.parametrize("name", JOBS)
def test_replicas_fire_once_and_exporters_each(
    fired: Mapping[int, list[dict[str, str]]], alert: str, name: str
) -> None:
    at_once = [labels for step, labels in of(fired, alert, name) if step == (END - 1) * STEP_S]

    assert sorted(labels["job"] for labels in at_once) == sorted(set(JOBS[name]))


@pytest.mark.parametrize(("weeks", "hours", "expected"), [(0.9, 30, 1), (0.9, 20, 0), (1, 30, 0)])
def test_a_bot_without_a_week_of_history_is_named_after_a_day(
    tmp_path_factory: pytest.TempPathFactory, weeks: float, hours: int, expected: int
) -> None:
    name = 'chatbot_engagement_history_weeks{target="new"}'
    found = firing(
        tmp_path_factory.mktemp("new"),
        rules(THRESHOLDS, (UNLEARNT,)),
        {name: [weeks] * (hours * HOUR)},
        [(hours * HOUR - 1) * STEP_S],
        step_s=STEP_S,
    )

    assert len(found) == expected

"""The status page, as an operator reads it and as an attacker would like to write on it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from exporter.engagement.expectation import HourExpectation, WindowScore
from exporter.format import age, span, stamp
from exporter.ledger.rows import BudgetState
from exporter.simulator.traffic import Traffic
from exporter.status import (
    AuditStatus,
    HistoryStatus,
    PollErrorStatus,
    PollStatus,
    QueryStatus,
    State,
    Status,
    Verdict,
)
from exporter.web.app import build
from exporter.web.page import POLICY, TALL, TONES, WIDE, draw_engagement, draw_polls, render
from tests.faults.bench import Bench
from tests.web.served import (
    HOUR_MS,
    NOW_MS,
    ask,
    bot,
    failing_query,
    query,
    sources,
    status,
    target,
)


class Markup(HTMLParser):
    """Collects every tag and attribute that occurs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def page(shown: Status, of: str | None = None) -> str:
    html = render(shown, target=of)
    assert html is not None
    return html


def words(html: str) -> str:
    """Return what a reader sees of some markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def rows(html: str) -> list[list[str]]:
    """Return the text of each cell of every row."""
    found = re.findall(r"<tr\b.*?</tr>", html, re.DOTALL)
    return [[*map(words, re.findall(r"<t[dh]\b.*?</t[dh]>", each, re.DOTALL))] for each in found]


def row(of: QueryStatus) -> list[str]:
    return rows(page(status(target("shop", of))))[1]


def test_a_query_is_one_line_of_words_and_says_what_is_wrong() -> None:
    fresh = query(
        state=State.NEVER_POLLED, last_success_ms=None, next_poll_ms=None, data_end_ms=None,
        series=0, polls=(),
    )  # fmt: skip
    error = "circuit open auth the provider does not accept the key (3 in a row)"
    next_ = "next in 3 min 30 s"

    assert row(query()) == [
        *("shop", "interactions", "ok", f"1 min 30 s ago {next_}", "1 h ago", "1 poll", "12"),
        *("0 0 revisions", "no limit"),
    ]
    assert row(failing_query()) == [
        *("shop", "unique_ users", error, f"never {next_}", "1 h ago", "2 polls, 1 failed"),
        *("12", "4.5 7 revisions", "0 left next in 30 min"),
    ]
    assert row(fresh)[2:7] == [
        *("never polled", "never next not planned", "no data yet", "0 polls", "0"),
    ]


def test_a_targets_own_page_lists_its_polls_newest_first() -> None:
    html = page(status(target("shop", failing_query()), target("docs")), of="shop")

    begun = [stamp(NOW_MS - 30_000), stamp(NOW_MS - 1_200_000)]
    assert [cells[0] for cells in rows(html)] == ["Target", "shop", "Began", *begun]
    assert rows(html)[3][1:] == ["100 ms", "auth", "0"]


def test_an_unknown_target_has_no_page_and_a_program_without_targets_has_one() -> None:
    assert ask(build(sources()), "GET", "/?target=nope").status_code == 404
    assert "0 queries." in page(status())
    assert set(TONES) == {*State, *Verdict}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "as expected 2,400 in the last 24 h; about 2,390 is usual."),
        (
            {"verdict": Verdict.BELOW, "window": WindowScore(3, 90, 297, 20, -9.0)},
            "below 90 in the last 3 h; about 297 is usual.",
        ),
        (
            {"verdict": Verdict.NOT_JUDGED, "window": None, "late": True},
            "not judged The newest hour is overdue; judging resumes when it arrives.",
        ),
        (
            {"verdict": Verdict.NOT_JUDGED, "window": None, "weeks": 0.5},
            "not judged 3.5 days of history; judging starts at 7 days.",
        ),
        (
            {"verdict": Verdict.NOT_JUDGED, "window": None, "weeks": 0.9999},
            "not judged 6.9 days of history; judging starts at 7 days.",
        ),
    ],
)
def test_a_bot_is_judged_in_words_under_its_target(changes: dict[str, Any], said: str) -> None:
    shown = bot(**changes)
    html = page(status(replace(target("shop", query()), bots=(shown,))))

    assert f"shop · main {said} Why?" in words(html)
    assert f"Engagement of 1 bot: 1 {shown.verdict} ." in words(html)
    (link,) = re.findall(r'href="/explain\?series=([^"]+)">Why', html)
    assert 'target="shop",project="shop",bot_environment="main"' in unquote(link)


LATE_MS = NOW_MS - 9 * HOUR_MS
ENDS = query(), query("credit_usage", data_end_ms=LATE_MS), query("new", data_end_ms=None)
TROUBLED = status(target("shop", failing_query()))
REFUSED = replace(status(), config_refused_ms=NOW_MS - 60_000)
AUDITED = AuditStatus(NOW_MS, 35, 33, 4, 1, {"chatbot_interactions_total": 1204.0})
FAILING = HistoryStatus(12, 35, hides_counters=True, failing=True)
SAID: list[tuple[Status, str]] = [
    (
        status(target("shop", query(), failing_query()), target("docs")),
        "3 queries: 2 ok , 1 circuit open .",
    ),
    (
        replace(status(), superseded=("shop/hourly",)),
        "Another replica has newer settings and polls shop/hourly.",
    ),
    (REFUSED, "New settings were refused 1 min ago ; the old ones stay in force."),
    (
        replace(REFUSED, ledger_failing_since_ms=NOW_MS - 90_000),
        "The ledger takes no writes , first noticed 1 min 30 s ago :",
    ),
    (
        TROUBLED,
        "unique_users circuit open: the provider does not accept the key (auth, 3 in a row) 30 s ago",
    ),
    (TROUBLED, "4.5 counted, then taken back by the provider; later growth repays it"),
    (TROUBLED, "0 calls left in the budget; the next in 30 min"),
    (status(target("shop", *ENDS)), "data complete up to 9 h ago"),
    (
        status(replace(target("shop", *ENDS), bots=(bot(), bot("docs", end_ms=LATE_MS + HOUR_MS)))),
        "data complete up to 8 h ago",
    ),
    (
        status(replace(target(), dropped_series=1_204)),
        "a label set was shortened, merged or dropped 1,204 times",
    ),
    (status(replace(target(), history=HistoryStatus(12, 35))), "reading history: 12 of 35 days"),
    (
        status(replace(target(), history=FAILING)),
        "12 of 35 days; counters are shown once it is read; the last read failed, see the log",
    ),
    (
        status(replace(target(), audit=AuditStatus(NOW_MS - 3 * HOUR_MS, 35, 35, 0, 0, {}))),
        "agrees with the vendor: 35 of 35 days, checked 3 h ago",
    ),
    (
        status(replace(target(), audit=AUDITED)),
        "on 33 of 35 days; corrected chatbot_interactions_total by 1,204, checked now",
    ),
]


@pytest.mark.parametrize(("shown", "said"), SAID, ids=[said for _, said in SAID])
def test_what_is_wrong_and_how_far_data_are_is_said_in_words(shown: Status, said: str) -> None:
    assert said in words(page(shown))
    assert "refused" not in words(page(status()))


def test_a_band_and_a_line_are_drawn_where_they_are_known() -> None:
    known = HourExpectation(0, 50, 100, 10)
    unknown, high = HourExpectation(0, None, None, None), HourExpectation(0, 300, 100, 10)
    hours = [known, known, unknown, high]

    chart = draw_engagement(hours)

    assert chart.text == "4 hours: 2 below the expected range, 1 above it, 1 not judged"
    assert chart.engagement == 400
    # 130 and 70 of 300, in a height of TALL with a margin of 1.
    assert chart.band.startswith("M0 32L80 32L80 42L0 42z")
    assert chart.line == f"M0 46L80 46M{WIDE} 1h1"
    assert TALL == 56
    assert draw_engagement([known] * 6, 3).line == f"M0 34L{WIDE} 34"
    assert draw_engagement([]).text == "no hour is judged yet"


NASTY = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>'{{ 7*7 }}"


def test_nothing_that_is_shown_can_become_markup() -> None:
    nasty = query(
        NASTY,
        last_error=PollErrorStatus(NASTY, NASTY, NOW_MS),
        polls=(PollStatus(NOW_MS, 1, NASTY, 1),),
    )
    shown = replace(target(NASTY, nasty), bots=(bot(NASTY, environment=NASTY),))
    html = page(status(shown), of=NASTY)

    seen = Markup(html)
    assert rows(html)[1][0].replace(" ", "") == NASTY.replace(" ", "")
    assert "img" not in seen.tags
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert html.count("<script>") == 1


def test_only_the_pages_own_style_and_script_may_run_and_nothing_is_fetched() -> None:
    html = ask(build(sources()), "GET", "/")

    for tag in ("style", "script"):
        text = html.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html.headers["content-security-policy"]
    assert html.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    whole = page(status(target("shop", failing_query())), of="shop")
    assert not re.findall(r"https?://|//[a-z]|style=|@import|url\(", whole)


def test_the_table_can_be_read_aloud_and_walked_by_keyboard() -> None:
    html = page(status(target("shop", failing_query())), of="shop")

    assert '<html lang="en">' in html
    assert html.count('role="region"') == html.count('tabindex="0"') == 2
    assert html.count('<th scope="col">') == 13
    assert "prefers-color-scheme: dark" in html


def test_four_hundred_targets_fit_on_a_page() -> None:
    polls = tuple(PollStatus(NOW_MS - 300_000 * n, 0.5, "ok", 24) for n in range(12))
    queries = query(polls=polls), failing_query()
    many = status(*(replace(target(f"t{n}", *queries), bots=(bot(),)) for n in range(400)))

    html = page(many)

    assert html.count("<tr") == 801
    assert len(html) < 2_500_000


def test_a_failure_colours_its_bar_and_height_is_duration() -> None:
    polls = [
        PollStatus(NOW_MS - 3_600_000, 9, "ok", 1),  # an hour ago: not in the chart
        PollStatus(NOW_MS - 3_599_999, 1, "ok", 1),
        PollStatus(NOW_MS - 130_000, 2, "timeout", 0),
        PollStatus(NOW_MS - 125_000, 1, "ok", 1),
    ]

    chart = draw_polls(polls, NOW_MS)

    assert chart.good == "M0 20v-13h1.5v13z"
    assert chart.failed == "M56 20v-20h1.5v20z"
    assert chart.text == "3 polls, 1 failed"


def test_a_poll_that_was_skipped_or_quarantined_is_none_that_failed() -> None:
    polls = tuple(
        PollStatus(NOW_MS - 1_000, 1, outcome, 0) for outcome in ("budget", "held", "ok", "ok")
    )

    chart = draw_polls(polls, NOW_MS)
    html = page(status(target("shop", query(polls=polls))), of="shop")

    assert (chart.failed, chart.text) == ("", "4 polls, 1 quarantined, 1 skipped")
    assert '<span class="warn">budget</span>' in html
    assert '<span class="warn">held</span>' in html


def test_spans_are_two_units_and_ages_have_a_direction() -> None:
    seconds = (0, 0.25, 0.9996, 1.25, 9.96, 59, 60, 3_725, 180_000, -5)
    assert [span(each) for each in seconds] == [
        "0 ms", "250 ms", "1.0 s", "1.2 s", "10 s", "59 s", "1 min", "1 h 2 min", "2 d 2 h", "5.0 s"
    ]  # fmt: skip
    instants = (None, NOW_MS, NOW_MS - 20_000, NOW_MS + 20_000)
    assert [age(each, NOW_MS) for each in instants] == ["never", "now", "20 s ago", "in 20 s"]


HOUR_S = 3_600
MARGIN_S = 60


def left(status: Status) -> Mapping[str, BudgetState | None]:
    return {target.name: target.queries[0].budget for target in status.targets}


async def test_a_call_is_spent_while_it_is_under_way_and_for_an_hour(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo", "xenioo"], traffic=Traffic())
    bench.services["xenioo"].faults.on(
        "slow", seconds=20, when=lambda call: "statistics" in call.path
    )

    started_ms = bench.clock.now_ms()
    async with bench.running():
        assert (left(bench.app.status()), bench.own("budget_tokens")) == (
            {"flowxo": None, "xenioo": BudgetState(1, None)},
            1,
        )

        await bench.wait(10)

        ready_ms = started_ms + (HOUR_S + MARGIN_S) * 1000
        assert bench.services["xenioo"].requests[-1].path == "/authorization/integration"
        assert left(bench.app.status()) == {"flowxo": None, "xenioo": BudgetState(0, ready_ms)}
        assert bench.own("budget_tokens", budget="account") == 0
        assert bench.own("blocked_until_timestamp_seconds") == ready_ms / 1000
        assert "0 left<small" in (render(bench.app.status()) or "")

        await bench.wait(120)
        asked = [seen for seen in bench.services["xenioo"].requests if "statistics" in seen.path]
        assert len(asked) == 1
        assert bench.own("budget_tokens") == 0

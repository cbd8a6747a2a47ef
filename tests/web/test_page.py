"""The status page, as an operator reads it and as an attacker would like to write on it."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

from exporter.format import age, span, stamp
from exporter.status import PollErrorStatus, PollStatus, State, Status
from exporter.web.app import build
from exporter.web.chart import draw
from exporter.web.page import POLICY, TONES, render
from tests.web.served import NOW_MS, ask, failing_query, query, sources, status, target


class Cells(HTMLParser):
    """Collects the text of each body row's cells, and every tag and attribute that occurs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())


def page(shown: Status, of: str | None = None) -> str:
    html = render(shown, target=of)
    assert html is not None
    return html


def row(*queries: object) -> list[str]:
    return Cells(page(status(target("shop", *queries)))).rows[1]  # type: ignore[arg-type]


def test_a_healthy_query_is_one_line_of_words() -> None:
    assert row(query()) == [
        "shop",
        "voiceflow",
        "interactions",
        "ok",
        "1 min 30 s ago",
        "1 h ago",
        "in 3 min 30 s",
        "1 poll",
        "12",
        "0",
        "0",
        "no limit",
    ]


def test_a_query_in_trouble_says_why_and_what_is_left() -> None:
    cells = row(failing_query())

    assert cells[3] == "circuit open auth the provider does not accept the key (3 in a row)"
    assert cells[4] == "never"
    assert cells[7:] == ["2 polls, 1 failed", "12 2 dropped", "4.5", "7", "0 left next in 30 min"]


def test_a_query_never_polled_claims_nothing() -> None:
    fresh = query(
        state=State.NEVER_POLLED,
        last_success_ms=None,
        next_poll_ms=None,
        data_end_ms=None,
        series=0,
        polls=(),
    )

    assert row(fresh)[3:9] == [
        "never polled",
        "never",
        "no data yet",
        "not planned",
        "0 polls",
        "0",
    ]


def test_the_summary_counts_the_states() -> None:
    html = page(status(target("shop", query(), failing_query()), target("docs")))

    summary = re.sub(r"<[^>]+>", "", html.partition('id="summary">')[2].partition("</p>")[0])
    assert summary == "3 queries: 2 ok, 1 circuit open."


def test_a_targets_own_page_lists_its_polls_newest_first() -> None:
    html = page(status(target("shop", failing_query()), target("docs")), of="shop")

    rows = Cells(html).rows
    assert [cells[0] for cells in rows] == [
        "Target",
        "shop",
        "Began",
        stamp(NOW_MS - 30_000),
        stamp(NOW_MS - 1_200_000),
    ]
    assert rows[3][1:] == ["100 ms", "auth", "0"]


def test_queries_that_another_replica_has_are_named() -> None:
    html = page(replace(status(), superseded=("shop/hourly",)))

    assert "Left to it: shop/hourly." in html


def test_an_unknown_target_has_no_page_and_a_program_without_targets_has_one() -> None:
    assert ask(build(sources()), "GET", "/?target=nope").status_code == 404
    assert "0 queries." in page(status())
    assert set(TONES) == set(State)


NASTY = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>'{{ 7*7 }}"


def test_nothing_that_is_shown_can_become_markup() -> None:
    nasty = query(
        NASTY,
        last_error=PollErrorStatus(NASTY, NASTY, NOW_MS),
        polls=(PollStatus(NOW_MS, 1, NASTY, 1),),
    )
    html = page(status(target(NASTY, nasty)), of=NASTY)

    seen = Cells(html)
    assert seen.rows[1][0] == " ".join(NASTY.split())
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
    assert html.count('<th scope="col">') == 16
    assert "prefers-color-scheme: dark" in html


def test_four_hundred_targets_fit_on_a_page() -> None:
    polls = tuple(PollStatus(NOW_MS - 300_000 * n, 0.5, "ok", 24) for n in range(12))
    many = status(*(target(f"t{n}", query(polls=polls), failing_query()) for n in range(400)))

    html = page(many)

    assert len(Cells(html).rows) == 801
    assert len(html) < 2_500_000


def test_a_failure_colours_its_bar_and_height_is_duration() -> None:
    polls = [
        PollStatus(NOW_MS - 3_600_000, 9, "ok", 1),  # an hour ago: not in the chart
        PollStatus(NOW_MS - 3_599_999, 1, "ok", 1),
        PollStatus(NOW_MS - 130_000, 2, "timeout", 0),
        PollStatus(NOW_MS - 125_000, 1, "ok", 1),
    ]

    chart = draw(polls, NOW_MS)

    assert chart.good == "M0 24v-15h3v15z"
    assert chart.failed == "M112 24v-24h3v24z"
    assert chart.text == "3 polls, 1 failed"


def test_spans_are_two_units_and_ages_have_a_direction() -> None:
    seconds = (0, 0.25, 1.25, 59, 60, 3_725, 180_000, -5)
    assert [span(each) for each in seconds] == [
        "0 ms", "250 ms", "1.2 s", "59 s", "1 min", "1 h 2 min", "2 d 2 h", "5.0 s"
    ]  # fmt: skip
    instants = (None, NOW_MS, NOW_MS - 20_000, NOW_MS + 20_000)
    assert [age(each, NOW_MS) for each in instants] == ["never", "now", "20 s ago", "in 20 s"]

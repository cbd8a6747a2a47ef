"""What was put is what is sent, in every format, however it was changed in between."""

import zlib
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from exporter.exposition.page import EOF, MetricsPage
from exporter.ledger.rows import Shown
from exporter.model.samples import Family, MetricType

COUNTER = Family("things_total", MetricType.COUNTER, "Things, with \\ and\nlines.", ("a", "b"), 10)
GAUGE = Family("level", MetricType.GAUGE, "A level.", (), 1)
FAMILIES = {family.name: family for family in (COUNTER, GAUGE)}


def board() -> MetricsPage:
    return MetricsPage(FAMILIES)


def things(*rows: tuple[str, str, float]) -> list[Shown]:
    return [Shown("things_total", (a, b), value, 1_000) for a, b, value in rows]


def body(shown: MetricsPage, *, openmetrics: bool = False, gzip: bool = False) -> bytes:
    return b"".join(shown.scrape(openmetrics=openmetrics, gzip=gzip))


def plain(shown: MetricsPage) -> str:
    return body(shown).decode()


def test_text_is_as_the_format_says() -> None:
    shown = board()
    shown.put(("t", "q"), [*things(("x", 'q"\\\n', 3), ("a", "", 0.5)), Shown("level", (), 7)])
    assert plain(shown) == ""
    shown.publish()

    assert plain(shown) == (
        "# HELP level A level.\n# TYPE level gauge\nlevel 7\n"
        "# HELP things_total Things, with \\\\ and\\nlines.\n# TYPE things_total counter\n"
        'things_total{a="a",b=""} 0.5\nthings_total{a="x",b="q\\"\\\\\\n"} 3\n'
    )


def test_a_new_help_text_of_a_family_is_shown_beside_series_that_stay() -> None:
    families = dict(FAMILIES)
    shown = MetricsPage(families)
    shown.put(("t", "q"), [Shown("level", (), 7)])
    shown.publish()

    families["level"] = replace(families["level"], help="Another help.")
    shown.put(("t", "q"), [Shown("level", (), 7)])
    shown.publish()

    assert plain(shown) == "# HELP level Another help.\n# TYPE level gauge\nlevel 7\n"


def test_openmetrics_names_the_family_without_total_and_says_when_it_was_created() -> None:
    shown = board()
    shown.put(("t", "q"), things(("x", "y", 3)))
    shown.publish()

    assert body(shown, openmetrics=True) == (
        b"# HELP things Things, with \\\\ and\\nlines.\n# TYPE things counter\n"
        b'things_total{a="x",b="y"} 3\nthings_created{a="x",b="y"} 1.000\n' + EOF
    )


def test_a_scrape_carries_the_zeros_it_showed_until_they_are_settled() -> None:
    shown = board()
    shown.put(("t", "q"), things(("x", "y", 0)), pending=[7])
    shown.publish()
    before = shown.scraped_zeros()
    plain(shown)
    after = shown.scraped_zeros()

    shown.put(("t", "q"), things(("x", "y", 3)))
    shown.publish()

    assert [sorted(ids) for ids in (before, after, shown.scraped_zeros())] == [[], [7], []]


def samples(text: str, parse: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families: Iterable[object] = parse(text)  # type: ignore[operator]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples  # type: ignore[attr-defined]
        if not sample.name.endswith("_created")
    }


def one_member(body: bytes) -> str:
    """Return what a client reads that takes the first gzip member only, as many do."""
    reader = zlib.decompressobj(31)
    text = reader.decompress(body)
    assert (reader.eof, reader.unused_data) == (True, b"")
    return text.decode()


VALUES = st.floats(min_value=0, max_value=2**53, allow_nan=False) | st.integers(0, 2**53).map(float)
PUTS = st.lists(
    st.tuples(
        st.sampled_from("tuvw"),
        st.none() | st.dictionaries(st.text(max_size=6), VALUES, max_size=4),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(puts=PUTS, small=st.booleans())
def test_what_is_sent_is_what_was_put_last_and_not_removed(
    puts: list[tuple[str, dict[str, float] | None]],
    small: bool,
) -> None:
    shown, last = MetricsPage(FAMILIES, block_lines=2 if small else 400), {}
    for owner, values in puts:
        last[owner] = values or {}
        if values is None:
            shown.remove((owner, "q"))
        else:
            shown.put((owner, "q"), things(*((owner, b, value) for b, value in values.items())))
        shown.publish()
        shown.scrape(openmetrics=True, gzip=True)

    expected = {
        ("things_total", (("a", owner), ("b", b))): value
        for owner, values in last.items()
        for b, value in values.items()
    }
    packed = one_member(body(shown, gzip=True))
    assert packed == plain(shown)
    assert samples(packed, classic) == expected
    assert samples(body(shown, openmetrics=True).decode(), openmetrics) == expected

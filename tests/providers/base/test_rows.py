"""``Rows`` sums, labels and counts what an answer says."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.model.families import ACTIVE_USERS, INTERACTIONS, KNOWN_USERS
from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import HOUR_MS, Window
from exporter.providers.base.rows import Labels, Rows, shorten

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON, NOON + 2 * HOUR_MS)


def rows(**label_rules: LabelRule) -> Rows:
    spec = QuerySpec("shop", "acme", "hourly", {}, label_rules=label_rules, label_value_bytes=16)
    return Rows(WINDOW, spec, {"old": 1})


def test_gauges_of_one_bucket_that_share_a_label_have_no_value_together() -> None:
    found = rows(project=LabelRule(allow=frozenset({"p1"})))

    for project, value in (("p1", 7), ("p2", 8), ("p3", 9)):
        found.bucket_value(ACTIVE_USERS, (project, "", "", "hour"), NOON, value)
        found.level(KNOWN_USERS, (project,), NOON, value)
    found.level(KNOWN_USERS, ("p2",), NOON + HOUR_MS, 5)

    reading, last = found.reading(), Window(NOON + HOUR_MS, NOON + 2 * HOUR_MS)
    assert [row.value for row in reading.buckets] == [7]
    assert [(row.value, row.window == last) for row in reading.levels] == [(7, False), (5, True)]
    assert reading.notes == [
        f"values of {family} that label rules make one do not add up: none is shown"
        for family in ("chatbot_active_users", "chatbot_known_users")
    ]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_a_value_within_the_limit_stays_as_it_is() -> None:
    assert shorten("ä" * 8, 16) == "ä" * 8


def test_a_long_value_is_cut_between_characters_and_marked() -> None:
    cut = shorten("ä" * 9, 16)

    assert cut == "äää~" + cut[-8:]
    assert int(cut[-8:], 16) > 0


@given(TEXT, TEXT)
def test_two_long_values_never_merge(one: str, two: str) -> None:
    assert (shorten(one, 16) == shorten(two, 16)) == (one == two)


@given(TEXT)
def test_no_value_is_longer_than_the_limit(value: str) -> None:
    assert len(shorten(value, 16).encode()) <= 16


def test_a_shortened_label_set_is_counted_once_however_many_rows_it_has() -> None:
    labels = Labels({}, 16)

    for _ in range(3):
        labels.series(INTERACTIONS, "p1", "main", "x" * 17)
    labels.series(INTERACTIONS, "p1", "main", "y" * 17)

    assert labels.dropped == {("chatbot_interactions_total", "label_length"): 2}

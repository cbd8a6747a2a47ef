"""``Rows`` sums, labels and counts what an answer says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SchemaError
from exporter.model.families import ACTIVE_USERS, INTERACTIONS, KNOWN_USERS
from exporter.model.query import LabelRule
from exporter.model.samples import HOUR_MS, Window
from exporter.providers.base.rows import Labels, Rows, shorten
from tests.support.builders import spec

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON, NOON + 2 * HOUR_MS)


def rows(**label_rules: LabelRule) -> Rows:
    return Rows(WINDOW, spec(label_rules=label_rules), {})


def test_an_instant_belongs_to_its_bucket_and_only_a_start_is_no_drift() -> None:
    found = rows()

    assert [found.bucket(at) for at in (NOON - 1, NOON, NOON + 1, WINDOW.end_ms)] == [
        *(None, NOON, NOON, None)
    ]
    assert found.reading().drift == {"unexpected_type": 1}


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
        f"values of {family} that label rules merge do not add up: none is shown"
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


def test_labels_that_are_not_given_are_empty() -> None:
    assert Labels({}, 128).series(INTERACTIONS, "p1")[1] == ("p1", "", "")


def test_a_shortened_label_set_is_counted_once_however_many_rows_it_has() -> None:
    labels = Labels({}, 16)

    for _ in range(3):
        labels.series(INTERACTIONS, "p1", "main", "x" * 17)
    labels.series(INTERACTIONS, "p1", "main", "y" * 17)

    assert labels.dropped == {("chatbot_interactions_total", "label_length"): 2}


def test_a_sum_that_no_float_holds_exactly_is_refused() -> None:
    found = rows()
    for number in (2**53 - 1, 1):
        found.count(INTERACTIONS, ("p1",), NOON, number)
    assert found.reading().counts[0][2] == 2**53

    found.count(INTERACTIONS, ("p1",), NOON, 1)

    with pytest.raises(SchemaError, match=r"chatbot_interactions_total: the sum exceeds 2\^53"):
        found.reading()

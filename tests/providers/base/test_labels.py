"""Label values: trimmed without merging, named by aliases and allow lists, losses counted."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.model.families import INTERACTIONS
from exporter.model.query import LabelRule
from exporter.providers.base.rows import Labels, shorten

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


def test_names_pass_through_aliases_and_allow_lists() -> None:
    label_rules = {
        "project": LabelRule({"p1": "shop"}),
        "interaction_type": LabelRule(allow=frozenset("a")),
    }
    labels = Labels(label_rules, 128)

    assert labels.series(INTERACTIONS, "p1", "main", "a") == (
        "chatbot_interactions_total",
        ("shop", "main", "a"),
    )
    assert labels.series(INTERACTIONS, "p1", "main", "b")[1] == ("shop", "main", "other")
    assert labels.dropped == {("chatbot_interactions_total", "not_allowlisted"): 1}


def test_labels_that_are_not_given_are_empty() -> None:
    assert Labels({}, 128).series(INTERACTIONS, "p1")[1] == ("p1", "", "")


def test_a_shortened_label_set_is_counted_once_however_many_rows_it_has() -> None:
    labels = Labels({}, 16)

    for _ in range(3):
        labels.series(INTERACTIONS, "p1", "main", "x" * 17)
    labels.series(INTERACTIONS, "p1", "main", "y" * 17)

    assert labels.dropped == {("chatbot_interactions_total", "label_length"): 2}

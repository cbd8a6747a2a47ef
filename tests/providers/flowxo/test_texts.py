"""What of a user's words may be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.providers.flowxo.mapping import cut, normalize, presentable


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "write to ann.o-neil+x@mail.example.co.uk please",
        "ａnn＠example.com",  # noqa: RUF001 - full width, as some keyboards type it
        "@ann_on_social",
        "+49 171 1234567",
        "(555) 123-4567",
        "call 5 5 5 1 2 3 4",
        "١٢٣٤٥٦٧",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5500\u200b0000\u200b0000\u200b0004",
        "DE89 3704 0044 0532 0130 00",
        "gb29nwbk60161331926819",
        "my code is 492817",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "VF.DM.0123456789abcdef01234567.AbCdEfGh12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "https://example.com/reset/confirm?for=somebody",
        "x" * 60 + " 4111 1111 1111 1111",
    ],
)
def test_what_looks_personal_is_redacted(text: str) -> None:
    assert presentable(text) == "redacted"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hi", "hi"),
        ("/start", "/start"),
        ("convert a timestamp", "convert a timestamp"),
        ("order 1234", "order 1234"),
        ("größe ändern 😀", "größe ändern 😀"),
        ('say "no"', 'say "no"'),
        (" two\r\nlines\x1b[0m\u202e ", "two lines[0m"),
        ("\x00", ""),
    ],
)
def test_plain_words_are_shown_without_control_characters(text: str, shown: str) -> None:
    assert presentable(text) == shown


@given(st.text(max_size=300))
def test_what_is_shown_is_short_and_on_one_line(text: str) -> None:
    assert len(presentable(text)) <= 64
    assert cut(text).isprintable()


def test_a_huge_message_is_examined_quickly() -> None:
    assert presentable("a1 " * 1_000_000).startswith("a1 a1")


def test_spellings_of_one_text_compare_equal() -> None:
    assert normalize(" STRASSE\u00a0") == normalize("straße") == normalize("ｓtraße")  # noqa: RUF001

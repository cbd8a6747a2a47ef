"""Which queries a Chatlayer target has, and how it signs."""

import pytest

from exporter.errors import Unauthorized
from tests.providers.chatlayer.care import target


def test_queries_are_named_by_bot_alias_and_version() -> None:
    built = target(
        {
            "token": "id:secret",
            "bots": [{"id": "B1", "alias": "care", "versions": ["LIVE", "DRAFT"]}, "B2"],
            "team_id": "T1",
            "collectors": ["events", "definitions", "team_conversations"],
        }
    )

    assert [query.spec.name for query in built.queries] == [
        *("events/care/live", "events/care/draft", "events/B2/live"),
        *("definitions/care", "definitions/B2", "team_conversations"),
    ]


def test_events_are_read_each_minute_and_definitions_each_hour() -> None:
    entries = {"token": "id:secret", "bots": ["B1"], "collectors": ["events", "definitions"]}

    every = [query.spec.interval_ms for query in target(entries).queries]
    given = [query.spec.interval_ms for query in target(entries | {"interval": "2m"}).queries]

    assert every == [60_000, 3_600_000]
    assert given == [120_000, 3_600_000]


@pytest.mark.parametrize("token", ["secret", ":secret", "id:"])
def test_a_token_without_its_two_halves_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        target({"token": token, "bots": ["B1"]}).sign()

    assert "secret" not in str(caught.value).replace("tokenId:tokenSecret", "")

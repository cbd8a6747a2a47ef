"""Which queries a Chatlayer target has, and how it signs."""

from typing import Any

import pytest

from exporter.errors import Unauthorized
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Window
from tests.providers.chatlayer.care import target
from tests.providers.vendor import played, read
from tests.support.virtual import START_MS


@pytest.mark.parametrize("token", ["secret", ":secret", "id:"])
def test_a_token_without_its_two_halves_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        target({"token": token, "bots": ["B1"]}).sign()

    assert "secret" not in str(caught.value).replace("tokenId:tokenSecret", "")


@pytest.mark.parametrize(
    ("listed", "volume", "token"),
    [
        ("event_definitions", "volume_30_day", "next_page_token"),
        ("eventDefinitions", "volume30Day", "nextPageToken"),
    ],
)
def test_definitions_are_read_in_snake_case_and_in_camel_case(
    listed: str, volume: str, token: str
) -> None:
    def vendor(sent: Any) -> Any:
        if "page_token" in sent:
            return {listed: [{"event": "quiet"}]}
        return {listed: [{"event": "goal", volume: "4"}], token: "t"}

    built = target({"token": "a:b", "bots": ["B1"], "collectors": ["definitions"]})
    request = PollRequest(Window(START_MS - HOUR_MS, START_MS), START_MS)

    (reading,) = read(built, built.queries[0], played(vendor), request)

    assert {row.series[1][-1]: row.value for row in reading.lists} == {"goal": 4, "quiet": 0}

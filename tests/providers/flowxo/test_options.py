"""What a Flow XO target's settings refuse."""

from typing import Any

import pytest
from pydantic import ValidationError

from exporter.model.samples import DAY_MS
from exporter.providers.flowxo.options import FlowXOOptions

WHOLE: dict[str, Any] = {
    "name": "promo",
    "provider": "flowxo",
    "api_key": {"env": "FLOWXO_API_KEY"},
    "project": "promo",
}


def test_a_target_is_slow_and_shows_no_list_unless_told_otherwise() -> None:
    options = FlowXOOptions.model_validate(WHOLE)

    assert (options.requests_per_second, options.top_flows, options.top_messages) == (2, None, None)
    assert options.base_url == "https://flowxo.com/api"


def test_a_list_has_a_length_and_a_window_of_days() -> None:
    options = FlowXOOptions.model_validate(
        WHOLE | {"top_flows": {"limit": 5, "window": "7d"}, "top_messages": {"allow": ["/start"]}}
    )

    assert options.top_flows is not None
    assert (options.top_flows.limit, options.top_flows.window) == (5, 7 * DAY_MS)
    assert options.top_messages is not None
    assert (options.top_messages.window, options.top_messages.allow) == (DAY_MS, ("/start",))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top_flows": {"window": "25h"}}, "whole days"),
        ({"top_flows": {"window": "1h"}}, "whole days"),
        ({"top_flows": {"window": 24}}, "duration"),
        ({"top_flows": {"limit": 0}}, "limit"),
        ({"top_flows": {"limit": 21}}, "limit"),
        ({"top_messages": {"allow": [1]}}, "allow"),
        ({"project": ""}, "project"),
        ({"bots": ["a"]}, "bots"),
    ],
)
def test_a_contradiction_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FlowXOOptions.model_validate(WHOLE | changes)

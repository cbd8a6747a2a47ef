"""What a Voiceflow target's settings refuse."""

from typing import Any

import pytest
from pydantic import ValidationError

from exporter.providers.voiceflow.options import VoiceflowOptions

WHOLE: dict[str, Any] = {
    "name": "shop",
    "provider": "voiceflow",
    "api_key": {"env": "VOICEFLOW_API_KEY"},
    "projects": [{"id": "64f0c0ffee", "alias": "shop"}],
}


def test_environments_are_ids_with_or_without_a_name() -> None:
    options = VoiceflowOptions.model_validate(
        WHOLE | {"environments": ["main", {"id": "e2", "alias": "test"}]}
    )

    assert [(named.id, named.shown) for named in options.environments] == [
        ("main", "main"),
        ("e2", "test"),
    ]


def test_two_queries_are_on_unless_told_otherwise() -> None:
    assert VoiceflowOptions.model_validate(WHOLE).queries == ("interactions", "unique_users")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"projects": []}, "nothing to read"),
        ({"queries": []}, "nothing to read"),
        ({"projects": ["a", "a"]}, "more than once"),
        ({"projects": ["a", {"id": "b", "alias": "a"}]}, "more than once"),
        ({"environments": ["main", "main"]}, "more than once"),
        ({"queries": ["interactions", "interactions"]}, "more than once"),
        ({"queries": ["sessions"]}, "interactions"),
        ({"projects": [{"name": "a"}]}, "id"),
        ({"projects": [7]}, "projects"),
        ({"api_key": None}, "api_key"),
        ({"region": "eu"}, "region"),
    ],
)
def test_a_contradiction_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        VoiceflowOptions.model_validate(WHOLE | changes)

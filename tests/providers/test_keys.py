"""Every provider signs with the key as it is now, and never shows one that cannot be sent."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.config.model import Limits, Privacy
from exporter.errors import Unauthorized
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Target

TARGETS: Mapping[str, Mapping[str, Any]] = {
    "voiceflow": {"projects": ["p"]},
    "flowxo": {"project": "p"},
    "inkeep": {"project": "p"},
    "chatlayer": {"bots": ["b"]},
}
BASIC = {"id:one": "aWQ6b25l", "id:two": "aWQ6dHdv"}
HEADERS: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "voiceflow": lambda key: {"authorization": key},
    "flowxo": lambda key: {"Authorization": f"Bearer {key}"},
    "inkeep": lambda key: {"Authorization": f"Bearer {key}"},
    "chatlayer": lambda key: {"Authorization": f"Basic {BASIC[key]}"},
}


def with_key(provider: str, key: Any) -> Target:
    secret = {"token" if provider == "chatlayer" else "api_key": key}
    entries = {"name": "shop", "provider": provider, **TARGETS[provider], **secret}
    options = PROVIDERS[provider].options.model_validate(entries)
    return PROVIDERS[provider].build(options, LabelSettings(Limits(), Privacy()))


@pytest.mark.parametrize("provider", TARGETS)
def test_the_key_is_read_anew_for_each_request(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = with_key(provider, {"env": "KEY"}).sign

    for key in ("id:one", "id:two"):
        monkeypatch.setenv("KEY", key)
        assert sign() == HEADERS[provider](key)


@pytest.mark.parametrize("key", ["canary\u2028key", "canary\x00key"])
@pytest.mark.parametrize("provider", TARGETS)
def test_a_key_that_no_request_can_carry_is_refused_and_not_shown(
    provider: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(key, "utf-8")
    sign = with_key(provider, {"file": str(tmp_path / "key")}).sign

    with pytest.raises(Unauthorized) as caught:
        sign()

    assert "canary" not in str(caught.value)

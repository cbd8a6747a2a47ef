"""Which queries a Chatlayer target has, and how it signs."""

import pytest

from exporter.errors import Unauthorized
from tests.providers.chatlayer.care import target


@pytest.mark.parametrize("token", ["secret", ":secret", "id:"])
def test_a_token_without_its_two_halves_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        target({"token": token, "bots": ["B1"]}).sign()

    assert "secret" not in str(caught.value).replace("tokenId:tokenSecret", "")

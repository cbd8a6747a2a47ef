"""Access tokens: Xenioo exchanges an account key for a token that lives about an hour.

Source: https://docs.xenioo.com, "Authorization"
"""

from functools import partial
from typing import Any

from exporter.config.model import Secret
from exporter.errors import Refused, SchemaError, Unauthorized
from exporter.http_client.client import ApiCall, ApiClient
from exporter.logs import hide
from exporter.model.numbers import parse_number
from exporter.providers.base.plugin import key_of

PATH = "/authorization/integration"
MINUTE_MS = 60_000
RENEW_AT = 0.8
NOT_FOUND = 404


class AccessTokens:
    """Requests tokens at ``service_url`` and keeps one until it is due for renewal."""

    def __init__(self, account_key: Secret, service_url: str) -> None:
        self._read_key = partial(key_of, account_key)
        self._service_url = service_url
        self._token = ""
        self._key = ""
        self._renew_ms = 0.0

    async def current(self, client: ApiClient, now_ms: int, *, renew: bool = False) -> str:
        """Return a token for the current key, kept or new."""
        key = await client.read_key(self._read_key)
        if renew or key != self._key or now_ms >= self._renew_ms:
            await self._request(client, key, now_ms)
        return self._token

    def expire(self) -> None:
        """Have the next call get a new token: one that has expired may be answered with a 400."""
        self._renew_ms = 0.0

    async def _request(self, client: ApiClient, key: str, now_ms: int) -> None:
        call = ApiCall(
            "POST", PATH, json={"AccountAPIKey": key}, base=self._service_url, signed=False
        )
        try:
            response = await client.fetch(call, dict[str, Any])
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            unknown = f"{call.endpoint}: HTTP 404; the account key is unknown there"
            raise Unauthorized(unknown, status=error.status) from None
        # The vendor's pages spell these names in three ways.
        members = {name.casefold(): value for name, value in response.items()}
        token = members.get("token")
        if not isinstance(token, str) or not (token and token.isascii() and token.isprintable()):
            raise SchemaError(f"{call.endpoint}: token: missing", "missing")
        lifetime = parse_number(members.get("expires", members.get("expire"))) or 0
        self._token, self._key = hide(token), key
        self._renew_ms = now_ms + RENEW_AT * lifetime * MINUTE_MS

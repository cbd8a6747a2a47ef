"""The requests of a query: what is sent for a window and a page."""

import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import msgspec

from exporter.errors import SchemaError, Unauthorized
from exporter.http_client.client import ApiCall, ApiClient
from exporter.logs import hide
from exporter.model.numbers import parse_number
from exporter.model.samples import SECOND_MS, Window
from exporter.providers.base.declared import with_member
from exporter.providers.base.plugin import key_of
from exporter.providers.manifest.fields import as_text
from exporter.providers.manifest.model import ManifestQuery
from exporter.providers.manifest.options import ManifestOptions
from exporter.providers.manifest.templates import Omitted, Substitutes, fill, fill_path

TOKEN_LIVES_S = 300
RENEW_AT = 0.8
_LINK = re.compile(r"<([^<>]+)>([^<]*)")
_REL = re.compile(r""";\s*rel\s*=\s*(["']?)([^"';,]*)\1""", re.IGNORECASE)


class AccessToken(msgspec.Struct):
    """The answer of a token endpoint (RFC 6749, 5.1)."""

    access_token: str
    expires_in: int | float | str | None = None


@dataclass(slots=True)
class ManifestAccount:
    """The secrets of a target and what requests carry of them; shared by its queries."""

    options: ManifestOptions
    _token: str = ""
    _key: str = ""
    _renew_ms: float = 0.0

    def read(self) -> dict[str, str]:
        """Return the secrets as they are now."""
        return {name: key_of(secret) for name, secret in self.options.secrets.items()}

    def given(self, secrets: Mapping[str, str]) -> Substitutes:
        """Return what texts outside a request may name."""
        return Substitutes(self.options.texts(), secrets=secrets)

    def sign(self) -> dict[str, str]:
        """Return the headers that sign a request; a token that is fetched comes on its own."""
        auth, given = self.options.manifest.settings.auth, self.given(self.read())
        headers = filled_headers(self.options.manifest.settings.headers, given)
        if auth.kind == "bearer":
            headers["Authorization"] = f"Bearer {fill(auth.token, given)}"
        elif auth.kind == "header" and auth.header is not None:
            headers[auth.header] = str(fill(auth.token, given))
        elif auth.kind == "basic":
            pair = f"{fill(auth.username, given)}:{fill(auth.password or '', given)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers

    async def signed(
        self, client: ApiClient, call: ApiCall, secrets: Mapping[str, str], now_ms: int
    ) -> ApiCall:
        """Return ``call`` with what ``sign`` cannot give: a key in the query, a fetched token."""
        auth, given = self.options.manifest.settings.auth, self.given(secrets)
        if auth.kind == "query" and auth.param is not None:
            key = (auth.param, str(fill(auth.token, given)))
            return replace(call, params=[*(call.params or ()), key])
        if auth.kind == "oauth2_client_credentials":
            token = await self._current(client, given, now_ms)
            return replace(call, headers={**call.headers, "Authorization": f"Bearer {token}"})
        return call

    def renews(self, error: Unauthorized) -> bool:
        """Say whether the next request gets a new token, since the one it had may have expired."""
        self._renew_ms = 0.0
        refused = error.status == HTTPStatus.UNAUTHORIZED
        return refused and self.options.manifest.settings.auth.kind == "oauth2_client_credentials"

    async def _current(self, client: ApiClient, given: Substitutes, now_ms: int) -> str:
        auth = self.options.manifest.settings.auth
        form = {
            "grant_type": "client_credentials",
            "client_id": str(fill(auth.client_id, given)),
            "client_secret": str(fill(auth.client_secret, given)),
        }
        if auth.scope:
            form["scope"] = auth.scope
        if now_ms < self._renew_ms and form["client_secret"] == self._key:
            return self._token
        url = urlsplit(urljoin(self.options.base_url + "/", (auth.token_url or "").lstrip("/")))
        call = ApiCall(
            "POST", url.path, form=form, base=f"{url.scheme}://{url.netloc}", signed=False
        )
        found = await client.fetch(call, AccessToken)
        if not (found.access_token.isascii() and found.access_token.isprintable()):
            raise SchemaError(f"{call.endpoint}: access_token: no request can carry it")
        lives_s = parse_number(found.expires_in) or TOKEN_LIVES_S
        self._token, self._key = hide(found.access_token), form["client_secret"]
        self._renew_ms = now_ms + RENEW_AT * lives_s * SECOND_MS
        return self._token


@dataclass(frozen=True, slots=True)
class RequestBuilder:
    """Makes the requests of one query of one target; ``each`` is the value of its loop."""

    query: ManifestQuery
    variables: Mapping[str, str]
    each: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """Return method and path; no secret, no parameter."""
        return f"{self.query.request.method} {self.path}"

    @property
    def path(self) -> str:
        """Return the path of every request."""
        return fill_path(self.query.request.path, self._given(None, {}))

    def call(self, window: Window, page: Any, secrets: Mapping[str, str]) -> ApiCall:
        """Return the request for a window and ``page``, what the pages' rule sends; None: the first.

        The page of ``next_url`` and ``link_header`` is the query string of the next request.
        """
        given, request = self._given(window, secrets), self.query.request
        params = self._params(given)
        body = fill(request.body, given)
        path, pages = self.path, self.query.pages
        if page is not None and pages.kind in ("next_url", "link_header"):
            params = parse_qsl(page, keep_blank_values=True)
        elif page is not None and body is not None:
            body = with_member(body, (pages.send or "").split("."), page)
        elif page is not None:
            params = [pair for pair in params if pair[0] != pages.send]
            params.append((pages.send or "", str(page)))
        headers = filled_headers(request.headers, given)
        return ApiCall(request.method, path, params=params, json=body, headers=headers)

    def _given(self, window: Window | None, secrets: Mapping[str, str]) -> Substitutes:
        settings, shape = self.query.window, self.query.shape
        margin_ms = {"buckets": settings.bucket, "records": SECOND_MS}.get(shape, 0)
        return Substitutes(
            variables=self.variables,
            each=self.each,
            secrets=secrets,
            window=window,
            zone=settings.timezone,
            inclusive=settings.end == "inclusive",
            margin_ms=margin_ms if settings.end == "unstated" else 0,
            past_repeated=shape != "range",
        )

    def _params(self, given: Substitutes) -> list[tuple[str, str]]:
        found = []
        for name, value in self.query.request.params.items():
            if isinstance(value, dict):
                text = msgspec.json.encode(fill(value.get("json", value), given)).decode()
                found.append((name, text))
            elif isinstance(value, list):
                found += self._array(name, [as_text(each) or "" for each in fill(value, given)])
            elif (filled := fill(value, given)) is not Omitted:
                found.append((name, as_text(filled) or ""))
        return found

    def _array(self, name: str, values: list[str]) -> list[tuple[str, str]]:
        match self.query.request.arrays:
            case "repeat":
                return [(name, value) for value in values]
            case "brackets":
                return [(f"{name}[]", value) for value in values]
            case "comma":
                return [(name, ",".join(values))] if values else []


def filled_headers(headers: Mapping[str, Any], given: Substitutes) -> dict[str, str]:
    """Return ``headers`` as text, without those that are one empty variable."""
    return {name: str(value) for name, value in fill(dict(headers), given).items()}


def next_query(link: str, base_url: str, path: str) -> str:
    """Return the query string of the next page; raise ``SchemaError`` where it leads elsewhere."""
    here = urlsplit(base_url + path)
    with suppress(ValueError):
        there = urlsplit(urljoin(base_url + path, link))
        if there[:3] == here[:3]:
            return there.query
    raise SchemaError(f"{path}: the next page is at another address, which is not asked")


def next_link(header: str | None) -> str | None:
    """Return the address that a ``Link`` header calls ``next`` (RFC 8288)."""
    for link, parameters in _LINK.findall(header or ""):
        relation = _REL.search(parameters)
        if relation and "next" in relation[2].lower().split():
            return str(link)
    return None

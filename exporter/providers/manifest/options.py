"""A target that a manifest describes: its settings, and what its requests take from them."""

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from sys import maxsize
from typing import Annotated, Any, Self
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec
from pydantic import (
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from exporter.config.model import Secret, TargetOptions
from exporter.config.secret import SecretContext
from exporter.config.values import can_be_sent, invalid, suggestion
from exporter.errors import Refused, SchemaError, SettingsError, SettingsProblem, Unauthorized
from exporter.format import span
from exporter.http_client.client import ApiCall, ApiClient, merged_headers
from exporter.logs import hide
from exporter.model.numbers import parse_number
from exporter.model.samples import DAY_MS, SECOND_MS, Family
from exporter.providers.base.options import NotRepeated
from exporter.providers.base.plugin import budget_name, key_of
from exporter.providers.manifest import loader
from exporter.providers.manifest.expressions import ExpressionError
from exporter.providers.manifest.loader import LoadedManifest
from exporter.providers.manifest.model import Constant, ManifestQuery, ManifestWindow
from exporter.providers.manifest.program import as_text
from exporter.providers.manifest.templates import (
    Substitutes,
    fill,
    fill_headers,
    fill_path,
    fill_text,
)

TOKEN_LIVES_S = 300
RENEW_AT = 0.8


def _load(value: Any, info: ValidationInfo) -> LoadedManifest:
    """Return the manifest that ``value`` names; note the problems of its file in the context."""
    if isinstance(value, LoadedManifest):
        return value
    if not isinstance(value, str) or not value:
        raise invalid("manifest", "expected a name or a path", "see chatbot-exporter manifest list")
    context = info.context if isinstance(info.context, SecretContext) else None
    try:
        return loader.load(loader.find(value, context.base if context else Path()))
    except LookupError as error:
        raise invalid("manifest", str(error)) from None
    except SettingsError as error:
        if context:
            context.included.extend(error.problems)
        raise invalid("manifest", f"{error.problems[0].file} has errors") from None


ManifestReference = Annotated[
    LoadedManifest, PlainValidator(_load), WithJsonSchema({"type": "string"}), Field(title="text")
]


class ManifestOptions(TargetOptions):  # noqa: PLW1641 - its dicts have no hash
    """An account at an API that a manifest describes; the manifest has the defaults."""

    base_url: str = Field(default="", title="address", description="the manifest's by default")
    manifest: ManifestReference = Field(
        description="the name of a shipped manifest, or the path of a file, relative to this file"
    )
    secrets: dict[str, Secret] = Field(
        default_factory=dict,
        validate_default=True,
        description="the secrets that the manifest names",
    )
    variables: dict[str, Constant] = Field(
        default_factory=dict,
        validate_default=True,
        description="values for the manifest's variables",
    )
    queries: NotRepeated[str] = Field(
        default=(), strict=False, description="what to read; all of the manifest's by default"
    )

    @field_validator("secrets")
    @classmethod
    def _are_used(cls, value: dict[str, Secret], info: ValidationInfo) -> dict[str, Secret]:
        used = info.data["manifest"].secrets if "manifest" in info.data else value.keys()
        _check_names("secret", value.keys(), used, used)
        return value

    @field_validator("variables")
    @classmethod
    def _are_declared(cls, value: dict[str, Constant], info: ValidationInfo) -> dict[str, Constant]:
        if "manifest" in info.data:
            declared = info.data["manifest"].settings.variables
            needed = {name for name, each in declared.items() if each.default is None}
            _check_names("variable", value.keys(), declared.keys(), needed)
            for each in value.values():
                if not (as_text(each) or "x").isprintable():
                    raise invalid("variable", "a variable contains a control character")
        return value

    @field_validator("queries")
    @classmethod
    def _are_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = info.data["manifest"].queries if "manifest" in info.data else value
        _check_names("query", value, known, ())
        return value

    @model_validator(mode="after")
    def _completed(self) -> Self:
        """Take from the manifest what the target does not set."""
        manifest = self.manifest.settings
        for name in self.queries or self.manifest.queries:
            query = self.manifest.queries[name].settings
            secrets = dict.fromkeys(self.manifest.secrets, "x")
            values = Substitutes(self.texts(), dict.fromkeys(query.for_each, "x"), secrets)
            try:
                fill_path(query.request.path, values)
            except ExpressionError as error:
                raise invalid("whole", f"variables: {error}", f"see the path of {name}") from None
            headers = fill({**manifest.headers, **query.request.headers}, values)
            if not can_be_sent("".join(map(str, headers.values()))):
                raise invalid("whole", "variables: no header can carry such a value")
            self._check_window(name, query)
        taken: dict[str, Any] = {} if self.base_url else {"base_url": manifest.base_url}
        rate = manifest.rate.requests_per_second
        if rate is not None and "requests_per_second" not in self.model_fields_set:
            taken["requests_per_second"] = rate
        if not taken:
            return self
        given = self.model_fields_set
        completed = self.model_copy(update=taken)
        completed.__pydantic_fields_set__ = set(given)
        return completed

    def _check_window(self, name: str, query: ManifestQuery) -> None:
        budget = self.manifest.settings.rate.budget
        lookback_ms, _ = self.times(query.window)
        most_ms = (query.window.max_span or maxsize) - query.newest_ms(budget)
        if budget is not None and lookback_ms > most_ms:
            words = f"lookback: {name} has a call budget, and one call does not reach back so far"
            raise invalid("whole", words, f"at most {span(most_ms / SECOND_MS)}")

    def times(self, window: ManifestWindow) -> tuple[int, int]:
        """Return ``lookback`` and ``settle``: the target's, or the manifest's if it gives none."""
        given = self.model_fields_set
        lookback_ms = self.lookback if "lookback" in given else window.lookback
        return lookback_ms, self.settle if "settle" in given else window.settle

    def settles_late(self) -> bool:
        """Return whether the target gives a settle that is longer than its lookback, or a query's."""
        times = [
            self.times(self.manifest.queries[name].settings.window)
            for name in self.queries or self.manifest.queries
        ]
        given = "settle" in self.model_fields_set
        return given and any(settle_ms > lookback_ms for lookback_ms, settle_ms in times)

    def __eq__(self, other: object) -> bool:
        """Return whether the target is the same; a default that is given replaces the manifest's."""
        if not isinstance(other, ManifestOptions):
            return NotImplemented
        return super().__eq__(other) and self.model_fields_set == other.model_fields_set

    @property
    def vendor(self) -> str:
        """Return the manifest's name, which the label ``provider`` shows."""
        return self.manifest.settings.name

    @classmethod
    def instead_of(cls, provider: str) -> str:
        """Return how to name a shipped manifest, which is no provider."""
        if provider not in loader.shipped():
            return ""
        return f"{provider} is a manifest: write provider: manifest, manifest: {provider}"

    def own_families(self) -> tuple[Family, ...]:
        """Return the families that the manifest declares."""
        return self.manifest.families

    def own_warnings(self) -> tuple[SettingsProblem, ...]:
        """Return the manifest's warnings; those of a shipped one are intended and left out."""
        shipped = Path(self.manifest.file).parent == loader.SHIPPED
        return () if shipped else self.manifest.warnings

    def texts(self) -> Mapping[str, str]:
        """Return every variable as text."""
        declared = self.manifest.settings.variables
        given = {name: each.default for name, each in declared.items()} | self.variables
        return {name: as_text(value) or "" for name, value in given.items()}


def _check_names(
    kind: str, given: Collection[str], known: Collection[str], needed: Collection[str]
) -> None:
    for name in sorted(set(given) - set(known)):
        hint = suggestion(name, known) or f"it has {', '.join(sorted(known)) or 'none'}"
        raise invalid(kind, f"the manifest has no {kind} {name}", hint)
    if missing := sorted(set(needed) - set(given)):
        raise invalid("whole", f"missing: the manifest needs the {kind} {missing[0]}")


class AccessToken(msgspec.Struct):
    """The answer of a token endpoint (RFC 6749, 5.1)."""

    access_token: str
    expires_in: int | float | str | None = None


@dataclass(slots=True)
class ManifestAccount:
    """The secrets of a target, and what requests take from them; shared by its queries."""

    options: ManifestOptions
    _token: str = ""
    _key: str = ""
    _renew_ms: float = 0.0

    def read(self) -> dict[str, str]:
        """Return the current secrets."""
        return {name: key_of(secret) for name, secret in self.options.secrets.items()}

    @property
    def name(self) -> str:
        """Return the name of the account's budget, which does not disclose its secrets.

        If they cannot be read now, targets with the same references to them share a budget.
        """
        try:
            secrets = repr(sorted(self.read().values()))
        except Unauthorized:
            secrets = repr(sorted(map(repr, self.options.secrets.values())))
        return budget_name("manifest", f"{self.options.base_url}\n{secrets}")

    def given(self, secrets: Mapping[str, str]) -> Substitutes:
        """Return what texts outside a request may name."""
        return Substitutes(self.options.texts(), secrets=secrets)

    def _headers(self, given: Substitutes) -> httpx.Headers:
        """Return the headers of every request, without a token that must be fetched."""
        auth = self.options.manifest.settings.auth
        headers = fill_headers(self.options.manifest.settings.headers, given)
        if auth.kind == "bearer":
            headers["Authorization"] = f"Bearer {fill_text(auth.token, given)}"
        elif auth.kind == "header" and auth.header is not None:
            headers[auth.header] = fill_text(auth.token, given)
        elif auth.kind == "basic":
            pair = f"{fill_text(auth.username, given)}:{fill_text(auth.password, given)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        if not all(map(can_be_sent, headers.values())):
            raise Unauthorized("a header contains a character that cannot be sent")
        return merged_headers(headers)

    async def signed(
        self, client: ApiClient, call: ApiCall, secrets: Mapping[str, str], now_ms: int
    ) -> ApiCall:
        """Return ``call`` with its headers, and a key in the query or a fetched token."""
        auth, given = self.options.manifest.settings.auth, self.given(secrets)
        params, headers = call.params, merged_headers(self._headers(given), call.headers)
        if auth.kind == "query" and auth.param is not None:
            params = [*(params or ()), (auth.param, fill_text(auth.token, given))]
        if auth.kind == "oauth2_client_credentials":
            headers["Authorization"] = f"Bearer {await self._current(client, given, now_ms)}"
        return replace(call, params=params, headers=headers, signed=False)

    def renews(self, error: Unauthorized) -> bool:
        """Drop the token, which may have expired; return whether a new one may help."""
        self._renew_ms = 0.0
        refused = error.status == HTTPStatus.UNAUTHORIZED
        return refused and self.options.manifest.settings.auth.kind == "oauth2_client_credentials"

    async def _current(self, client: ApiClient, given: Substitutes, now_ms: int) -> str:
        auth = self.options.manifest.settings.auth
        form = {
            "grant_type": "client_credentials",
            "client_id": fill_text(auth.client_id, given),
            "client_secret": fill_text(auth.client_secret, given),
        }
        if scope := fill_text(auth.scope, given):
            form["scope"] = scope
        if now_ms < self._renew_ms and form["client_secret"] == self._key:
            return self._token
        url = urlsplit(urljoin(self.options.base_url + "/", (auth.token_url or "").lstrip("/")))
        call = ApiCall(
            "POST", url.path, form=form, base=f"{url.scheme}://{url.netloc}", signed=False
        )
        try:
            found = await client.fetch(call, AccessToken)
        except Refused as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            words = f"{error}; the client or its secret is not accepted"  # RFC 6749, 5.2
            raise Unauthorized(words, status=error.status) from None
        token = found.access_token.strip()
        if not (token and can_be_sent(token)):
            raise SchemaError(f"{call.endpoint}: access_token: no header can carry it")
        lives_s = parse_number(found.expires_in) or TOKEN_LIVES_S
        self._token, self._key = hide(token), form["client_secret"]
        self._renew_ms = now_ms + RENEW_AT * min(lives_s * SECOND_MS, DAY_MS)
        return self._token

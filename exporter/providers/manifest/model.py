"""The shape of a manifest file; the loader checks what its expressions mean."""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from exporter.config.model import Duration, Strict, Url, check_interval, check_lookback
from exporter.config.values import Zone, invalid, kind_of
from exporter.providers.manifest.templates import leaves

CURRENCIES = frozenset({"usd", "eur", "gbp", "chf", "jpy", "cad", "aud", "inr", "brl", "cny"})


def _check_version(value: Any) -> int:
    if value != 1 or isinstance(value, bool):
        raise invalid("version", "only manifest: 1 is supported", "write manifest: 1")
    return 1


def _named(pattern: str, kind: str, problem: str, hint: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise invalid(kind, problem, hint)
        return value

    return AfterValidator(check)


def _as_decimal(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise invalid("resolution", f"expected a power of ten, found {kind_of(value)}")
    found = re.fullmatch(r"1|0\.0{0,8}1|1e-0?[1-9]", str(value))
    if found is None:
        raise invalid("resolution", "expected 1, 0.1, 0.01 … 0.000000001")
    return str(value)


SIGNS = "lower-case letters, digits and _"
Word: TypeAlias = Annotated[
    str, _named(r"[a-z][a-z0-9_]{0,40}", "word", f"expected {SIGNS}", "as in usage_by_hour")
]
LabelName: TypeAlias = Annotated[
    str, _named(r"(?!(le|quantile)$)[a-z][a-z0-9_]*", "label", "not a valid label name", SIGNS)
]
OwnName: TypeAlias = Annotated[
    str,
    _named(
        r"chatbot_custom_[a-z][a-z0-9_]{0,184}",
        "family",
        "the name of an own family begins with chatbot_custom_",
        "use a-z, 0-9 and _",
    ),
]
Resolution: TypeAlias = Annotated[
    str,
    BeforeValidator(_as_decimal),
    WithJsonSchema({"type": ["number", "string"]}),
]
Constant: TypeAlias = str | int | float | bool
FieldValues: TypeAlias = dict[str, list[Constant | None]]
Only: TypeAlias = Annotated[
    FieldValues,
    Field(default_factory=dict, description="fields, and the values with which a row counts"),
]
Except: TypeAlias = Annotated[
    FieldValues,
    Field(default_factory=dict, alias="except", description="the values with which it does not"),
]
Missing: TypeAlias = Literal["zero", "keep", "error"]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class ManifestAuth(BaseModel):
    """How requests are signed; a value is ``secrets.NAME``, or a text with ``{secrets.NAME}``."""

    model_config = Strict

    kind: Literal["bearer", "basic", "header", "query", "oauth2_client_credentials", "none"]
    token: str | None = Field(default=None, description="bearer, header, query: `secrets.NAME`")
    header: str | None = Field(default=None, description="header: its name, such as `X-Api-Key`")
    param: str | None = Field(default=None, description="query: its name, such as `apikey`")
    username: str | None = Field(default=None, description="basic: the user")
    password: str | None = Field(default=None, description="basic: `secrets.NAME`")
    token_url: str | None = Field(default=None, description="oauth2: a path or an https address")
    client_id: str | None = Field(default=None, description="oauth2: the client")
    client_secret: str | None = Field(default=None, description="oauth2: `secrets.NAME`")
    scope: str | None = Field(default=None, description="oauth2: scopes, separated by spaces")


class CallBudget(BaseModel):
    """The maximum calls per time, such as ``{calls: 100, per: 1d}``: one every ``per / calls``."""

    model_config = Strict

    calls: int = Field(ge=1)
    per: Duration

    @field_validator("per")
    @classmethod
    def _spaces_calls(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("calls", 1):
            hint = "write the limit as requests_per_second"
            raise invalid("budget", "shorter than 1 ms for each call", hint)
        return value

    @property
    def period_ms(self) -> int:
        """Return the time from one call to the next."""
        return self.per // self.calls


class ManifestRate(BaseModel):
    """How fast an API may be called; a target may set its own ``requests_per_second``."""

    model_config = Strict

    requests_per_second: float | None = Field(default=None, ge=0)
    budget: CallBudget | None = None


class ManifestVariable(BaseModel):
    """A value that each target may set, and must set if there is no ``default``."""

    model_config = Strict

    default: Constant | None = None
    description: str = ""


class OwnFamily(BaseModel):
    """A family of the manifest's own, besides those of the catalogue."""

    model_config = Strict

    type: Literal["counter", "gauge"]
    help: Text
    unit: str = Field(default="", description="such as `usd` or `seconds`; the name ends with it")
    labels: tuple[LabelName, ...] = Field(
        default=(), strict=False, description="besides provider, target, project, bot_environment"
    )
    cap: int = Field(default=100, ge=1, le=5_000, description="maximum series of a target")
    resolution: Resolution | None = Field(default=None, description="smallest step, such as 0.01")

    @property
    def per_unit(self) -> int:
        """Return the number of parts into which the ledger divides the unit."""
        default = "0.000001" if self.unit in CURRENCIES else "1"
        return int(1 / Decimal(self.resolution or default))


class ManifestRequest(BaseModel):
    """One request; any text may be a value such as ``window.start|iso``, or hold it in braces."""

    model_config = Strict

    method: Literal["GET", "POST"] = "GET"
    path: str
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="query parameters: a value, a list, or `{json: …}`, which is sent as JSON text",
    )
    arrays: Literal["repeat", "brackets", "comma"] = Field(
        default="repeat", description="`a=1&a=2`, `a[]=1&a[]=2` or `a=1,2`"
    )
    headers: dict[str, Constant] = Field(default_factory=dict)
    body: Any = Field(default=None, description="the JSON body of a POST")

    @property
    def numbers(self) -> frozenset[int]:
        """Return the whole numbers above 1 that are sent; one of them may be the page size."""
        texts = (str(value) for _, value in leaves([self.params, self.body]))
        return frozenset(int(text) for text in texts if re.fullmatch(r"[2-9]|[1-9]\d{1,8}", text))


class ManifestWindow(BaseModel):
    """What one request covers, and how its numbers settle."""

    model_config = Strict

    bucket: Duration = Field(default=3_600_000, description="`1h` or `1d`")
    timezone: Zone = Field(default="UTC", description="the zone of instants without an offset")
    end: Literal["exclusive", "inclusive", "unstated"] = "unstated"
    max_span: Duration | None = Field(default=None, description="the longest span of one request")
    lookback: Annotated[Duration, AfterValidator(check_lookback)] = Field(
        default=172_800_000, description="how far back a poll reads (2d)"
    )
    settle: Duration = Field(default=3_600_000, description="when a bucket is complete (1h)")


class ManifestPages(BaseModel):
    """How a list continues in further answers."""

    model_config = Strict

    kind: Literal["cursor", "page", "offset", "next_url", "link_header", "none"]
    source: str | None = Field(default=None, alias="from", description="path of the next cursor")
    send: str | None = Field(default=None, description="its parameter, or member.of.the.body")
    more: str | None = Field(default=None, description="the path of a field that is true or false")
    size: int | None = Field(default=None, ge=1, description="the number of items in a full page")
    first: int = Field(default=1, ge=0, le=1, description="page: the number of the first page")
    max: int = Field(default=200, ge=1, le=10_000, description="maximum pages of one window")
    on_expired: Literal["restart", "error"] = Field(
        default="error", description="what a 410 means: begin the window again, or give up"
    )


class CompleteRule(BaseModel):
    """How an answer shows that nothing is missing; an incomplete window is split."""

    model_config = Strict

    rows_below: int | None = Field(default=None, ge=1, description="this many rows may be cut off")
    total: str | None = Field(default=None, description="the path of the total number of rows")


class LabelMapping(BaseModel):
    """How a label's raw values become label values."""

    model_config = Strict

    map: dict[str, str] = Field(default_factory=dict, description="raw value to label value")
    allow: tuple[str, ...] | None = Field(
        default=None, strict=False, description="values that are shown; the rest is `other`"
    )


class CountRule(BaseModel):
    """What a row adds to a counter: additive values only."""

    model_config = Strict

    value: str | int = Field(default=1, description="a sum of fields, or 1 for each row")
    labels: dict[str, Constant] = Field(default_factory=dict)
    only: Only
    excluded: Except
    missing: Missing = Field(default="keep", description="what an absent value means")
    of: str = Field(default="additive", alias="class", description="only `additive` is allowed")


class GaugeRule(BaseModel):
    """A value that does not add up over time."""

    model_config = Strict

    value: str
    labels: dict[str, Constant] = Field(default_factory=dict)
    of: Literal["distinct", "level", "average", "ratio"] = Field(alias="class")
    window: str = Field(
        default="",
        pattern=r"^(hour|day|trailing_[1-9]\d{0,2}[hd])?$",
        description="the label `window`: the bucket's `hour` or `day`, or `trailing_30d` of a level",
    )


class ManifestQuery(BaseModel):
    """One query: its request, where its rows are, and what they count."""

    model_config = Strict

    shape: Literal["buckets", "range", "records"]
    description: str = ""
    request: ManifestRequest
    for_each: dict[str, list[str] | dict[str, str]] = Field(
        default_factory=dict,
        max_length=1,
        description="repeats the query for each value of `each.NAME`; if values have families, "
        "each feeds its own by what `count` has for `each`",
    )
    window: ManifestWindow = ManifestWindow()
    interval: Annotated[Duration, AfterValidator(check_interval)] | None = Field(
        default=None, description="how often to poll, by default"
    )
    pages: ManifestPages = ManifestPages(kind="none")
    rows: list[str] = Field(default_factory=list, max_length=6)
    at: str | None = Field(default=None, description="the instant of a row")
    until: str | None = Field(default=None, description="range: the end of a row; there is no gap")
    id: str | None = Field(default=None, description="records: the field that identifies one")
    mutable: bool = Field(default=False, description="records change, so hours are counted again")
    missing: Missing = Field(default="zero", description="what an absent bucket means")
    complete: CompleteRule | None = None
    only: Only
    excluded: Except
    expect: FieldValues = Field(
        default_factory=dict, description="the values that fields must have, such as a currency"
    )
    optional: list[str] = Field(
        default_factory=list, description="fields of only and except that no row need have"
    )
    labels: dict[str, Constant] = Field(default_factory=dict, description="labels of every family")
    null_labels: dict[str, str] = Field(default_factory=dict, description="what null means")
    label_rules: dict[str, LabelMapping] = Field(default_factory=dict)
    parts: dict[str, list[str]] = Field(
        default_factory=dict, description="totals and the fields they contain, refused in one sum"
    )
    distinct: list[str] = Field(default_factory=list, description="fields of distinct counts")
    count: dict[str, CountRule | list[CountRule]] = Field(default_factory=dict)
    gauge: dict[str, GaugeRule | list[GaugeRule]] = Field(default_factory=dict)

    @property
    def stream(self) -> bool:
        """Return whether the query's records do not change, so that each is counted once."""
        return self.shape == "records" and not self.mutable

    def newest_ms(self, budget: CallBudget | None) -> int:
        """Return what a poll reads beyond the lookback: the open bucket, or all since the last call."""
        since_ms = budget.period_ms if budget and self.stream else 0
        return max(self.window.bucket, since_ms)


class Manifest(BaseModel):
    """One API, and the queries that can be read from it."""

    model_config = Strict

    manifest: Annotated[int, BeforeValidator(_check_version), WithJsonSchema({"const": 1})]
    name: Word
    title: str
    base_url: Url
    documentation: str = ""
    facts: Literal["verified", "documented", "inferred"] | None = Field(
        default=None, description="how certain its facts are: tried, documented or guessed"
    )
    auth: ManifestAuth
    headers: dict[str, Constant] = Field(default_factory=dict)
    variables: dict[Word, ManifestVariable] = Field(default_factory=dict)
    rate: ManifestRate = ManifestRate()
    families: dict[OwnName, OwnFamily] = Field(default_factory=dict)
    queries: dict[Word, ManifestQuery] = Field(min_length=1)

"""A target that a manifest describes, from its settings to the page: secrets, money, families."""

import base64
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from exporter.app import App
from exporter.cli import main
from exporter.config import loads
from exporter.errors import (
    ProviderError,
    Refused,
    SchemaError,
    SettingsError,
    Throttled,
    Unauthorized,
)
from exporter.exposition import catalogue
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from exporter.providers import PROVIDERS
from tests.dashboards.promtool import findings
from tests.providers.manifest.files import (
    COST,
    HOURS,
    NOON_MS,
    QUERY,
    SENT,
    THREE,
    Api,
    counts,
    loaded,
    problems,
    readings,
    row,
    target,
    written,
)
from tests.providers.vendor import read
from tests.support.running import exporter
from tests.support.virtual import VirtualClock, run_virtual

EUROS = "chatbot_custom_acme_cost_eur_total"
OWN = {EUROS: {"type": "counter", "unit": "eur", "help": "Cost of answers.", "labels": ["model"]}}
OTHER = {"chatbot_custom_acme_seats": {"type": "gauge", "help": "Seats.", "cap": 3}}
MONEY: dict[str, Any] = {
    "missing": "zero",
    "interval": "5m",
    "count": {
        COST: {"value": "row.usd|scale:0.01", "labels": {"model": "m"}},
        EUROS: {"value": "row.eur", "labels": {"model": "m"}},
    },
}


def settings(folder: Path, text: bytes, **changes: Any) -> Any:
    """Return settings in ``folder`` with one target of the manifest, which is written there."""
    (folder / "acme.yaml").write_bytes(text)
    entry = {"name": "shop", "provider": "manifest", "manifest": "./acme.yaml"}
    given = entry | {"secrets": {"key": "k"}} | changes
    document = {
        "version": 1,
        "allow_inline_secrets": True,
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "targets": [{key: value for key, value in given.items() if value is not None}],
    }
    options = {name: kind.options for name, kind in PROVIDERS.items()}
    whole, file = yaml.safe_dump(document), str(folder / "exporter.yaml")
    (folder / "exporter.yaml").write_text(whole)
    return loads(whole, options, {}, file=file, families=catalogue.capped(PROVIDERS))


def scraped(app: App) -> str:
    """Return a scrape's text."""
    return b"".join(app.page.scrape(openmetrics=False, gzip=False)).decode()


def lived(
    folder: Path,
    *steps: tuple[bytes, dict[int, dict[str, Any]]],
    then: Callable[[App], Any] = scraped,
) -> Any:
    """Return what ``then`` says of an exporter that polled while its manifest and the API changed.

    Each of ``steps`` is a manifest and the fields of hours before noon.
    """
    clock, answered = VirtualClock(NOON_MS + 10_000), dict[int, dict[str, Any]]()

    def answer_now(_: httpx.Request) -> httpx.Response:
        rows = [row(hour, **fields) for hour, fields in answered.items()]
        return httpx.Response(200, json={"data": rows})

    async def run() -> Any:
        text, answer = steps[0]
        answered.update(answer)
        async with exporter(settings(folder, text), clock, httpx.MockTransport(answer_now)) as app:
            await clock.sleep(60)
            for new, answer in steps[1:]:
                answered.update(answer)
                if new != text:
                    found, text = settings(folder, new), new
                    assert await app.reload(lambda: found) == ()  # noqa: B023 - now
                await clock.sleep(600)
                scraped(app)  # which sees the 0
                await clock.sleep(600)
            return then(app)

    return run_virtual(run(), clock)


def values(text: str) -> dict[str, float]:
    """Return the values of the target's data by series, without its base labels."""
    base = '{provider="acme",target="shop",project="",bot_environment="",'
    lines = [line.rpartition(" ") for line in text.splitlines() if base in line]
    return {name.replace(base, "{"): float(value) for name, _, value in lines}


def explanation(folder: Path, selector: str) -> str:
    """Return what the command says of a series of the ledger in ``folder``."""
    config = str(folder / "exporter.yaml")
    return CliRunner().invoke(main, ["explain", selector, "--config", config]).output


AUTH: list[tuple[dict[str, Any], dict[str, str], dict[str, str]]] = [
    ({"kind": "bearer", "token": "secrets.key"}, {"authorization": "Bearer the-key"}, {}),
    ({"kind": "header", "header": "X-Key", "token": "secrets.key"}, {"x-key": "the-key"}, {}),
    ({"kind": "query", "param": "apikey", "token": "secrets.key"}, {}, {"apikey": "the-key"}),
    ({"kind": "none"}, {}, {}),
    (
        {"kind": "basic", "username": "ann", "password": "secrets.key"},
        {"authorization": "Basic " + base64.b64encode(b"ann:the-key").decode()},
        {},
    ),
]


FROM_EUR = MONEY | {"count": {EUROS: {"value": "row.eur"}}}


def test_money_is_exact_from_the_answer_to_the_page_and_in_its_explanation(tmp_path: Path) -> None:
    def shown(app: App) -> str:
        (explained,) = app.explain(EUROS, 1).series
        assert getattr(explained.sum, "counter", None) == explained.exported == 0.2
        assert [(each.provider, each.baseline) for each in explained.buckets] == [(0.3, 0.1)]
        return scraped(app)

    text, more = written(MONEY, families=OWN), written(MONEY, families=OWN | OTHER)
    last = {0: {"usd": "31.500001", "eur": 0.3}}
    found = lived(tmp_path, (text, {0: {"usd": "1.5", "eur": 0.1}}), (text, last), (more, last),
        then=shown)  # fmt: skip

    assert values(found)[f'{COST}{{model="m"}}'] == 0.3  # 30.000001 cents
    assert values(found)[f'{EUROS}{{model="m"}}'] == 0.2
    assert findings(found) == set()
    assert "= counter" in explanation(tmp_path, EUROS)


def test_the_sums_of_money_in_an_explanation_are_exact(tmp_path: Path) -> None:
    text = written(FROM_EUR, families=OWN)
    before, after = (
        {hour: {"eur": eur} for hour, eur in zip((-2, -1, 0), euros, strict=True)}
        for euros in ((0.1, 0.1, 0.1), (0.2, 0.3, 0.4))  # 0.1 + 0.2 + 0.3, and 0.4 - 0.1
    )

    lived(tmp_path, (text, before), (text, after))

    shown = explanation(tmp_path, EUROS)
    assert "= counter" in shown
    assert "0000" not in shown.replace("2026-", "")
    assert "  0.6" in shown


def test_money_that_is_taken_back_is_shown_in_its_unit(tmp_path: Path) -> None:
    text = written(FROM_EUR, families=OWN)

    found = lived(tmp_path, *((text, {0: {"eur": eur}}) for eur in (0.1, 0.4, 0.3)))

    lines = [line.split() for line in found.splitlines() if "shop" in line.split()[0]]
    named = {line[0].partition("{")[0]: line[1] for line in lines}
    assert named["chatbot_exporter_overhang"] == "0.1"
    assert named["chatbot_exporter_retracted_total"] == "0.1"


@pytest.mark.parametrize(
    ("changed", "labels"),
    [
        ({"labels": ["kind"]}, '{kind="m"}'),
        ({"labels": ["model", "region"]}, '{model="m",region=""}'),
        ({"resolution": 0.01}, '{model="m"}'),
    ],
)
def test_a_family_that_is_defined_anew_begins_anew(
    tmp_path: Path, changed: dict[str, Any], labels: str
) -> None:
    rule = {"value": "row.eur", "labels": {labels[1 : labels.index("=")]: "m"}}
    second = written(MONEY | {"count": {EUROS: rule}}, families={EUROS: OWN[EUROS] | changed})
    first = written(MONEY | {"count": {EUROS: MONEY["count"][EUROS]}}, families=OWN)
    texts = (first, first, second, second)

    found = lived(tmp_path, *((text, {0: {"eur": 1 + 2 * n}}) for n, text in enumerate(texts)))

    shown = {name: value for name, value in values(found).items() if name.startswith(EUROS)}
    assert shown == {EUROS + labels: 2}


@pytest.mark.parametrize(
    ("query", "top"),
    [
        ({"request": QUERY["request"] | {"path": "/bots/{variables.v}"}}, {}),
        ({"request": QUERY["request"] | {"headers": {"X-Bot": "variables.v"}}}, {}),
        ({"request": QUERY["request"] | {"method": "POST", "body": [{"id": "variables.v"}]}}, {}),
        ({"labels": {"project": "variables.v"}}, {}),
        ({"count": {SENT: [{"value": "row.sent", "labels": {"project": "variables.v"}}]}}, {}),
        ({}, {"headers": {"X-Bot": "bot-{variables.v}"}}),
        ({}, {"auth": {"kind": "basic", "username": "variables.v"}}),
        ({}, {}),
    ],
)
def test_a_variable_belongs_to_the_meaning_of_the_queries_that_name_it(
    query: dict[str, Any], top: dict[str, Any]
) -> None:
    def meaning(name: str, **variables: str) -> bytes:
        text = json.dumps([query, top]).replace("variables.v", f"variables.{name}")
        changed, others = json.loads(text)
        declared = {each: {"default": ""} for each in variables}
        manifest = loaded(changed, variables=declared, **others)
        return target(manifest, variables=variables).queries[0].spec.fingerprint

    first = meaning("v", v="a")

    assert first == meaning("v", v="a", unused="x") == meaning("v", v="a", another="")
    assert (first == meaning("v", v="b")) is (query == top == {})


def test_an_hour_that_has_settled_shows_its_money_in_the_period_gauge(tmp_path: Path) -> None:
    text = written(MONEY, families=OWN)

    shown = values(lived(tmp_path, (text, {-2: {"usd": "20", "eur": "0.5"}})))

    assert shown['chatbot_period_custom_acme_cost_eur{model="m",period="hour"}'] == 0.5
    assert shown['chatbot_period_llm_cost_usd{model="m",period="hour"}'] == 0.2


@pytest.mark.parametrize(("auth", "headers", "params"), AUTH)
def test_a_request_is_signed(
    auth: dict[str, Any], headers: dict[str, str], params: dict[str, str]
) -> None:
    api = Api(THREE)

    readings(loaded(auth=auth, headers={"X-Version": 2, "X-All": True}), api)

    (request,) = api.requests
    assert [request.headers[name] for name in ("x-version", "x-all")] == ["2", "true"]
    assert {name: request.headers[name] for name in headers} == headers
    assert params.items() <= dict(request.url.params).items()
    assert ("authorization" in request.headers) is ("authorization" in headers)


def test_a_token_is_fetched_once_and_again_when_it_is_refused() -> None:
    auth = {"kind": "oauth2_client_credentials", "token_url": "/token", "client_id": "me"}
    auth |= {"client_secret": "secrets.key", "scope": "read:{variables.area}"}
    manifest = loaded(auth=auth, variables={"area": {}})
    built = target(manifest)
    api = Api({"access_token": "a", "expires_in": 10**400}, THREE, THREE, httpx.Response(401),
              {"access_token": "b"}, THREE)  # fmt: skip

    for _ in range(3):
        read(built, built.queries[0], api, PollRequest(HOURS, NOON_MS))

    paths = [request.url.path for request in api.requests]
    assert paths == ["/v1/token", *["/v1/v1/stats"] * 3, "/v1/token", "/v1/v1/stats"]
    form = httpx.QueryParams(api.requests[0].content.decode())
    assert (form["grant_type"], form["client_id"], form["scope"]) == (
        "client_credentials",
        "me",
        "read:x",
    )
    assert form["client_secret"] == "the-key"
    assert [request.headers.get("authorization") for request in api.requests[-2:]] == [
        None,
        "Bearer b",
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(400, json={"error": "invalid_client"}), Unauthorized),
        (httpx.Response(404), Refused),
        ({"access_token": " "}, SchemaError),
        ({"access_token": "a\tb"}, SchemaError),
    ],
)
def test_a_token_that_is_not_given_is_an_error_with_its_reason(
    answer: Any, error: type[ProviderError]
) -> None:
    auth = {"kind": "oauth2_client_credentials", "token_url": "/token", "client_id": "me"}

    with pytest.raises(error, match=r"POST /v1/token: "):
        readings(loaded(auth=auth | {"client_secret": "secrets.key"}), Api(answer))


def test_a_header_has_no_blanks_around_it() -> None:
    headers = {"X-Version": "2 ", "X-Team": "{variables.team} {variables.team}"}
    auth = {"kind": "oauth2_client_credentials", "token_url": "/token", "client_id": "me"}
    api = Api({"access_token": "a "}, THREE)

    readings(
        loaded(
            auth=auth | {"client_secret": "secrets.key"},
            headers=headers,
            variables={"team": {"default": ""}},
        ),
        api,
    )

    (*_, sent) = api.requests
    names = ("x-version", "x-team", "authorization")
    assert [sent.headers[name] for name in names] == ["2", "", "Bearer a"]


def test_no_message_holds_a_secret_or_a_value() -> None:
    auth = {"kind": "query", "param": "apikey", "token": "secrets.key"}
    for answer in (httpx.Response(500), httpx.Response(403), {"data": [row(-1, sent="C4n4ry")]}):
        with pytest.raises(ProviderError) as caught:
            readings(loaded({"missing": "zero"}, auth=auth), Api(answer))

        assert "the-key" not in str(caught.value)
        assert "C4n4ry" not in str(caught.value)
    with pytest.raises(Unauthorized):
        readings(loaded(), Api(httpx.Response(401)))


PAGED = [row(hour, sent=1) for hour in (-3, -2, -1)]


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        ({"kind": "page", "send": "p", "first": 0}, [{"p": "0"}, {"p": "1"}, {"p": "2"}]),
        ({"kind": "page", "send": "p"}, [{"p": "1"}, {"p": "2"}, {"p": "3"}]),
        ({"kind": "offset", "send": "o"}, [{"o": "0"}, {"o": "2"}, {"o": "3"}]),
        ({"kind": "page", "send": "p", "more": "more"}, [{"p": "1"}, {"p": "2"}]),
        ({"kind": "next_url", "from": "next"}, [{}, {"c": "x"}]),
        ({"kind": "link_header"}, [{}, {"c": "x"}]),
    ],
)
def test_a_list_goes_on_until_it_ends(pages: dict[str, str], asked: list[dict[str, str]]) -> None:
    link = "https://api.acme.example/v1/v1/stats?c=x"
    api = Api(
        httpx.Response(
            200,
            json={"data": PAGED[:2], "more": True, "next": link},
            headers={"Link": f'<https://api.acme.example/a>; rel="prev", <{link}>; rel="next"'},
        ),
        {"data": PAGED[2:], "more": False},
        {"data": []},
    )

    found = readings(loaded({"pages": pages}), api)

    assert counts(found) == {-3: 1, -2: 1, -1: 1}
    own = [{k: v for k, v in sent.items() if k not in ("from", "to")} for sent in api.sent]
    assert own == asked


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1/v1/stats?c=1",
        "http://api.acme.example/v1/v1/stats?c=1",
        "https://api.acme.example:8443/v1/v1/stats?c=1",
        "https://api.acme.example:x/v1/v1/stats?c=1",
        *("/v1/other?c=1", "http://[", "//evil.example/"),
    ],
)
def test_the_next_page_is_never_asked_elsewhere(link: str) -> None:
    api = Api({"data": PAGED[:2], "next": link})

    with pytest.raises(SchemaError, match="another address"):
        readings(loaded({"pages": {"kind": "next_url", "from": "next"}}), api)

    assert len(api.requests) == 1
    with pytest.raises(ProviderError, match="is p its parameter"):
        readings(loaded({"pages": {"kind": "page", "send": "p"}}), Api({"data": PAGED}))


@pytest.mark.parametrize(
    "origin",
    ["", "https://API.acme.example", "https://api.acme.example:443", "HTTPS://api.acme.example"],
)
def test_a_link_in_another_spelling_goes_on_with_the_targets_own_key(origin: str) -> None:
    auth = {"kind": "query", "param": "apikey", "token": "secrets.key"}
    link = f"{origin}/v1/v1/stats?c=x&apikey=REDACTED"
    api = Api({"data": PAGED[:2], "next": link}, {"data": PAGED[2:]})

    found = readings(loaded({"pages": {"kind": "next_url", "from": "next"}}, auth=auth), api)

    assert counts(found) == {-3: 1, -2: 1, -1: 1}
    assert api.requests[1].url.query == b"c=x&apikey=the-key"


def test_a_loop_reads_each_value_into_its_family_with_a_name_of_its_own() -> None:
    request = {
        "path": "/r",
        "params": {"m": "each.metric", "s": "window.start|iso", "e": "window.end|iso"},
    }
    loop = {"metric": {"in": "chatbot_messages_received_total", "out": SENT}}
    manifest = loaded(
        {"request": request, "for_each": loop, "count": {"each": {"value": "row.sent"}}}
    )
    built, api = target(manifest), Api(THREE)

    found = [read(built, query, api, PollRequest(HOURS, NOON_MS)) for query in built.queries]

    assert [query.spec.name for query in built.queries] == ["stats/in", "stats/out"]
    assert [sent["m"] for sent in api.sent] == ["in", "out"]
    fed = [{series[0] for reading in each for series, _, _ in reading.counts} for each in found]
    assert fed == [{"chatbot_messages_received_total"}, {SENT}]


@pytest.mark.parametrize("gap", [(), (row(-1, sent=4),)])
def test_a_bucket_that_is_missing_is_kept_zero_or_an_error(gap: tuple[Any, ...]) -> None:
    api = Api({"data": [row(-3, sent=1), *gap]})

    kept = readings(loaded({"missing": "keep"}), api)
    zero = readings(loaded({"missing": "zero"}), api)

    absent = {NOON_MS - hours * HOUR_MS for hours in ((2,) if gap else (2, 1))}
    assert [reading.absent for reading in kept] == [absent]
    assert counts(kept) == counts(zero)
    assert zero[0].absent == frozenset()
    with pytest.raises(ProviderError, match="a bucket is missing"):
        readings(loaded(), api)


def test_rows_of_a_range_cover_its_day_exactly() -> None:
    query: dict[str, Any] = {
        "shape": "range",
        "missing": None,
        "window": {"bucket": "1d", "end": "inclusive"},
        "at": "row.start|epoch_ms",
        "until": "row.end|epoch_ms",
    }
    start = NOON_MS - NOON_MS % DAY_MS
    half = start + DAY_MS // 2
    whole = [
        {"start": half, "end": start + DAY_MS - 1, "sent": 2},
        {"start": start, "end": half - 1, "sent": 1},
    ]
    window = Window(start, start + DAY_MS)

    (found,) = readings(loaded(query), Api({"data": whole}), window, window.end_ms)

    assert [row_[1:] for row_ in found.counts] == [(start, 3)]
    assert found.drift == {}
    for wrong in (whole[:1], whole[1:], [*whole, whole[0]]):
        with pytest.raises(SchemaError, match="do not cover the window"):
            readings(loaded(query), Api({"data": wrong}), window, window.end_ms)
    for wrong in (whole[:1], [*whole, whole[0]]):  # nor a day that is not over
        with pytest.raises(SchemaError, match="do not cover the window"):
            readings(loaded(query), Api({"data": wrong}), window, half)
    (open_,) = readings(loaded(query), Api({"data": whole[1:]}), window, half)
    assert [row_[1:] for row_ in open_.counts] == [(start, 1)]
    (none,) = readings(loaded(query), Api({"data": []}), window)
    assert (none.counts, none.drift) == ([], {"missing": 1})
    assert none.notes == ["no row covers the window, which counts as a window without traffic"]


def test_a_range_may_be_one_object_without_a_list() -> None:
    count = {SENT: {"value": "answer.data.sent"}}
    query: dict[str, Any] = {"shape": "range", "missing": None, "at": None, "rows": None}

    found = readings(loaded(query | {"count": count}), Api({"data": {"sent": 4}}))

    assert counts(found) == {-3: 4, -2: 4, -1: 4}
    assert "rows is missing" in problems({"rows": None})


def test_what_is_expected_must_hold_and_what_is_excluded_does_not_count() -> None:
    answer = {
        "data": [row(-3, sent=1, currency="usd"), row(-2, sent=2, currency="usd", kind="test")]
    }
    query = {
        "missing": "zero",
        "expect": {"row.currency": ["usd"]},
        "except": {"row.kind": ["test"]},
    }

    assert counts(readings(loaded(query), Api(answer))) == {-3: 1}
    with pytest.raises(SchemaError, match=r"row\.currency: unexpected value"):
        readings(loaded(query), Api({"data": [row(-1, sent=1, currency="eur")]}))


def test_a_budget_spaces_the_calls_and_is_refused_where_it_cannot_be_kept() -> None:
    rate = {"budget": {"calls": 24, "per": "1d"}}
    built = target(loaded(rate=rate))

    assert built.queries[0].spec.budget is not None
    assert built.queries[0].spec.budget.period_ms == HOUR_MS

    async def spent() -> None:
        raise Throttled("no call is left")

    with pytest.raises(Throttled):
        read(built, built.queries[0], Api(THREE), PollRequest(HOURS, NOON_MS, spend=spent))
    window = {"end": "exclusive", "lookback": "48h", "max_span": "48h"}
    several = {"pages": {"kind": "page", "send": "p"}, "window": window}
    for name, given in several.items():
        wrong = problems({name: given}, rate=rate)
        assert f"rate.budget needs one call per poll, and {name} makes several" in wrong


WINDOW = {"from": "window.start|iso", "to": "window.end|iso"}
TEAM: Any = {"variables": {"team": {}}}
TEAMS = written({"request": {"path": "/{variables.team}/x", "params": WINDOW}}, **TEAM)
OF_TEAM = written(headers={"X-Team": "variables.team"}, **TEAM)


@pytest.mark.parametrize(
    ("text", "changes", "problem"),
    [
        (written(), {"secrets": {}}, "the manifest needs the secret key"),
        (
            written(),
            {"secrets": None},
            "targets[0].secrets: missing: the manifest needs the secret",
        ),
        (TEAMS, {}, "targets[0].variables: missing: the manifest needs the variable team"),
        (written(), {"secrets": {"key": "k", "kei": "k"}}, "has no secret kei; it has key"),
        (written(), {"variables": {"team": "a"}}, "the manifest has no variable team"),
        (written(), {"queries": ["stat"]}, 'has no query stat; did you mean "stats"?'),
        (written(), {"queries": ["stats", "stats"]}, "an entry is listed more than once"),
        (written(), {"queries": []}, "nothing to read; name at least one"),
        (written(), {"manifest": "opnai"}, "the exporter ships no manifest of this name"),
        (written(), {"manifest": ""}, "expected a name or a path"),
        (
            written(),
            {"manifest": "./none.yaml"},
            "none.yaml:1:1: the file cannot be read: no such file",
        ),
        *(
            (TEAMS, {"variables": {"team": variable}}, "a segment of the path empty")
            for variable in (".", "..", "")
        ),
        (OF_TEAM, {"variables": {"team": "é"}}, "no header can carry"),
        (OF_TEAM, {"variables": {"team": "a\tb"}}, "a variable contains a control character"),
    ],
)
def test_a_target_that_does_not_fit_its_manifest_is_an_error_with_its_position(
    tmp_path: Path, text: bytes, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text, **changes)

    assert problem in str(caught.value)
    assert "exporter.yaml:" in str(caught.value)


HEADERS = ("Host", "Cookie", "Transfer-Encoding", "A b", "X:y", "A\r\nB")
KEY = "secrets.key"
TOTAL = "chatbot_custom_x_total"
FAMILIES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("chatbot_acme_total", {"type": "counter"}, "an own family begins with chatbot_custom_"),
    ("chatbot_custom_x", {"type": "counter"}, "not the name of a counter"),
    (TOTAL, {"type": "gauge"}, "not the name of a gauge"),
    ("chatbot_custom_x_ms_total", {"type": "counter"}, "the name contains ms"),
    ("chatbot_custom_x_count", {"type": "gauge"}, "this suffix is reserved"),
    (TOTAL, {"type": "counter", "unit": "usd"}, "does not end with the unit"),
    (TOTAL, {"type": "counter", "labels": ["project"]}, "that already exists"),
    (TOTAL, {"type": "counter", "labels": ["le"]}, "not a valid label name"),
    (TOTAL, {"type": "counter", "resolution": 0.3}, "expected 1, 0.1"),
    (TOTAL, {"type": "counter", "resolution": []}, "expected a power of ten"),
    ("chatbot_custom_x", {"type": "gauge", "resolution": 0.1}, "only counters"),
)


@pytest.mark.parametrize(
    ("query", "top", "problem"),
    [
        ({"labels": {"projekt": "row.x"}}, {}, "no family here has this label"),
        ({"label_rules": {"projekt": {"allow": ["a"]}}}, {}, "no family here has this label"),
        ({}, {"name": "voiceflow"}, "name: a built-in provider has this name"),
        ({}, {"auth": {"kind": "bearer", "token": "abc"}}, "auth.token: literal secret"),
        ({}, {"auth": {"kind": "basic"}}, "auth.username: missing; basic needs username"),
        ({}, {"auth": {"kind": "none", "scope": "variables.x"}}, "no such name: variables.x"),
        ({}, {"auth": {"kind": "none", "token": KEY}}, "auth.token: not used by none"),
        (
            {},
            {"auth": {"kind": "oauth2_client_credentials", "token_url": "http://x"}},
            "auth.token_url: ",
        ),
        (
            {},
            {"auth": {"kind": "oauth2_client_credentials", "token_url": "/token?audience=x"}},
            "auth.token_url: expected a path alone, such as /oauth/token",
        ),
        ({"interval": "10ms"}, {}, "interval: below the minimum of 1s"),
        (
            {},
            {"rate": {"budget": {"calls": 100, "per": "10ms"}}},
            "rate.budget.per: shorter than 1 ms for each call; write the limit as requests",
        ),
        *(({}, {"headers": {name: "x"}}, "headers") for name in HEADERS),
        *(
            ({"request": QUERY["request"] | {"headers": {name: "x"}}}, {}, "request.headers")
            for name in HEADERS
        ),
        *(
            ({}, {"auth": {"kind": "header", "header": name, "token": KEY}}, "auth.header")
            for name in HEADERS
        ),
        *(({}, {"families": {name: {"help": "H.", **of}}}, words) for name, of, words in FAMILIES),
    ],
)
def test_an_account_or_a_family_that_cannot_be_is_refused(
    query: dict[str, Any], top: dict[str, Any], problem: str
) -> None:
    assert problem in problems(query, **top)


@pytest.mark.parametrize(
    ("window", "changes", "good"),
    [
        ({"lookback": "7d"}, {"settle": "3d"}, True),
        ({"lookback": "7d"}, {"settle": "8d"}, False),
        ({"settle": "26h"}, {"lookback": "24h"}, True),  # as in defaults for all targets
        ({"settle": "26h"}, {"lookback": "26h"}, True),
        ({"settle": "26h", "lookback": "2h"}, {}, True),  # a warning: the manifest says so
    ],
)
def test_settle_and_lookback_are_compared_as_they_apply(
    tmp_path: Path, window: dict[str, str], changes: dict[str, str], *, good: bool
) -> None:
    text = written({"window": {"end": "exclusive"} | window})
    refused = pytest.raises(SettingsError, match="lookback: shorter than settle")

    with nullcontext() if good else refused:
        settings(tmp_path, text, **changes)


@pytest.mark.parametrize(
    ("text", "changes", "same"),
    [
        (written(), {}, True),
        (b"# a remark\n" + written(), {}, True),
        (written({"missing": "zero"}), {}, False),
        (written(), {"secrets": {"key": "another"}}, False),
        (written(), {"lookback": "48h"}, False),  # the default, but not the manifest's
    ],
)
def test_a_target_is_unchanged_where_its_manifest_and_its_settings_are(
    tmp_path: Path, text: bytes, changes: dict[str, Any], *, same: bool
) -> None:
    before = settings(tmp_path, written()).targets

    assert (settings(tmp_path, text, **changes).targets == before) is same


def test_a_reload_of_an_unchanged_manifest_asks_nothing(tmp_path: Path) -> None:
    clock, api = VirtualClock(NOON_MS), Api(httpx.Response(401))

    async def run() -> None:
        async with exporter(settings(tmp_path, written()), clock, api) as app:
            await clock.sleep(5)
            await app.reload(lambda: settings(tmp_path, written()))
            await clock.sleep(5)

    run_virtual(run(), clock)
    assert len(api.requests) == 1


def test_two_manifests_cannot_define_one_family_in_two_ways(tmp_path: Path) -> None:
    changed = {EUROS: OWN[EUROS] | {"labels": ["kind"]}}
    (tmp_path / "b.yaml").write_bytes(written(families=changed))
    first = settings(tmp_path, written(families=OWN)).targets[0]
    document = yaml.safe_load((tmp_path / "exporter.yaml").read_text())
    document["targets"].append(document["targets"][0] | {"name": "b", "manifest": "./b.yaml"})
    options = {name: kind.options for name, kind in PROVIDERS.items()}

    with pytest.raises(SettingsError, match=f"defines {EUROS} differently"):
        loads(yaml.safe_dump(document), options, {}, file=str(tmp_path / "exporter.yaml"))
    assert [family.name for family in first.own_families()] == [EUROS]


@pytest.mark.parametrize(
    ("pages", "calls"),
    [({"kind": "page", "send": "p"}, "1+"), ({"kind": "none"}, "1")],
)
def test_a_plan_shows_that_a_list_may_have_several_pages(
    tmp_path: Path, pages: dict[str, str], calls: str
) -> None:
    settings(tmp_path, written({"pages": pages}))

    plan = CliRunner().invoke(main, ["plan", str(tmp_path / "exporter.yaml")]).stdout

    assert calls in plan.splitlines()[1].split()


def test_check_config_warns_of_a_risky_manifest_of_ones_own(tmp_path: Path) -> None:
    settings(tmp_path, written({"missing": "zero"}))

    checked = CliRunner().invoke(main, ["check-config", str(tmp_path / "exporter.yaml")])

    assert "acme.yaml:10:5: queries.stats: warning: nothing shows that" in checked.stderr
    assert checked.exit_code == 0


def test_limits_may_name_an_own_family_and_plan_shows_the_target(tmp_path: Path) -> None:
    settings(tmp_path, written(families=OWN))
    file = tmp_path / "exporter.yaml"
    file.write_text(file.read_text() + f"limits: {{families: {{{EUROS}: 5}}}}\n")

    checked = CliRunner().invoke(main, ["check-config", str(file)])
    planned = CliRunner().invoke(main, ["plan", str(file)])

    assert checked.exit_code == 0, checked.stderr
    assert "shop (stats)" in checked.stdout
    assert "stats" in planned.stdout

"""What Prometheus, a load balancer and an operator get from each path."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.app import build, wants_gzip, wants_openmetrics
from exporter.web.guard import MAX_BODY_BYTES
from tests.web.served import (
    OPENMETRICS_BODY,
    PROCESS_BODY,
    TEXT_BODY,
    ScriptedExposition,
    ScriptedReload,
    ask,
    failing_query,
    sources,
    status,
    target,
)

PATHS = ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/explain"]


def get(path: str, headers: dict[str, str] | None = None, **parts: Any) -> httpx.Response:
    return ask(build(sources(**parts)), "GET", path, headers=headers)


OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@pytest.mark.parametrize(
    ("accept", "encoding", "kind", "body"),
    [
        ("*/*", "identity", "text/plain; version=0.0.4; charset=utf-8", TEXT_BODY),
        ("*/*", "gzip", "text/plain; version=0.0.4; charset=utf-8", TEXT_BODY),
        (
            OPENMETRICS,
            "identity",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            OPENMETRICS_BODY,
        ),
    ],
)
def test_metrics_are_in_the_format_and_encoding_that_the_client_prefers(
    accept: str, encoding: str, kind: str, body: bytes
) -> None:
    answer = get("/metrics", {"Accept": accept, "Accept-Encoding": encoding})

    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers.get("content-encoding", "identity") == encoding
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert int(answer.headers["content-length"]) > 0
    assert answer.content == body  # decompressed by the client


def test_head_of_metrics_is_not_a_scrape() -> None:
    exposition = ScriptedExposition()

    answer = ask(build(sources(exposition=exposition)), "HEAD", "/metrics")

    assert (answer.status_code, answer.content) == (200, b"")
    assert exposition.scrapes == 0


@pytest.mark.parametrize(
    ("verified", "body"), [(True, TEXT_BODY), (False, PROCESS_BODY), (None, PROCESS_BODY)]
)
def test_a_replica_that_cannot_verify_its_page_shows_nothing_of_a_target(
    verified: bool | None,
    body: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.web.app.VERIFY_S", 0.05)

    async def verify() -> bool:
        return await asyncio.Future[bool]() if verified is None else verified

    answer = get("/metrics", verify=verify)

    assert (answer.status_code, answer.content) == (200, body)


def test_a_bug_is_no_traceback() -> None:
    answer = get("/metrics", exposition=ScriptedExposition(RuntimeError("canary-secret")))

    assert (answer.status_code, answer.text) == (500, "Internal error; see the log.\n")


@pytest.mark.parametrize(
    ("path", "ready", "status", "words"),
    [
        ("/-/healthy", False, 200, "Healthy.\n"),
        ("/-/ready", True, 200, "Ready.\n"),
        ("/-/ready", False, 503, "the ledger is not open yet"),
    ],
)
def test_healthy_means_serving_and_ready_follows_the_ledger(
    path: str, *, ready: bool, status: int, words: str
) -> None:
    answer = get(path, ready=lambda: ready)

    assert answer.status_code == status
    assert words in answer.text


ERRORS = ("exporter.yaml:3:5: targets: must not be empty", "exporter.yaml:9:1: x: unknown key")


@pytest.mark.parametrize(
    ("reload", "status", "lines"),
    [
        (ScriptedReload(), 200, ["The new settings are in force."]),
        (ScriptedReload(ERRORS), 400, ["The old settings stay in force:", *ERRORS]),
        (None, 403, ["Reload is not available here: start the exporter with a settings file."]),
    ],
)
def test_a_reload_says_what_became_of_it(
    reload: ScriptedReload | None, status: int, lines: list[str]
) -> None:
    answer = ask(build(sources(reload=reload)), "POST", "/-/reload")

    assert (answer.status_code, answer.text.splitlines()) == (status, lines)
    assert reload is None or reload.asked == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://exporter.test"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_only_our_own_page_may_reload(headers: dict[str, str], status: int) -> None:
    reload = ScriptedReload()

    answer = ask(build(sources(reload=reload)), "POST", "/-/reload", headers=headers)

    assert (answer.status_code, reload.asked) == (status, int(status == 200))


@pytest.mark.parametrize(
    ("path", "allowed"), [*((path, "GET, HEAD") for path in PATHS), ("/-/reload", "POST")]
)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"]
)
def test_a_known_path_with_a_wrong_method_is_405(path: str, allowed: str, method: str) -> None:
    answer = ask(build(sources()), method, path)

    if method in allowed:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.text == ("" if method == "HEAD" else "405 Method Not Allowed\n")


@pytest.mark.parametrize(
    "path", ["/nope", "/metrics/", "/-/", "/../etc/passwd", "/%2e%2e/%2e%2e/etc"]
)
def test_an_unknown_path_is_404_in_a_few_plain_words(path: str) -> None:
    answer = get(path)

    assert (answer.status_code, answer.text) == (404, "404 Not Found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", [*PATHS, "/nope", "/-/reload"])
def test_every_answer_keeps_browsers_careful(path: str) -> None:
    headers = get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers


def test_a_large_body_is_refused_unread() -> None:
    answer = ask(build(sources()), "POST", "/-/reload", content=b"x" * (MAX_BODY_BYTES + 1))

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_the_status_is_json_with_the_names_of_its_dataclasses() -> None:
    answer = get("/api/v1/status", status=lambda: status(target("shop", failing_query())))

    shop = json.loads(answer.content)["targets"][0]
    assert answer.headers["content-type"] == "application/json"
    assert (shop["name"], shop["provider"]) == ("shop", "voiceflow")
    assert shop["queries"][0]["state"] == "circuit open"
    assert shop["queries"][0]["last_error"]["reason"] == "auth"
    assert shop["queries"][0]["budget"]["tokens"] == 0
    assert shop["queries"][0]["polls"][1]["outcome"] == "auth"


PROMETHEUS_2_30 = (
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_50_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_FIRST = (
    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.4"
)
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


PREFER_OPENMETRICS = (
    PROMETHEUS_2_42,
    PROMETHEUS_2_50_PROTOBUF,
    PROMETHEUS_3,
    "application/openmetrics-text",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    'Application/OpenMetrics-Text; Version="1.0.0"',
    "application/openmetrics-text;version=1.0.0,text/plain",
    "application/*",
)
PREFER_TEXT = (
    *("", "*/*", "text/plain", "text/*", "application/json", ";;,,;q=1,", CHROME),
    PROMETHEUS_2_30,  # its draft version is not what we write
    PROMETHEUS_3_TEXT_FIRST,
    "application/openmetrics-text;version=2.0.0",
    *(f"application/openmetrics-text;q={q}" for q in ("0", "0, */*", "0.4, */*;q=0.5", "1.5")),
    *(f"application/openmetrics-text;q={q}" for q in ("nan", "")),
)


@pytest.mark.parametrize("accept", [*PREFER_OPENMETRICS, *PREFER_TEXT])
def test_openmetrics_is_for_who_prefers_it(accept: str) -> None:
    assert wants_openmetrics(accept) is (accept in PREFER_OPENMETRICS)


GZIP = (
    *("gzip", "GZIP", "x-gzip", "gzip, deflate, br, zstd", "gzip;q=0.5", "*"),
    *("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip;q=0.5, identity;q=0.5"),
)
PLAIN = (
    *("", "identity", "br", "gzip;q=0", "gzip;q=0, *", "*;q=0"),
    *("gzip;q=0.4, identity;q=0.9", "gzip;q=much"),
)


@pytest.mark.parametrize("accept_encoding", [*GZIP, *PLAIN])
def test_gzip_is_for_who_accepts_it(accept_encoding: str) -> None:
    assert wants_gzip(accept_encoding) is (accept_encoding in GZIP)


@given(st.text(max_size=200))
def test_no_header_breaks_the_negotiation(header: str) -> None:
    assert wants_openmetrics(header) in {True, False}
    assert wants_gzip(header) in {True, False}

"""What Prometheus, a load balancer and an operator get from each path."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.web.app import build
from exporter.web.contract import ReloadResult, StaleSnapshot
from exporter.web.guard import MAX_BODY_BYTES
from tests.web.served import (
    OPENMETRICS_BODY,
    TEXT_BODY,
    ScriptedExposition,
    ScriptedReload,
    ask,
    failing_query,
    sources,
    status,
    target,
)

PATHS = ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status"]


def get(path: str, headers: dict[str, str] | None = None, **parts: Any) -> httpx.Response:
    return ask(build(sources(**parts)), "GET", path, headers=headers)


def test_metrics_are_the_text_format_for_a_person() -> None:
    answer = get("/metrics", {"Accept": "*/*", "Accept-Encoding": "identity"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in answer.headers
    assert answer.content == TEXT_BODY


def test_metrics_are_openmetrics_for_who_prefers_it() -> None:
    answer = get("/metrics", {"Accept": "application/openmetrics-text;version=1.0.0"})

    assert (
        answer.headers["content-type"]
        == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    assert answer.content == OPENMETRICS_BODY


def test_metrics_are_compressed_for_who_accepts_it() -> None:
    answer = get("/metrics", {"Accept-Encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == TEXT_BODY  # the client has decompressed it
    assert int(answer.headers["content-length"]) > 0


def test_a_cache_is_told_what_the_answer_depends_on() -> None:
    assert get("/metrics").headers["vary"] == "Accept, Accept-Encoding"


def test_head_of_metrics_is_not_a_scrape() -> None:
    exposition = ScriptedExposition()

    answer = ask(build(sources(exposition=exposition)), "HEAD", "/metrics")

    assert (answer.status_code, answer.content) == (200, b"")
    assert exposition.scrapes == 0


def test_a_stale_snapshot_is_503_and_not_the_past() -> None:
    stale = ScriptedExposition(StaleSnapshot("the snapshot is behind the ledger"))

    answer = get("/metrics", exposition=stale)

    assert (answer.status_code, answer.text) == (503, "the snapshot is behind the ledger\n")


def test_a_defect_is_500_without_its_traceback() -> None:
    broken = ScriptedExposition(RuntimeError("canary-secret"))

    answer = get("/metrics", exposition=broken)

    assert answer.status_code == 500
    assert answer.text == "Internal error; the log says more.\n"


def test_the_process_is_healthy_while_it_serves() -> None:
    answer = get("/-/healthy", ready=lambda: False)

    assert (answer.status_code, answer.text) == (200, "Healthy.\n")


def test_ready_follows_the_ledger() -> None:
    ready, waiting = get("/-/ready"), get("/-/ready", ready=lambda: False)

    assert (ready.status_code, ready.text) == (200, "Ready.\n")
    assert waiting.status_code == 503
    assert "the ledger is not open yet" in waiting.text


def test_a_reload_says_that_it_is_in_force() -> None:
    reload = ScriptedReload()

    answer = ask(build(sources(reload=reload)), "POST", "/-/reload")

    assert (answer.status_code, reload.asked) == (200, 1)
    assert answer.text == "The new settings are in force.\n"


def test_a_refused_reload_shows_every_fault() -> None:
    faults = ("exporter.yaml:3:5: targets: must not be empty", "exporter.yaml:9:1: x: unknown key")
    reload = ScriptedReload(ReloadResult(faults))

    answer = ask(build(sources(reload=reload)), "POST", "/-/reload")

    assert answer.status_code == 400
    assert answer.text.splitlines() == ["The old settings stay in force:", *faults]


def test_a_command_without_reload_says_so() -> None:
    answer = ask(build(sources(reload=None)), "POST", "/-/reload")

    assert answer.status_code == 403
    assert "not available" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_cannot_reload(headers: dict[str, str]) -> None:
    reload = ScriptedReload()

    answer = ask(build(sources(reload=reload)), "POST", "/-/reload", headers=headers)

    assert (answer.status_code, reload.asked) == (403, 0)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://exporter.test"}, {"Sec-Fetch-Site": "none"}]
)
def test_our_own_page_may_reload(headers: dict[str, str]) -> None:
    answer = ask(build(sources()), "POST", "/-/reload", headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_known_path_with_a_wrong_method_is_405(path: str, method: str) -> None:
    answer = ask(build(sources()), method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.text == "405 Method Not Allowed\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_reload_takes_only_post(method: str) -> None:
    answer = ask(build(sources()), method, "/-/reload")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", PATHS)
def test_every_get_has_its_head(path: str) -> None:
    assert ask(build(sources()), "HEAD", path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/nope", "/metrics/", "/-/", "/../etc/passwd", "/%2e%2e/%2e%2e/etc"]
)
def test_an_unknown_path_is_404_in_a_few_plain_words(path: str) -> None:
    answer = get(path)

    assert (answer.status_code, answer.text) == (404, "404 Not Found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@settings(deadline=None)
@given(
    path=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    headers=st.dictionaries(
        st.sampled_from(["Accept", "Accept-Encoding", "Authorization", "Origin", "Content-Length"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    ),
)
def test_whatever_is_asked_the_answer_is_one_of_ours(path: str, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}

    answer = ask(build(sources()), "GET", "/" + quote(path), headers=encoded)

    assert answer.status_code in {200, 404, 413}
    assert answer.headers["x-content-type-options"] == "nosniff"


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

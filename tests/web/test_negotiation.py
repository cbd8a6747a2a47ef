"""Accept and Accept-Encoding, as real clients send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.app import wants_gzip, wants_openmetrics

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


OPENMETRICS = (
    PROMETHEUS_2_42,
    PROMETHEUS_2_50_PROTOBUF,
    PROMETHEUS_3,
    "application/openmetrics-text",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    'Application/OpenMetrics-Text; Version="1.0.0"',
    "application/openmetrics-text;version=1.0.0,text/plain",
    "application/*",
)
TEXT = (
    *("", "*/*", "text/plain", "text/*", "application/json", ";;,,;q=1,", CHROME),
    PROMETHEUS_2_30,  # its draft version is not what we write
    PROMETHEUS_3_TEXT_FIRST,
    "application/openmetrics-text;version=2.0.0",
    *(f"application/openmetrics-text;q={q}" for q in ("0", "0, */*", "0.4, */*;q=0.5", "1.5")),
    *(f"application/openmetrics-text;q={q}" for q in ("nan", "")),
)


@pytest.mark.parametrize("accept", [*OPENMETRICS, *TEXT])
def test_openmetrics_is_for_who_prefers_it(accept: str) -> None:
    assert wants_openmetrics(accept) is (accept in OPENMETRICS)


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

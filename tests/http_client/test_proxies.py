"""Which proxy a request takes, and that none to this machine takes one."""

import pytest

from exporter.http_client.proxies import proxy_for

ENVIRON = {
    "HTTPS_PROXY": "http://proxy.test:3128",
    "HTTP_PROXY": "proxy.test:3129",
    "NO_PROXY": "fd00::/8, .corp.example,10.0.0.0/8,other.example:8443",
}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://vendor.example/v1", "http://proxy.test:3128"),
        ("http://vendor.example/v1", "http://proxy.test:3129"),
        ("http://localhost:1/", None),
        ("http://127.0.0.2/", None),
        ("http://[::1]:5/", None),
        ("http://a.localhost./", None),
        ("https://[fd00::1]/", None),
        ("https://[2001:db8::1]/", "http://proxy.test:3128"),
        ("https://10.2.3.4/", None),
        ("https://api.corp.example/", None),
        ("https://notcorp.example/", "http://proxy.test:3128"),
        ("https://other.example:8443/", None),
        ("https://other.example/", "http://proxy.test:3128"),
    ],
)
def test_a_request_takes_the_proxy_that_the_variables_name(url: str, proxy: str | None) -> None:
    assert proxy_for(url, ENVIRON) == proxy


@pytest.mark.parametrize("environ", [{}, {**ENVIRON, "NO_PROXY": "*"}, {"HTTPS_PROXY": ""}])
def test_without_a_proxy_the_connection_is_direct(environ: dict[str, str]) -> None:
    assert proxy_for("https://vendor.example/", environ) is None


def test_all_proxy_serves_what_has_no_proxy_of_its_own_and_lower_case_wins() -> None:
    environ = {"ALL_PROXY": "http://all.test:1", "https_proxy": "http://own.test:2", **ENVIRON}

    assert proxy_for("https://vendor.example/", environ) == "http://own.test:2"
    assert proxy_for("http://vendor.example/", {"ALL_PROXY": "http://all.test:1"}) == (
        "http://all.test:1"
    )

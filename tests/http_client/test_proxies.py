"""Which proxy a request takes, and that none to this machine takes one."""

import pytest

from exporter.errors import MachineError
from exporter.http_client.transport import check_proxy, proxy_for

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


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", "SOCKS proxies are not supported"),
        ("https_proxy", "ftp://proxy.test:21", "not an address such as"),
        ("HTTPS_PROXY", "http://us er:secret@proxy.test", "not an address such as"),
        ("HTTPS_PROXY", "proxy.test:99999", "not an address such as"),
        ("HTTPS_PROXY", "http://", "not an address such as"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_by_the_name_of_its_variable(
    name: str, value: str, problem: str
) -> None:
    with pytest.raises(MachineError, match=f"^{name}: {problem}") as caught:
        check_proxy("https://vendor.example/", {name: value})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://vendor.example/"])
def test_a_wrong_proxy_that_no_request_takes_is_no_error(url: str) -> None:
    environ = {"ALL_PROXY": "socks5://127.0.0.1:1", "HTTPS_PROXY": "proxy.test:3128"}

    check_proxy(url, environ)

"""The shapes of a web configuration file, in the format of the Prometheus exporter toolkit.

Source: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from exporter.config.model import Strict
from exporter.config.values import Duration, invalid, suggestion

Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]
Curve = Literal["X25519", "CurveP256", "CurveP384", "CurveP521"]
ClientAuth = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
    "RequireClientCert",
]
"""``RequireClientCert`` is the toolkit's older word for ``RequireAnyClientCert``."""

CIPHERS = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""OpenSSL's name of each suite; empty for those of TLS 1.3, which are always on, as in Go."""

HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, and the values each may have; none means any."""


def _check_cipher(value: str) -> str:
    if value in CIPHERS:
        return value
    raise invalid("cipher", f"expected {', '.join(CIPHERS)}", suggestion(value, CIPHERS))


def _or_default(value: Any) -> Any:
    return "NoClientCert" if value == "" else value


class TlsOptions(BaseModel):
    """``tls_server_config``: names of versions, ciphers and curves are those of Go."""

    model_config = Strict

    cert: str = Field(default="", repr=False)
    key: str = Field(default="", repr=False)
    client_ca: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_auth_type: Annotated[ClientAuth, BeforeValidator(_or_default)] = "NoClientCert"
    client_allowed_sans: tuple[str, ...] | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[str, AfterValidator(_check_cipher)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Curve, ...] = ()


class HttpOptions(BaseModel):
    """``http_server_config``."""

    model_config = Strict

    http2: bool | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class RateOptions(BaseModel):
    """``rate_limit``: ``burst`` requests at once, then one each ``interval``; 0 is no limit."""

    model_config = Strict

    burst: int = Field(default=0, ge=0)
    interval: Literal[0] | Duration = 0


class WebFile(BaseModel):
    """A whole web configuration file."""

    model_config = Strict

    tls_server_config: TlsOptions | None = None
    http_server_config: HttpOptions | None = None
    rate_limit: RateOptions | None = None
    basic_auth_users: dict[str, str] | None = None

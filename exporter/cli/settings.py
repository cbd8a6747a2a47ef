"""Reads the settings file for every command, and defines options shared by several."""

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic_core import PydanticCustomError

from exporter.config import load
from exporter.config.model import Settings
from exporter.config.values import check_listen
from exporter.exposition import catalogue
from exporter.http_client.transport import Transport, check_proxy, trusted_certificates
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Target

DEFAULT_FILE = "exporter.yaml"
F = TypeVar("F", bound=Callable[..., Any])


def named_values(
    _context: click.Context, _parameter: click.Parameter, given: Sequence[str]
) -> dict[str, str]:
    """Return the values of a repeatable ``NAME=VALUE`` option as a dict."""
    if not all("=" in each for each in given):
        raise click.BadParameter("expected NAME=VALUE")
    return dict(each.split("=", 1) for each in given)


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else check_listen(value)
    except PydanticCustomError:
        raise click.BadParameter("expected host:port, such as 127.0.0.1:10877 or :10877") from None


# The second names are those of the Prometheus exporter toolkit.
config_option = click.option(
    "--config",
    "--config.file",
    "file",
    default=DEFAULT_FILE,
    show_default=True,
    help="The settings file.",
)
web_config_option = click.option(
    "--web.config.file",
    "web_config",
    type=click.Path(path_type=Path),
    help="TLS, users and headers, in the format of the Prometheus exporter toolkit.",
)


def listen_option(default: str) -> Callable[[F], F]:
    """Return the option ``--listen``; its help names the ``default``."""
    return click.option(
        "--listen",
        "--web.listen-address",
        "listen",
        metavar="HOST:PORT",
        callback=_address,
        help=f"Where to listen; :PORT: all addresses.  [default: {default}]",
    )


target_option = click.option("--target", "name", help="Only this target.")
file_argument = click.argument("given", metavar="[FILE]", required=False)


def format_option(*forms: str) -> Callable[[F], F]:
    """Return the option ``--format``; the first form is the default."""
    choice = click.Choice(forms)
    said = "Output format."
    return click.option(
        "--format", "form", type=choice, default=forms[0], show_default=True, help=said
    )


@contextmanager
def reporting(what: Path | str) -> Iterator[None]:
    """End the command with one line about ``what`` if the operating system refuses it."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{what}: {error.strerror}") from None


def settings_file(given: str | None, file: str) -> str:
    """Return the settings file, FILE or ``--config``; two different ones are wrong usage."""
    if given and file not in {DEFAULT_FILE, given}:
        raise click.UsageError("the settings file is named twice; omit FILE or --config")
    return given or file


def load_settings(file: str, *, resolve: bool = True) -> Settings:
    """Return the settings in ``file``; raise ``SettingsError`` with all errors.

    Without ``resolve``, secrets are not looked up.
    """
    options = {name: kind.options for name, kind in PROVIDERS.items()}
    families = catalogue.capped(PROVIDERS)
    return load(file, options, os.environ, families=families, resolve=resolve)


def network_of(settings: Settings) -> Transport:
    """Return a transport to the vendors with this machine's proxies and certificate authorities.

    Raises ``MachineError`` if any of them cannot be used.
    """
    check_proxies(settings)
    return Transport(certificates=certificates_here())


def check_proxies(settings: Settings) -> None:
    """Raise ``MachineError`` if the proxy that the environment sets for a target cannot be used."""
    for target in settings.targets:
        for name, url in target:
            if name.endswith("_url") and url:
                check_proxy(url, os.environ)


def certificates_here() -> ssl.SSLContext:
    """Return the certificate authorities that this machine trusts; warn on stderr."""
    return trusted_certificates(os.environ, lambda said: click.echo(f"warning: {said}", err=True))


def targets_of(settings: Settings, name: str | None = None) -> list[Target]:
    """Return the targets in ``settings``, or the one that ``--target`` names."""
    rules = LabelSettings(settings.limits, settings.privacy)
    wanted = [each for each in settings.targets if name in (None, each.name)]
    if not wanted:
        raise click.BadParameter("no target of this name", param_hint="--target")
    return [PROVIDERS[each.provider].build(each, rules) for each in wanted]

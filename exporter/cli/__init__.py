"""The command line, with one module per command."""

import errno
import os
import sys
from typing import Any

import click

from exporter import __version__
from exporter.cli import (
    audit,
    backfill,
    check_config,
    demo,
    explain,
    ledger,
    manifest,
    metrics,
    plan,
    run,
    simulate,
)
from exporter.errors import ExporterError, MachineError, SettingsError
from exporter.format import printable

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
HELP = """Prometheus exporter for chatbot analytics.

Polls Voiceflow, Inkeep, Flow XO, Xenioo and Chatlayer in the background, stores their numbers in a
ledger, and serves counters on /metrics that equal what the provider reports.

\b
First steps:
  chatbot-exporter demo                         try it: simulated vendors, real counters
  chatbot-exporter check-config exporter.yaml   check the settings file
  chatbot-exporter plan exporter.yaml           preview API usage
  chatbot-exporter run --config exporter.yaml   serve /metrics
  chatbot-exporter metrics                      list the metric families
  chatbot-exporter explain SELECTOR             show how a series adds up
  chatbot-exporter audit                        compare the ledger with the vendors
  chatbot-exporter manifest list                list the manifests of other APIs
  chatbot-exporter backfill                     write past data to Prometheus

Every command has --help. Exit codes: 0 success, 1 failure, 2 wrong usage or configuration.
"""


class Commands(click.Group):
    """Prints errors that an operator can correct to stderr and exits with 1 or 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where what is left goes at the end
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, MachineError) as error:
            click.echo(printable(str(error)), err=True)
            raise click.exceptions.Exit(2) from None
        except ExporterError as error:
            raise click.ClickException(printable(str(error))) from None


@click.group(
    cls=Commands,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="chatbot-exporter")
def main() -> None:
    """Run one command."""


for each in (
    audit, backfill, check_config, demo, explain, ledger, manifest, metrics, plan, run, simulate
):  # fmt: skip
    main.add_command(each.command)

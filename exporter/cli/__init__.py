"""The command line: one module for each command."""

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

HELP = """Prometheus exporter for chatbot analytics.

Polls Voiceflow, Inkeep, Flow XO, Xenioo and Chatlayer in the background, stores what they report
in a ledger, and serves counters on /metrics that equal what the provider reports.

\b
First steps:
  chatbot-exporter demo                         try it: simulated vendors, real counters
  chatbot-exporter check-config exporter.yaml   check the settings file
  chatbot-exporter plan exporter.yaml           preview API usage
  chatbot-exporter run --config exporter.yaml   serve /metrics
  chatbot-exporter metrics                      list the metric families
  chatbot-exporter explain SELECTOR             show how a series adds up
  chatbot-exporter audit                        compare the ledger with the vendors
  chatbot-exporter manifest list                other APIs, and your own
  chatbot-exporter backfill                     write the past to where the graphs are

Every command has --help. Exit codes: 0 success, 1 failure, 2 wrong usage or configuration.
"""


@click.group(
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

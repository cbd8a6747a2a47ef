"""The command line: one module a command."""

import click

from exporter import __version__
from exporter.cli import check_config, demo, explain, metrics, plan, run, simulate

HELP = """Prometheus exporter for chatbot analytics.

Polls Voiceflow, Inkeep, Flow XO, Xenioo and Chatlayer in the background, keeps what they said in
a ledger, and serves counters that equal what the provider says on /metrics.

\b
First steps:
  chatbot-exporter demo                         try it: made-up vendors, real counters
  chatbot-exporter check-config exporter.yaml   is the file right?
  chatbot-exporter plan exporter.yaml           what will be asked, and how often?
  chatbot-exporter run --config exporter.yaml   serve /metrics
  chatbot-exporter metrics                      what will be exported?
  chatbot-exporter explain SELECTOR             why does a series show what it shows?

Every command explains itself with --help. Exit codes: 0 good, 1 failed, 2 wrong usage or
configuration.
"""


@click.group(
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="chatbot-exporter")
def main() -> None:
    """Run one command."""


for _module in (run, demo, simulate, check_config, plan, metrics, explain):
    main.add_command(_module.command)

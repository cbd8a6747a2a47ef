"""The command line: one module a command, loaded when the command is named."""

import gc
from importlib import import_module

import click

from exporter import __version__

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
COLLECT_AFTER = 20_000
"""New objects; a poll of 10,000 buckets makes a few times as many, and no garbage in cycles."""
NAMES = ("check-config", "demo", "explain", "metrics", "plan", "run", "simulate")


class Commands(click.Group):
    """The commands by name; ``run`` need not wait for what only the others import."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return every command's name, in order."""
        return list(NAMES)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Return the command ``name``, None if there is none."""
        if name not in NAMES:
            return None
        gc.disable()
        try:
            command: click.Command = import_module(f"{__name__}.{name.replace('-', '_')}").command
        finally:
            keep_what_is_there()
            gc.enable()
        return command


def keep_what_is_there() -> None:
    """Look for garbage only in what is made from now on, and less often than Python would.

    What imports make is there to stay: looking through it takes a tenth of a start and, later, a
    quarter of a large poll.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


@click.command(
    cls=Commands,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="chatbot-exporter")
def main() -> None:
    """Run one command."""

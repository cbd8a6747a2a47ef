"""Write the dashboards and rules of this repository, or boards for import by hand.

``python -m dashboards.source`` writes the committed files. ``--import DIR`` writes boards for
Grafana's import page to DIR instead. ``--runbooks`` and ``--grafana`` set the links in alerts; the
defaults are the documentation of this repository and a Grafana on this machine.
"""

import argparse
import sys
from pathlib import Path

from dashboards.source.files import FOLDER, generated, importable_boards
from dashboards.source.rule_files import GRAFANA, RUNBOOKS, Links
from dashboards.source.thresholds import Thresholds

parser = argparse.ArgumentParser(
    prog="python -m dashboards.source",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
)
parser.add_argument("--import", dest="import_dir", type=Path, metavar="DIR")
parser.add_argument("--runbooks", default=RUNBOOKS, help="URL of docs/alerts.md")
parser.add_argument("--grafana", default=GRAFANA, help="URL of Grafana, without a trailing /")
arguments = parser.parse_args()

folder: Path = arguments.import_dir or FOLDER
files = (
    importable_boards()
    if arguments.import_dir
    else generated(Thresholds(), Links(arguments.runbooks, arguments.grafana))
)
for name, text in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{path}\n")

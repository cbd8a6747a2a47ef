"""Write the dashboards and rules of this repository, or boards for import by hand.

``python -m dashboards.source`` writes the committed files. ``--import DIR`` writes boards for
Grafana's import page to DIR instead. ``--runbooks`` and ``--grafana`` are put before the links of
alerts; without them links are relative to the root of the repository and of Grafana.
"""

import argparse
import sys
from pathlib import Path

from dashboards.source.files import FOLDER, generated, importable_boards
from dashboards.source.thresholds import Tuning

parser = argparse.ArgumentParser(
    prog="python -m dashboards.source",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
)
parser.add_argument("--import", dest="import_dir", type=Path, metavar="DIR")
parser.add_argument("--runbooks", default="", help="prefix of docs/alerts.md, with its final /")
parser.add_argument("--grafana", default="", help="Grafana's address, without a final /")
arguments = parser.parse_args()

folder: Path = arguments.import_dir or FOLDER
files = (
    importable_boards()
    if arguments.import_dir
    else generated(Tuning(runbooks=arguments.runbooks, grafana=arguments.grafana))
)
for name, text in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{path}\n")

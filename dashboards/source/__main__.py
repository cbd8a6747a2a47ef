"""``python -m dashboards.source [--runbooks URL] [--grafana URL]``: write every generated file.

The two addresses are put before the links of alerts; without them links are relative, to the
repository's root and to Grafana's.
"""

import argparse
import sys

from dashboards.source.files import FOLDER, generated
from dashboards.source.tuning import Tuning

parser = argparse.ArgumentParser(prog="python -m dashboards.source", description=__doc__)
parser.add_argument("--runbooks", default="", help="what comes before docs/alerts.md, with its /")
parser.add_argument("--grafana", default="", help="Grafana's address, without a / at its end")
asked = parser.parse_args()

for name, text in generated(Tuning(runbooks=asked.runbooks, grafana=asked.grafana)).items():
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{path}\n")

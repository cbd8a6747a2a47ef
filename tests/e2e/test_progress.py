"""On a terminal, the log counts the first polls."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

SETTINGS = """version: 1
allow_inline_secrets: true
targets:
  - {name: gone, provider: flowxo, api_key: none, base_url: "http://127.0.0.1:9", project: promo}
"""


def test_a_terminal_shows_when_every_query_was_polled(tmp_path: Path) -> None:
    (tmp_path / "exporter.yaml").write_text(SETTINGS)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "exporter", "run", "--listen", "127.0.0.1:0"]
    output = ""

    with subprocess.Popen(command, cwd=tmp_path, stderr=theirs) as process:  # noqa: S603 - our own program
        os.close(theirs)  # so that reading ends when the program does
        while "done=1 of=1" not in output and (chunk := os.read(ours, 4096)):
            output += re.sub(r"\x1b\[\d*m", "", chunk.decode())
        process.terminate()
    os.close(ours)

    assert re.search("first polls +done=0 of=1", output)
    assert all(re.match(r"\d{4}-|$", line) for line in output.split("\n"))  # each a line of its own
    assert process.returncode == 0

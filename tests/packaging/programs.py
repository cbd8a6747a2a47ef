"""Programs that check what is shipped, where they are installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 350


def needed(program: str, package: str) -> str:
    """Return the program's path; skip aloud where it is absent, fail where CI promises it."""
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else shutil.which(program)
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is absent, and CI promises it ({package})")
    pytest.skip(f"{program} is not installed, so this is not proven here ({package})")


def said(*command: str | Path, cwd: Path = ROOT, fails: bool = False) -> str:
    """Run a command to its end; return what it said, and demand that it ends with 0, or not."""
    done = subprocess.run(  # noqa: S603 - fixed words
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    output = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, output
    return output

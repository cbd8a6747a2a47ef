"""Reads the files that settings name; none of them can block or exhaust the exporter."""

import errno
import os
import stat
from pathlib import Path

SECRET_BYTES = 64 * 1024
SETTINGS_BYTES = 4 * 1024 * 1024


def read_regular(path: Path | str, limit: int) -> bytes:
    """Return the content of the regular file at ``path``.

    Raises ``OSError`` if it cannot be read, is a pipe, a device or a folder, or is larger than
    ``limit`` bytes. Does not wait for the writer of a pipe.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit // 1024} KiB", str(path))
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def why(error: Exception) -> str:
    """Return why a file cannot be read, without its name or content."""
    match error:
        case UnicodeDecodeError():
            return "not UTF-8 text"
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "permission denied"
        case IsADirectoryError():
            return "it is a directory"
        case OSError(errno=errno.EINVAL | errno.EFBIG, strerror=reason):
            return str(reason)
        case _:
            return "the operating system reports an error"

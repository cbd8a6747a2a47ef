"""The entry point of ``python -m exporter COMMAND`` and of ``chatbot-exporter``."""

import io
import os
import signal
import sys

STOPS = (signal.SIGINT, signal.SIGTERM)
SERVERS = frozenset({"run", "demo"})


def main() -> None:
    """Run one command; a signal while the program still loads ends it without a traceback.

    ``run`` and ``demo`` exit with 0 whenever they are stopped. Closing its terminal stops ``demo``.
    """
    if sys.stderr is None:  # closed; then the next file that is opened would get its number
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    out = sys.stdout
    if out and isinstance(out.buffer, io.RawIOBase):  # PYTHONUNBUFFERED: drops what does not fit
        sys.stdout = os.fdopen(out.fileno(), "w", encoding=out.encoding, errors=out.errors)
    if sys.argv[1:2] == ["run"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the settings are read; then it reloads
    serves = not SERVERS.isdisjoint(sys.argv[1:2])
    for number in (*STOPS, *([signal.SIGHUP] if "demo" in sys.argv[1:2] else [])):
        signal.signal(number, lambda *_: os._exit(0 if serves else 1))

    from exporter.app import serve  # noqa: PLC0415 - as below
    from exporter.cli import main as cli  # noqa: PLC0415 - takes a second or two

    if not serves:
        for number in STOPS:  # so that a command cleans up
            signal.signal(number, signal.default_int_handler)
    cli(prog_name="chatbot-exporter", obj=serve)


if __name__ == "__main__":
    main()

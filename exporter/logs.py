"""Log lines: one a change of state, for people on a terminal and as JSON elsewhere."""

import logging
import sys

import structlog


def configure_logs(level: str = "info", *, json: bool | None = None) -> None:
    """Log to stderr from ``level`` up; as JSON where stderr is no terminal, or as ``json`` says."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

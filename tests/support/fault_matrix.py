"""What each way in which any vendor can fail must become: the one list that all suites use."""

from collections.abc import Mapping
from typing import Any

from exporter.errors import (
    ProviderError,
    Refused,
    SchemaError,
    ServerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)

Fault = str | tuple[str, str]
"""A fault of a simulator, or a query's kind and a fault."""

Errors = Mapping[Fault, type[ProviderError] | None]
"""What faults become; None: they do no harm."""

ERROR_BODIES: Errors = {
    "unauthorized": Unauthorized,
    "forbidden": Unauthorized,
    "throttled": Throttled,
    "server_error": ServerError,
    "unavailable": ServerError,
    "refused": Refused,
}
"""Faults that a vendor answers with an error body of its own."""

NEVER_ANSWERED: Errors = {"hang": TimedOut, "hang_after": TimedOut}
"""Faults that only a deadline ends, which a single read in process does not have."""

MATRIX: Errors = {
    **ERROR_BODIES,
    **NEVER_ANSWERED,
    "html_200": SchemaError,
    "html_502": ServerError,
    "login_redirect": SchemaError,
    "not_json": SchemaError,
    "truncated": SchemaError,
    "reset": Unreachable,
    "negative": SchemaError,
    "huge": SchemaError,
    "wrong_type": SchemaError,
}

NOT_ERRORS: Mapping[str, str] = {
    "renamed_field": "depends on the vendor: see the own_faults of each case",
    "duplicate_row": "depends on the vendor: see the own_faults of each case",
    "empty": "a valid answer: see the tests of a collapse",
    "slow": "a valid answer",
}
"""Generic faults that are not in the matrix, and why."""


def expected(
    query: str, fault: str, *special: Mapping[Any, type[ProviderError] | None]
) -> type[ProviderError] | None:
    """Return what ``fault`` becomes for ``query``, by the first of ``special`` that says so."""
    for errors in (*special, MATRIX):
        for key in ((query.partition("/")[0], fault), fault):
            if key in errors:
                return errors[key]
    return None

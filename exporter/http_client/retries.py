"""When a request that failed is sent again, and after how long."""

from collections.abc import AsyncIterator

import stamina
import stamina.instrumentation

from exporter.errors import ServerError, TimedOut, Unreachable

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 5

# The default hooks log the arguments of what is retried; ours may carry keys.
stamina.instrumentation.set_on_retry_hooks([])


def attempts(number: int) -> AsyncIterator[stamina.Attempt]:
    """Yield up to ``number`` attempts, each after a wait, while the last is worth another."""
    return stamina.retry_context(
        on=_worth_another,
        attempts=number,
        timeout=None,
        wait_initial=FIRST_WAIT_S,
        wait_max=LONGEST_WAIT_S,
    )


def _worth_another(error: Exception) -> bool:
    match error:
        case ServerError():
            return error.retry_after_s is None
        case Unreachable() | TimedOut():
            return True
        case _:
            return False

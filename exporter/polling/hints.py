"""Advice for operators on failed polls, one sentence for each reason."""

from collections.abc import Mapping
from http import HTTPStatus

from exporter.errors import LedgerError, ProviderError, Reason, Refused, Unauthorized

KEY = "check that the key is complete, not revoked, and belongs to this account and project"
OWN_KEY = "correct the setting, the variable or the file that holds the key"
NO_RIGHT = (
    "the key lacks permission: check its rights, the project or team, and what the plan includes"
)
UNKNOWN_THERE = "a project, environment, bot, team or alias does not exist, or the plan lacks it"
NOT_IN_PLAN = "the account's plan does not include this"

_BY_REASON: Mapping[Reason, str] = {
    Reason.AUTH: KEY,
    Reason.THROTTLED: (
        "the key may be valid; the request is repeated later. If this persists, lengthen interval, "
        "lower requests_per_second, or look for another program that uses the account"
    ),
    Reason.TIMEOUT: "check base_url and the network path to it",
    Reason.NETWORK: "check base_url, DNS, proxy and firewall",
    Reason.SERVER: "the provider has a problem; the request is repeated later",
    Reason.CLIENT: "check project, environments, aliases and ids, and what the plan includes",
    Reason.SCHEMA: "check base_url and the manifest, if any; the provider may have changed its API",
    Reason.TRUNCATED: "the read was incomplete, so nothing is counted; it is repeated later",
    Reason.CONFIG: "raise the exporter's limit of open files (LimitNOFILE, ulimit -n)",
    Reason.LEDGER: "check the ledger's disk, file owner and database",
    Reason.BUG: "this is a bug in the exporter; please report it with this message",
}


def hint_for(error: ProviderError | LedgerError) -> str:
    """Return what to do about ``error``, to be read after its message."""
    match error:
        case Unauthorized(status=None):  # no request was sent, so the key was never checked
            return OWN_KEY
        case Unauthorized(status=HTTPStatus.FORBIDDEN):
            return NO_RIGHT
        case Refused(status=HTTPStatus.NOT_FOUND):
            return UNKNOWN_THERE
        case Refused(status=HTTPStatus.PAYMENT_REQUIRED):
            return NOT_IN_PLAN
        case _:
            return _BY_REASON[error.reason]

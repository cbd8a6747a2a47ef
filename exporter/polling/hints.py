"""What an operator can do about a failed poll: one sentence for each reason."""

from collections.abc import Mapping
from http import HTTPStatus

from exporter.errors import LedgerError, ProviderError, Reason, Refused, Unauthorized

KEY = "check that the key is whole, not revoked, and of this account and project"
OWN_KEY = "correct the setting, the variable or the file that holds the key"
NO_RIGHT = (
    "the key may not read this: check its rights, the project or team, and what the plan includes"
)
UNKNOWN_THERE = "a project, environment, bot, team or alias is unknown there, or the plan lacks it"
NOT_IN_PLAN = "the account's plan does not include this"

_BY_REASON: Mapping[Reason, str] = {
    Reason.AUTH: KEY,
    Reason.THROTTLED: (
        "the key may well be right; it is asked again later. If this goes on, lengthen interval, "
        "lower requests_per_second, or look for another program on the account"
    ),
    Reason.TIMEOUT: "check base_url and whatever is between here and there",
    Reason.NETWORK: "check base_url, name resolution, proxy and firewall",
    Reason.SERVER: "the provider has trouble of its own; it is asked again later",
    Reason.CLIENT: "check project, environments, aliases and ids, and what the plan includes",
    Reason.SCHEMA: "is base_url the API's own, is a manifest wrong, or has the provider changed its answers?",
    Reason.TRUNCATED: "not everything could be read, so nothing is counted; it is asked again later",
    Reason.CONFIG: "raise the limit of open files of the exporter, LimitNOFILE or ulimit -n",
    Reason.LEDGER: "check the ledger's disk, its owner and its database",
    Reason.BUG: "this is a mistake in the exporter; please report it with this message",
}


def hint_for(error: ProviderError | LedgerError) -> str:
    """Return what to do about ``error``, to be read after its message."""
    match error:
        case Unauthorized(status=None):  # no request was sent: no provider has seen the key
            return OWN_KEY
        case Unauthorized(status=HTTPStatus.FORBIDDEN):
            return NO_RIGHT
        case Refused(status=HTTPStatus.NOT_FOUND):
            return UNKNOWN_THERE
        case Refused(status=HTTPStatus.PAYMENT_REQUIRED):
            return NOT_IN_PLAN
        case _:
            return _BY_REASON[error.reason]

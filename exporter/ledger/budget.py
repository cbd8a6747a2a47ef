"""Call budgets for who asks a provider beside the exporter: one account, one budget."""

from pathlib import Path

import sqlalchemy as sa

from exporter.errors import LedgerError
from exporter.ledger import claims, engine
from exporter.model.query import Budget


def take(url: str, purse: Budget, now_ms: int) -> int:
    """Take one call from ``purse`` in the ledger at ``url``, which an exporter may be using.

    Return 0, or after how many milliseconds there is one; then none was taken. Where there is no
    ledger yet nothing is known of calls, and nothing is written. Raises ``LedgerError``.
    """
    path = sa.make_url(url).database
    if sa.make_url(url).get_backend_name() == "sqlite" and not Path(path or "").is_file():
        return 0
    made = engine.beside(url)
    try:
        engine.check_schema(made)
        with made.begin() as tx:
            return claims.take(tx, purse, now_ms)
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or type(error).__name__
        raise LedgerError(f"the ledger cannot be used: {cause}") from error
    finally:
        made.dispose()

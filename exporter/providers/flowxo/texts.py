"""What users wrote, made fit to be shown: listed texts, or raw ones with personal data taken out.

The patterns are a safety net, not a guarantee (``docs/providers/flowxo.md``).
"""

import re
import unicodedata

REDACTED = "redacted"
LONGEST = 64

_EXAMINED = 1000  # far more than is shown, and no work for the patterns to choke on

_PERSONAL = re.compile(
    r"""
      @                                                  # e-mail addresses, handles
    | (?:\d[^0-9A-Za-z]{0,3}){5}\d                       # phones, cards, codes: six digits or more
    | \b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{2,4}){3,}          # IBANs, in groups or not
    | (?=[\w+/=.-]*\d)(?=[\w+/=.-]*[a-z])[\w+/=.-]{16,}  # tokens: long, letters and digits
    | \S{32,}                                            # anything long without a space
    """,
    re.VERBOSE | re.IGNORECASE,
)


def normalize(text: str) -> str:
    """Return ``text`` as allow lists compare it: NFKC, case-folded, trimmed."""
    normal = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", normal).strip()


def cut(text: str) -> str:
    """Return the first 64 characters of ``text``, tidied."""
    return _tidy(text)[:LONGEST].strip()


def presentable(text: str) -> str:
    """Return ``text`` tidied and cut, or ``redacted`` where it seems to hold personal data.

    The patterns see more than is shown: a number cut in half would pass them.
    """
    return REDACTED if _PERSONAL.search(_tidy(text)) else cut(text)


def _tidy(text: str) -> str:
    """Return ``text`` on one line, without control characters."""
    spaced = " ".join(unicodedata.normalize("NFKC", text[:_EXAMINED]).split())
    return "".join(sign for sign in spaced if not unicodedata.category(sign).startswith("C"))

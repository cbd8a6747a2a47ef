"""Label values from raw names: aliases, allow lists and the length limit; losses are counted."""

import hashlib
from collections import Counter
from collections.abc import Mapping

from exporter.model.query import LabelRule
from exporter.model.samples import OTHER, Family, Series

DIGEST_HEX = 8


def shorten(value: str, limit: int) -> str:
    """Return ``value`` in at most ``limit`` UTF-8 bytes (at least 16), cut between characters.

    A cut value ends in ``~`` and eight digits of its digest, so that two long values stay two.
    """
    encoded = value.encode()
    if len(encoded) <= limit:
        return value
    mark = "~" + hashlib.blake2b(encoded, digest_size=DIGEST_HEX // 2).hexdigest()
    return encoded[: limit - len(mark)].decode(errors="ignore") + mark


def only(value: str, limit: int) -> LabelRule:
    """Return the rule of a label that is ``value`` in every row, as the settings have it.

    Under another value the label stands for something else, so that its series begin anew.
    """
    return LabelRule(allow=frozenset({value, shorten(value, limit)}))


class Labels:
    """Builds the series of one reading, with label values of at most ``limit`` bytes.

    ``dropped`` counts, by ``(family, reason)``, the label sets that lost something, each set once.
    """

    def __init__(self, label_rules: Mapping[str, LabelRule], limit: int) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._rules = label_rules
        self._limit = limit
        self._built: dict[tuple[str, tuple[str, ...]], Series] = {}

    def series(self, family: Family, *raw: str) -> Series:
        """Return the series of ``raw``, label values after ``provider, target``; the rest is empty."""
        key = (family.name, raw)
        if key not in self._built:
            self._built[key] = self._build(family, raw)
        return self._built[key]

    def _build(self, family: Family, raw: tuple[str, ...]) -> Series:
        labels = family.labels[2:]
        named = [
            self._rules.get(label, LabelRule()).name(value)
            for label, value in zip(labels, raw, strict=False)
        ]
        values = [shorten(value, self._limit) for value in named]
        if values != named:
            self.dropped[family.name, "label_length"] += 1
        if any(value == OTHER != before for value, before in zip(named, raw, strict=True)):
            self.dropped[family.name, "not_allowlisted"] += 1
        return family.name, (*values, *[""] * (len(labels) - len(values)))

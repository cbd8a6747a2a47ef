"""Which raw values each series of a query covers: label rules, caps, and the length of labels.

The ledger stores the rules under which a query's buckets were read (``query.label_rules``, JSON).
If they change, buckets read under others cannot be compared with those read now.
"""

from collections.abc import Collection, Mapping

import msgspec

from exporter.ledger.rules import overflow
from exporter.model.query import USUAL_LABEL_BYTES, LabelRule, QuerySpec
from exporter.model.samples import OTHER, Family, Series

AS_IS = LabelRule()
LABEL_BYTES = "label_value_bytes"
PARTLY = "partly"
KEPT = "kept"
LONGEST_CHARACTER = 4
"""Bytes of the longest UTF-8 character; a truncated label is fewer bytes short of the limit."""


def encode(spec: QuerySpec) -> str:
    """Return as canonical JSON everything that decides which series a raw value counts in.

    Label rules; caps by family, of the target ("") and of all targets ("*"); ``per_unit`` of
    families that count parts of a unit; the maximum length of labels, unless it is the default.
    """
    shapes = {
        label: {
            "aliases": dict(rule.aliases),
            "allow": None if rule.allow is None else sorted(rule.allow),
        }
        for label, rule in spec.label_rules.items()
    }
    stored = {
        "labels": shapes,
        "caps": dict(spec.caps) | {"": spec.target_cap, "*": spec.total_cap},
    }
    if spec.per_unit:
        stored["per_unit"] = dict(spec.per_unit)
    if spec.label_value_bytes != USUAL_LABEL_BYTES:
        stored[LABEL_BYTES] = spec.label_value_bytes
    return msgspec.json.encode(stored, order="deterministic").decode()


def decode(text: str) -> tuple[dict[str, LabelRule], dict[str, int], int]:
    """Return the label rules, caps and maximum length that ``encode`` encoded."""
    stored = msgspec.json.decode(text)
    label_rules = {
        label: LabelRule(
            shape["aliases"], None if shape["allow"] is None else frozenset(shape["allow"])
        )
        for label, shape in stored["labels"].items()
    }
    return label_rules, stored["caps"], stored.get(LABEL_BYTES, USUAL_LABEL_BYTES)


def _split(stored: str) -> tuple[str, frozenset[str], frozenset[str]]:
    """Return the rules of ``stored``, the others under which buckets were read, and families.

    If there are families, only theirs were read under the other rules.
    """
    found = msgspec.json.decode(stored)
    others, kept = found.pop(PARTLY, ()), found.pop(KEPT, ())
    main = msgspec.json.encode(found, order="deterministic").decode()
    return main, frozenset(others), frozenset(kept)


def _join(main: str, others: Collection[str], kept: Collection[str] = ()) -> str:
    found = msgspec.json.decode(main) | {PARTLY: sorted(others)}
    if kept:
        found[KEPT] = sorted(kept)
    return msgspec.json.encode(found, order="deterministic").decode()


def changed(stored: str, spec: QuerySpec, kept: Collection[str]) -> bool:
    """Return whether the ledger has read families under other rules, besides the ``kept`` ones."""
    now = encode(spec)
    if stored == now:
        return False
    main, _, unread = _split(stored)
    return main != now or not unread or not unread <= set(kept)


def latest(stored: str) -> str:
    """Return the rules that the last poll read under, encoded, without those of earlier polls."""
    return _split(stored)[0]


def with_partly_read(stored: str, spec: QuerySpec) -> str:
    """Add the rules of ``spec`` to the ``stored`` ones, as some buckets were read under them.

    Until all buckets were, each may cover the raw values of either set of rules.
    """
    main, others, _ = _split(stored)
    now = encode(spec)
    return stored if main == now else _join(main, others | {now})


def with_all_read(stored: str, spec: QuerySpec, kept: Collection[str]) -> str:
    """Return the rules of ``spec``, under which a complete poll has read all but ``kept`` families.

    Until those are read, too, they cover the raw values of the ``stored`` rules.
    """
    main, others, unread = _split(stored)
    now = encode(spec)
    left = unread.intersection(kept) if main == now and unread else kept
    before = {main, *others} - {now}
    return _join(now, before, left) if left and before else now


def keeps_names(stored: str, spec: QuerySpec) -> bool:
    """Return whether no name that the ``stored`` rules give has changed, though some may be new."""
    before = decode(stored)[0]
    return before.keys() == spec.label_rules.keys() and all(
        rule.aliases.items() <= spec.label_rules[label].aliases.items()
        and rule.allow == spec.label_rules[label].allow
        for label, rule in before.items()
    )


def per_unit(stored: str) -> dict[str, int]:
    """Return the parts per unit of the families that count parts of a unit."""
    found: dict[str, int] = msgspec.json.decode(stored).get("per_unit", {})
    return found


def rebased(
    stored: str,
    spec: QuerySpec,
    ids: Mapping[Series, int],
    families: Mapping[str, Family],
    new: Collection[int] = (),
) -> frozenset[int]:
    """Return the series that cover other raw values now than under the ``stored`` rules.

    After a change of caps, the values of a ``new`` series may have counted in ``other`` before.
    """
    main, others, unread = _split(stored)
    before = [decode(each) for each in (main, *others)]
    return frozenset(
        number
        for series_, number in ids.items()
        if any(
            _stands_for_others(series_, rules, spec, families, new=number in new)
            for rules in (before if not unread or series_[0] in unread else before[:1])
        )
    )


def unreachable(
    spec: QuerySpec, ids: Mapping[Series, int], families: Mapping[str, Family]
) -> set[int]:
    """Return the series of families that ``spec`` does not feed, or that its rules cannot produce.

    A value that may be truncated stays reachable, because its full text is not known.
    """
    longest = spec.label_value_bytes - LONGEST_CHARACTER
    return {
        number
        for series_, number in ids.items()
        if series_[0] not in spec.fields
        or any(
            value != OTHER
            and len(value.encode()) <= longest
            and _rule(spec, label).members(value) is None
            for label, value in _labelled(series_, families)
        )
    }


def _stands_for_others(
    series_: Series,
    before: tuple[Mapping[str, LabelRule], Mapping[str, int], int],
    spec: QuerySpec,
    families: Mapping[str, Family],
    *,
    new: bool,
) -> bool:
    rules, caps, cut_at = before
    full = series_ == overflow(series_, families[series_[0]])
    return (
        ((full or new) and _caps_changed(series_[0], caps, spec))
        or (cut_at != spec.label_value_bytes and (full or _may_be_cut(series_, cut_at, spec)))
        or any(
            _stands_for_other_raws(value, rules.get(label, AS_IS), _rule(spec, label))
            for label, value in _labelled(series_, families)
        )
    )


def _stands_for_other_raws(value: str, before: LabelRule, now: LabelRule) -> bool:
    """Return whether a label value may stand for other raw values now.

    ``other`` has what no other value has, and what finds no place under a cap.
    """
    return before != now if value == OTHER else before.members(value) != now.members(value)


def _caps_changed(family: str, caps: Mapping[str, int], spec: QuerySpec) -> bool:
    cap = spec.caps.get(family)
    before = (caps.get(family, cap), caps.get(""), caps.get("*"))  # older ledgers know few caps
    return before != (cap, spec.target_cap, spec.total_cap)


def _may_be_cut(series_: Series, before: int, spec: QuerySpec) -> bool:
    shortest = min(before, spec.label_value_bytes) - LONGEST_CHARACTER
    return any(len(value.encode()) > shortest for value in series_[1])


def _rule(spec: QuerySpec, label: str) -> LabelRule:
    return spec.label_rules.get(label, AS_IS)


def _labelled(series_: Series, families: Mapping[str, Family]) -> list[tuple[str, str]]:
    return list(zip(families[series_[0]].labels[2:], series_[1], strict=True))

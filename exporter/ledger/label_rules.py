"""What a changed label map, allow list or cap does to series (``semantics.md`` B.4)."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from exporter.ledger.settings import decode_label_rules
from exporter.ledger.tables import series
from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import BASE, OTHER, Family, Series

AS_IS = LabelRule()


def changed(
    stored: str,
    spec: QuerySpec,
    known: Mapping[Series, int],
    families: Mapping[str, Family],
    new: Collection[int] = (),
) -> frozenset[int]:
    """Return the series that stand for other raw values now than they did under ``stored``.

    One of ``new`` may have been in ``other`` before, where its family's cap has changed.
    """
    label_rules, caps = decode_label_rules(stored)
    return frozenset(
        number
        for key, number in known.items()
        if _caps_moved(key, caps, spec, known=number not in new)
        or _members_moved(key, label_rules, spec, families)
    )


def hide(
    tx: sa.Connection,
    spec: QuerySpec,
    ids: Mapping[Series, int],
    families: Mapping[str, Family],
) -> None:
    """Take series that the label_rules can no longer produce off ``/metrics``, and bring others back."""
    gone = {number for key, number in ids.items() if _unreachable(key, spec, families)}
    _turn(tx, gone, series.c.state != "hidden", "hidden")
    _turn(tx, set(ids.values()) - gone, series.c.state == "hidden", "live")


def _turn(tx: sa.Connection, ids: set[int], which: sa.ColumnElement[bool], state: str) -> None:
    if ids:
        tx.execute(
            sa.update(series).where(series.c.id == sa.bindparam("s_id"), which).values(state=state),
            [{"s_id": number} for number in ids],
        )


def _caps_moved(key: Series, caps: Mapping[str, int], spec: QuerySpec, *, known: bool) -> bool:
    takes_overflow = OTHER in key[1][len(BASE) - 2 :] or key[1][0] == OTHER
    moved = (caps.get(key[0]), caps.get(""), caps.get("*")) != (
        spec.caps.get(key[0]),
        spec.target_cap,
        spec.total_cap,
    )
    return moved and (takes_overflow or not known)


def _members_moved(
    key: Series,
    label_rules: Mapping[str, LabelRule],
    spec: QuerySpec,
    families: Mapping[str, Family],
) -> bool:
    return any(
        label_rules.get(label, AS_IS).members(value)
        != spec.label_rules.get(label, AS_IS).members(value)
        for label, value in _labelled(key, families)
    )


def _unreachable(key: Series, spec: QuerySpec, families: Mapping[str, Family]) -> bool:
    return any(
        value != OTHER and spec.label_rules.get(label, AS_IS).members(value) is None
        for label, value in _labelled(key, families)
    )


def _labelled(key: Series, families: Mapping[str, Family]) -> list[tuple[str, str]]:
    return list(zip(families[key[0]].labels[2:], key[1], strict=True))

"""Settings that several providers have: lists of identifiers, whole days, maps of events."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from exporter.config.model import Duration, Named, Strict
from exporter.config.values import invalid, suggestion
from exporter.model.families import NORMALISED
from exporter.model.samples import BASE, DAY_MS, Family, MetricType

CHANNEL = "channel"
RATINGS = ("positive", "negative", "neutral")
COUNTERS: Mapping[str, Family] = {
    name: family
    for name, family in NORMALISED.items()
    if family.kind is MetricType.COUNTER and family.per_unit == 1
}
"""The families that an event may feed; an amount of money is not a number of events."""

T = TypeVar("T")


def check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return ``values`` if none of them, by id or by alias, is repeated."""
    names = [(each.id, each.shown) if isinstance(each, Named) else (each,) for each in values]
    if any(len(set(column)) < len(values) for column in zip(*names, strict=True)):
        raise invalid("repeated", "an entry is listed more than once")
    return values


def _check_not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise invalid("empty", "nothing to read", "name at least one")
    return values


NotRepeated: TypeAlias = Annotated[
    tuple[T, ...], AfterValidator(_check_not_empty), AfterValidator(check_distinct)
]
"""A list of one or more entries, none of them repeated."""


def as_named(value: Any) -> Any:
    """Return a bare identifier as ``{id: …}``."""
    return {"id": value} if isinstance(value, str) else value


def _check_days(value: int) -> int:
    if value < DAY_MS or value % DAY_MS:
        raise invalid("window", "expected whole days", "use 1d, 7d or 28d")
    return value


Days: TypeAlias = Annotated[Duration, AfterValidator(_check_days)]
"""A duration of whole days, in milliseconds."""

Identifier: TypeAlias = Annotated[Named, BeforeValidator(as_named)]
"""An identifier, bare or as ``{id: …, alias: …}``."""


class MappedFamily(BaseModel):
    """What an event feeds: a counter, and values for the labels that the event does not have."""

    model_config = Strict

    family: str = Field(
        description="a counter that no other query of the target feeds; "
        "`chatbot-exporter metrics` lists the names"
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="values of the family's labels other than the channel"
    )

    def values(self, channel: str) -> tuple[str, ...]:
        """Return the values of the family's labels after the base ones."""
        given = {**self.labels, CHANNEL: channel}
        return tuple(given.get(label, "") for label in COUNTERS[self.family].labels[len(BASE) :])


def _as_family(value: Any) -> Any:
    return {"family": value} if isinstance(value, str) else value


def _check_mapped(value: MappedFamily) -> MappedFamily:
    if value.family not in COUNTERS:
        hint = suggestion(value.family, COUNTERS) or "see chatbot-exporter metrics"
        raise invalid("family", "no such counter", hint)
    known = [name for name in COUNTERS[value.family].labels if name not in (*BASE, CHANNEL)]
    for name in value.labels.keys() - set(known):
        has = f"it has {', '.join(known)}" if known else "it has none besides the channel"
        raise invalid("labels", "the family has no such label", suggestion(name, known) or has)
    if (rating := value.labels.get("rating", RATINGS[0])) not in RATINGS:
        words = f"expected a rating of {', '.join(RATINGS)}"
        raise invalid("labels", words, suggestion(rating, RATINGS))
    return value


EventTarget: TypeAlias = Annotated[
    MappedFamily, BeforeValidator(_as_family), AfterValidator(_check_mapped)
]
"""A family's name, bare or as ``{family: …, labels: {…}}``."""

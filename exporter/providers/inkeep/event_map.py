"""Which families an event feeds beside ``chatbot_events_total``: the built-in map, and settings."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo

from exporter.config.model import Strict
from exporter.config.values import invalid, suggestion
from exporter.model import families
from exporter.model.samples import BASE, Family, MetricType

CHANNEL = "channel"
RATINGS = ("positive", "negative", "neutral")
COUNTERS = {
    name: one for name, one in families.NORMALISED.items() if one.kind is MetricType.COUNTER
}
"""The families that an event may feed."""

FED_BY: Mapping[str, str] = {
    families.EVENTS.name: "events",
    families.CONVERSATIONS_STARTED.name: "conversations",
    families.FEEDBACK.name: "feedback",
    families.HANDOVERS.name: "escalations",
}
"""What already counts a family, whatever the map says."""


def _check_family(value: str) -> str:
    if value in COUNTERS:
        return value
    hint = suggestion(value, COUNTERS) or "see chatbot-exporter metrics"
    raise invalid("family", "no such counter", hint)


def own_labels(family: Family) -> tuple[str, ...]:
    """Return the labels that a map may give: those that the event itself does not."""
    return tuple(label for label in family.labels if label not in (*BASE, CHANNEL))


class Mapped(BaseModel):
    """What an event feeds: a family, and the values of the labels that the event cannot give."""

    model_config = Strict

    family: Annotated[str, AfterValidator(_check_family)] = Field(
        description="a counter that no other query of the target feeds; "
        "`chatbot-exporter metrics` lists the names"
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="values of the family's labels beside the channel"
    )

    def values(self, channel: str) -> tuple[str, ...]:
        """Return the values of the family's labels beyond the base ones."""
        given = {**self.labels, CHANNEL: channel}
        return tuple(given.get(label, "") for label in COUNTERS[self.family].labels[len(BASE) :])


def _named(value: Any) -> Any:
    return {"family": value} if isinstance(value, str) else value


def _labels_fit(value: Mapped) -> Mapped:
    known = own_labels(COUNTERS[value.family])
    for name in value.labels:
        if name not in known:
            plain = "it has none beside the channel" if not known else f"it has {', '.join(known)}"
            raise invalid(
                "labels", "the family has no such label", suggestion(name, known) or plain
            )
    rating = value.labels.get("rating", RATINGS[0])
    if rating not in RATINGS:
        hint = suggestion(rating, RATINGS)
        raise invalid("labels", f"expected a rating of {', '.join(RATINGS)}", hint)
    return value


def _not_counted_twice(value: Mapped, info: ValidationInfo) -> Mapped:
    source = FED_BY.get(value.family)
    if source and source in (info.data or {}).get("queries", ()):
        raise invalid(
            "fed", f"the query {source} already feeds this family", "it would count twice"
        )
    return value


EventTarget = Annotated[
    Mapped,
    BeforeValidator(_named),
    AfterValidator(_labels_fit),
    AfterValidator(_not_counted_twice),
]
"""A family's name, bare or as ``{family: …, labels: {…}}``."""

BUILT_IN: Mapping[str, Mapped] = {
    "user_message_submitted": Mapped(family=families.MESSAGES_RECEIVED.name),
    "assistant_message_received": Mapped(family=families.MESSAGES_SENT.name),
    "search_query_submitted": Mapped(family=families.SEARCHES.name),
    # Widgets before cxkit; no widget sends both generations.
    "chat_message_submitted": Mapped(family=families.MESSAGES_RECEIVED.name),
    "chat_message_bot_response_received": Mapped(family=families.MESSAGES_SENT.name),
}
"""What the widget's own events mean. Answers *displayed* are the same answers again."""

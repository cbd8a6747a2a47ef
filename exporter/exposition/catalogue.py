"""Lists every metric family of this build: the source of the reference page and of checks."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from exporter.config.model import TargetOptions
from exporter.ledger.hours import MEASURES
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY, NORMALISED, PERIOD_END
from exporter.model.samples import Family, MetricType
from exporter.providers.base.plugin import Provider
from exporter.telemetry.counters import FAMILIES

EXPORTER = "exporter"
PERIOD_CAP = 60
"""The least cap of a period gauge, which has a series for the hour and one for the day."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One family, and the providers and shipped manifests that feed it (``exporter``: itself)."""

    family: Family
    sources: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return the entry as plain values, ready for JSON."""
        family = self.family
        return {
            "name": family.name,
            "type": family.kind.value,
            "labels": list(family.labels),
            "help": family.help,
            "meaning": family.meaning,
            "cap": family.cap,
            "reference": family.reference,
            "sources": list(self.sources),
        }


def entries(
    providers: Mapping[str, Provider],
    manifests: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> tuple[Entry, ...]:
    """Return every family that this build can export, by name.

    ``manifests`` has the names of the families that each shipped manifest feeds.
    """
    own = {name: {each.name for each in kind.families} for name, kind in providers.items()}
    fed = {name: own[name] | kind.feeds for name, kind in providers.items()} | {**manifests}
    found = {each.name: Entry(each, (EXPORTER,)) for each in (*FAMILIES, PERIOD_END)}
    for family in _data(providers):
        sources = tuple(sorted(name for name, names in fed.items() if family.name in names))
        found[family.name] = Entry(family, sources)
        if family.period:
            shown = period_gauge(family)
            found[shown.name] = Entry(shown, sources)
    judged = tuple(
        sorted(name for name, names in fed.items() if not MEASURES.keys().isdisjoint(names))
    )
    for family in (*ENGAGEMENT, HISTORY_WEEKS, HOLIDAY):
        found[family.name] = Entry(family, judged)
    return tuple(found[name] for name in sorted(found))


def families(
    providers: Mapping[str, Provider], targets: Iterable[TargetOptions] = ()
) -> dict[str, Family]:
    """Return all families of this build by name, and those that ``targets`` define."""
    found = {entry.family.name: entry.family for entry in entries(providers)}
    for family in (each for target in targets for each in target.own_families()):
        shown = [family, period_gauge(family)] if family.period else [family]
        found |= {each.name: each for each in shown}
    return found


def capped(providers: Mapping[str, Provider]) -> frozenset[str]:
    """Return the families that ``limits.families`` may name."""
    return frozenset(family.name for family in (*_data(providers), ENGAGEMENT[0]))


def period_gauge(family: Family) -> Family:
    """Return the gauge that shows the newest settled period of the counter ``family``."""
    return Family(
        family.period_name,
        MetricType.GAUGE,
        f"{_things(family)} in the most recent settled period.",
        family.period_labels,
        max(family.cap, PERIOD_CAP),
        "Value of the last settled bucket; period = hour, day. Never add over period",
        reference=family.reference,
        per_unit=family.per_unit,
    )


def _things(family: Family) -> str:
    """Return what ``family`` counts, as the first words of its period gauge's help."""
    named = family.period_name.removeprefix("chatbot_period_").replace("_", " ")
    return {"fallbacks": "Fallback replies"}.get(named, named.capitalize())


def _data(providers: Mapping[str, Provider]) -> list[Family]:
    own = [family for each in providers.values() for family in each.families]
    return [*NORMALISED.values(), *own]

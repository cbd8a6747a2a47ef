"""What one value alone cannot show: contradictions between settings, names used twice."""

import re
from collections.abc import Collection, Iterator

from exporter.config.model import TargetOptions
from exporter.config.source import Path, Source
from exporter.config.values import suggestion
from exporter.errors import SettingsProblem
from exporter.model.samples import Family


def unknown_provider(source: Source, path: Path, known: Collection[str]) -> SettingsProblem:
    """Return the error of a provider that is not ``known``."""
    if path not in source.values:
        return source.problem(path, "missing")
    value = source.get(path)
    names = "the providers are " + ", ".join(sorted(known))
    if not isinstance(value, str):
        return source.problem(path, "expected the name of a provider", names)
    return source.problem(path, "unknown provider", suggestion(value, known) or names)


def check_whole(source: Source, families: Collection[str] | None) -> Iterator[SettingsProblem]:
    """Yield the problems of file-wide settings that contradict each other."""
    shown: Path = ("privacy", "top_messages")
    if source.get(shown) == "raw" and source.get(("privacy", "allow_raw_text")) is not True:
        hint = "set privacy.allow_raw_text: true to accept that"
        yield source.problem(shown, "raw exports user text", hint)
    url = source.get(("ledger", "url"))
    inline = source.get(("allow_inline_secrets",)) is True
    if isinstance(url, str) and re.match(r"postgresql[^/]*://[^/@]*:[^/]*@", url) and not inline:
        hint = "leave the password out and set PGPASSWORD or PGPASSFILE"
        yield source.problem(("ledger", "url"), "literal secret", hint)
    named = source.get(("limits", "families"))
    for name in named if isinstance(named, dict) else ():
        if families is not None and name not in families:
            path: Path = ("limits", "families", name)
            hint = suggestion(name, families) or "see chatbot-exporter metrics"
            yield source.problem(path, "no such family", hint, at=source.keys[path])


def check_targets(
    source: Source, targets: list[tuple[int, TargetOptions]]
) -> Iterator[SettingsProblem]:
    """Yield the problems that concern several settings of a target, or several targets."""
    yield from _repeated_names(source)
    names = {target.name for _, target in targets}
    defined: dict[str, tuple[Family, str]] = {}
    for index, target in targets:
        for family in target.own_families():
            known, other = defined.setdefault(family.name, (family, target.name))
            if known != family:
                words = f"{family.name} is defined otherwise by the target {other}"
                yield source.problem(("targets", index), words, "give it another name")
        if target.renamed_from in names:
            path: Path = ("targets", index, "renamed_from")
            yield source.problem(path, "this name is still in use", "name the target's former name")
        if target.settle > target.lookback:
            yield _short_lookback(source, ("targets", index), target.provider)


def _repeated_names(source: Source) -> Iterator[SettingsProblem]:
    first: dict[str, Path] = {}
    listed = source.get(("targets",))
    for index in range(len(listed) if isinstance(listed, list) else 0):
        path: Path = ("targets", index, "name")
        name = source.get(path)
        if isinstance(name, str) and first.setdefault(name, path) is not path:
            used = f"already used at {source.where(first[name])}"
            yield source.problem(path, used, "names must be unique")


def _short_lookback(source: Source, base: Path, provider: str) -> SettingsProblem:
    places: list[Path] = [base, ("defaults", provider), ("defaults",)]
    spots: list[Path] = [(*place, key) for place in places for key in ("lookback", "settle")]
    at = next((source.place(path) for path in spots if path in source.values), None)
    hint = "a bucket must be read again until it has settled"
    return source.problem((*base, "lookback"), "shorter than settle", hint, at=at)

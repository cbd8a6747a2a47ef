"""What one value alone cannot show: contradictions between settings, names used twice."""

import re
from collections.abc import Collection, Iterator

from exporter.config.model import TargetOptions
from exporter.config.source import Path, Source
from exporter.config.values import suggestion
from exporter.errors import SettingsProblem


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
    yield from _raw_text(source)
    yield from _ledger_password(source)
    if families is not None:
        yield from _unknown_families(source, families)


def check_targets(
    source: Source, targets: list[tuple[int, TargetOptions]]
) -> Iterator[SettingsProblem]:
    """Yield the problems that concern several settings of a target, or several targets."""
    yield from _repeated_names(source)
    yield from _renames(source, {target.name for _, target in targets}, targets)
    for index, target in targets:
        if target.settle > target.lookback:
            yield _short_lookback(source, ("targets", index), target.provider)


def _raw_text(source: Source) -> Iterator[SettingsProblem]:
    path: Path = ("privacy", "top_messages")
    if source.get(path) == "raw" and source.get(("privacy", "allow_raw_text")) is not True:
        hint = "set privacy.allow_raw_text: true to accept that"
        yield source.problem(path, "raw exports user text", hint)


def _ledger_password(source: Source) -> Iterator[SettingsProblem]:
    url = source.get(("ledger", "url"))
    inline = source.get(("allow_inline_secrets",)) is True
    if isinstance(url, str) and re.match(r"postgresql[^/]*://[^/@]*:[^/]*@", url) and not inline:
        hint = "leave the password out and set PGPASSWORD or PGPASSFILE"
        yield source.problem(("ledger", "url"), "literal secret", hint)


def _unknown_families(source: Source, families: Collection[str]) -> Iterator[SettingsProblem]:
    named = source.get(("limits", "families"))
    for name in named if isinstance(named, dict) else ():
        if name not in families:
            path: Path = ("limits", "families", name)
            hint = suggestion(name, families) or "see chatbot-exporter metrics"
            yield source.problem(path, "no such family", hint, at=source.keys[path])


def _repeated_names(source: Source) -> Iterator[SettingsProblem]:
    targets = source.get(("targets",))
    first: dict[str, Path] = {}
    for index, target in enumerate(targets if isinstance(targets, list) else ()):
        name = target.get("name") if isinstance(target, dict) else None
        path: Path = ("targets", index, "name")
        if not isinstance(name, str):
            continue
        if name in first:
            used = f"already used at {source.where(first[name])}"
            yield source.problem(path, used, "names must be unique")
        first.setdefault(name, path)


def _renames(
    source: Source, names: Collection[str], targets: list[tuple[int, TargetOptions]]
) -> Iterator[SettingsProblem]:
    for index, target in targets:
        if target.renamed_from in names:
            path: Path = ("targets", index, "renamed_from")
            yield source.problem(path, "this name is still in use", "name the target's former name")


def _short_lookback(source: Source, base: Path, provider: str) -> SettingsProblem:
    places: list[Path] = [base, ("defaults", provider), ("defaults",)]
    spots: list[Path] = [(*place, key) for place in places for key in ("lookback", "settle")]
    at = next((source.place(path) for path in spots if path in source.values), None)
    hint = "a bucket must be read again until it has settled"
    return source.problem((*base, "lookback"), "shorter than settle", hint, at=at)

"""Loads ``exporter.yaml``: reads it with positions, then checks each value, then the whole.

Only the whole shows contradictions between settings, and names that are used twice.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

from pydantic import BaseModel

from exporter.config.files import SETTINGS_BYTES, read_regular, why
from exporter.config.messages import BEGIN, AnyModel, ValueProblem, checked
from exporter.config.model import Common, Settings, SettingsFile, TargetOptions
from exporter.config.secret import SecretContext
from exporter.config.source import Path as Steps
from exporter.config.source import Source, read, unusable
from exporter.config.values import kind_of, ledger_url_from, suggestion
from exporter.errors import SettingsError, SettingsProblem
from exporter.model.samples import Family

ProviderOptions = Mapping[str, type[TargetOptions]]
PASSWORDS = frozenset({"password", "sslpassword"})
"""What the query of a URL of PostgreSQL must not hold."""
INDEXED_BYTES = 256
"""Five labels of this length, escaped, fit into an entry of a PostgreSQL index: 2,704 bytes."""
OWN = frozenset({"name", "provider", "renamed_from"})
"""Keys that cannot be defaults, since each target has its own."""
OF_WHOLE_TARGETS = frozenset({"missing", "team", "twice", "fed", "unused", "whole"})
"""Kinds of problems that only a target can have, since its other keys decide."""


def load(
    path: Path | str,
    providers: ProviderOptions,
    environ: Mapping[str, str],
    families: Collection[str] | None = None,
    *,
    resolve: bool = True,
) -> Settings:
    """Return the settings in the file at ``path``.

    ``providers`` has each provider's options by name; ``environ`` is where ``{env: NAME}`` is
    looked up; ``families`` are the names that ``limits.families`` may have (None: not checked).
    Without ``resolve`` no secret is looked up. Raises ``SettingsError`` with every problem of the
    file.
    """
    file = os.fspath(path)
    try:
        raw = read_regular(path, SETTINGS_BYTES)
    except FileNotFoundError:
        raise unusable(file, "no such file") from None
    except (OSError, ValueError) as error:
        raise unusable(file, f"the file cannot be read: {why(error)}") from None
    return loads(raw, providers, environ, file=file, families=families, resolve=resolve)


def refuse_restart_only(old: Settings, new: Settings) -> None:
    """Raise ``SettingsError`` if going from ``old`` to ``new`` needs a restart."""
    changed = {
        ("web", "listen"): old.web.listen != new.web.listen,
        ("ledger", "url"): old.ledger.url != new.ledger.url,
    }
    problems = [
        new.source.problem(steps, "cannot change while the exporter runs", "restart the exporter")
        for steps, differs in changed.items()
        if differs
    ]
    if problems:
        raise SettingsError(problems)


def loads(
    raw: bytes | str,
    providers: ProviderOptions,
    environ: Mapping[str, str],
    *,
    file: str = "exporter.yaml",
    families: Collection[str] | None = None,
    resolve: bool = True,
) -> Settings:
    """Return the settings in a text, as if read from ``file``; see ``load``."""
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    source = read(text, file, BEGIN)
    if not isinstance(source.data, dict):
        problem = f"expected keys and values, found {kind_of(source.data)}"
        raise SettingsError([source.problem((), problem, BEGIN), *source.problems])
    inline = source.data.get("allow_inline_secrets") is True
    secrets = SecretContext(environ, Path(file).parent, inline, resolve)
    return _Validation(source, providers, secrets).settings(families)


@dataclass(slots=True)
class _Validation:
    """One pass over a file, which continues after a problem to find all of them."""

    source: Source
    providers: ProviderOptions
    secrets: SecretContext
    problems: list[SettingsProblem] = field(default_factory=list)

    def settings(self, families: Collection[str] | None) -> Settings:
        common = self.defaults(Common, ("defaults",), self.providers)
        of_provider = {name: self.of_provider(name, each) for name, each in self.providers.items()}
        top = {
            key: value
            for key, value in self.source.data.items()
            if key != "defaults" and not key.startswith("x-")
        }
        whole = self.part(SettingsFile, top, ())
        listed = self.source.get(("targets",))
        targets = [
            (index, target)
            for index, raw in enumerate(listed if isinstance(listed, list) else ())
            if isinstance(raw, dict)
            and (target := self.target(index, raw, common, of_provider)) is not None
        ]
        own = {family.name for _, target in targets for family in target.own_families()}
        named = None if families is None else {*families, *own}
        self.problems += _check_whole(self.source, named)
        self.problems += _check_targets(self.source, targets)
        found: dict[tuple[str, int, int, str], SettingsProblem] = {}
        unlike = self.source.not_as_written({"variables"})  # which are sent as text
        every = [*self.source.problems, *self.problems, *unlike, *self.secrets.included]
        for each in every:  # one per place, even if targets share it
            last = each.path.rpartition(".")[2]
            found.setdefault((each.file, each.line, each.column, last), each)
        if found or whole is None:
            raise SettingsError(list(found.values()))
        url = ledger_url_from(whole.ledger.url, self.secrets.base)
        return Settings(
            source=self.source,
            web=whole.web,
            ledger=whole.ledger.model_copy(update={"url": url}),
            limits=whole.limits,
            privacy=whole.privacy,
            targets=tuple(target for _, target in targets),
        )

    def of_provider(self, name: str, model: type[TargetOptions]) -> dict[str, Any]:
        own = [path for key in OWN if (path := ("defaults", name, key)) in self.source.values]
        self.problems += [self.source.problem(path, "cannot be a default") for path in own]
        return self.defaults(model, ("defaults", name), OWN)

    def defaults(
        self, model: type[BaseModel], steps: Steps, apart: Collection[str]
    ) -> dict[str, Any]:
        """Return the valid defaults at ``steps``, without the keys in ``apart``."""
        given = self.source.get(steps)
        if steps not in self.source.values:
            return {}
        if isinstance(given, dict):
            given = {key: value for key, value in given.items() if key not in apart}
        found = self.errors(model, given)
        wrong = [each for each in found if each.kind not in OF_WHOLE_TARGETS]
        for each in wrong:
            hint = each.hint or (suggestion(each.key[-1], apart) if each.key else "")
            self.problems.append(replace(each, hint=hint).located(self.source, steps))
        keys = {(each.key or each.path)[:1] for each in wrong}
        if () in keys:
            return {}
        return {key: value for key, value in given.items() if (key,) not in keys}

    def target(
        self,
        index: int,
        raw: dict[str, Any],
        common: dict[str, Any],
        of_provider: Mapping[str, dict[str, Any]],
    ) -> TargetOptions | None:
        base, provider = ("targets", index), raw.get("provider")
        options = self.providers.get(provider) if isinstance(provider, str) else None
        if options is None or not isinstance(provider, str):
            self.problems.append(
                _unknown_provider(self.source, (*base, "provider"), self.providers)
            )
            known = TargetOptions.model_fields.keys() - {"provider", "base_url"}
            wrong = self.errors(TargetOptions, {**common, **raw})
            self.problems += [w.located(self.source, base) for w in wrong if known & {*w.path[:1]}]
            return None
        own, given = of_provider[provider], self.source.get(("defaults", provider))
        wrong_too = given if isinstance(given, dict) else own
        inherited: dict[str | int, Steps] = {
            key: ("defaults", key) for key in common.keys() - raw.keys()
        }
        inherited |= {key: ("defaults", provider, key) for key in wrong_too.keys() - raw.keys()}
        data = {**common, **own, **raw}
        return self.part(options, data, base, inherited) or self.without_keys(
            options, {**wrong_too, **data}
        )

    def without_keys(self, model: type[TargetOptions], data: Any) -> TargetOptions | None:
        """Return a target if only its secrets are wrong, so that the rest is checked, too."""
        unresolved = replace(self.secrets, resolve=False, included=[])
        return checked(model, data, unresolved)[0]

    def part(
        self,
        model: type[AnyModel],
        data: Any,
        base: Steps,
        inherited: Mapping[str | int, Steps] = MappingProxyType({}),
    ) -> AnyModel | None:
        """Return ``data`` as a ``model``; if it is not one, note the problems and return None.

        ``inherited`` has the places of values that come from defaults, by key.
        """
        made, wrong = checked(model, data, self.secrets)
        for each in wrong:
            steps = inherited.get(each.path[0]) if each.path else None
            if steps is None:
                self.problems.append(each.located(self.source, base))
                continue
            if each.kind == "missing" and len(each.path) == 1:
                continue  # the default is wrong, and noted
            at = self.source.place((*steps, *each.path[1:]))
            hint = each.hint or "give the target a value of its own"
            problem = f"{each.problem} (from defaults)"
            self.problems.append(self.source.problem((*base, *each.path), problem, hint, at=at))
        return made

    def errors(self, model: type[BaseModel], data: Any) -> list[ValueProblem]:
        return checked(model, data, self.secrets)[1]


def _unknown_provider(source: Source, path: Steps, known: ProviderOptions) -> SettingsProblem:
    """Return the error for a provider that is not ``known``."""
    if path not in source.values:
        return source.problem(path, "missing")
    value = source.get(path)
    names = "the providers are " + ", ".join(sorted(known))
    if not isinstance(value, str):
        return source.problem(path, "expected the name of a provider", names)
    instead = next(filter(None, (each.instead_of(value) for each in known.values())), names)
    return source.problem(path, "unknown provider", suggestion(value, known) or instead)


def _check_whole(source: Source, families: Collection[str] | None) -> Iterator[SettingsProblem]:
    """Yield the problems of file-wide settings that contradict each other."""
    shown: Steps = ("privacy", "top_messages")
    if source.get(shown) == "raw" and source.get(("privacy", "allow_raw_text")) is not True:
        hint = "set privacy.allow_raw_text: true to accept that"
        yield source.problem(shown, "raw exports user text", hint)
    url = source.get(("ledger", "url"))
    inline = source.get(("allow_inline_secrets",)) is True
    if isinstance(url, str) and not inline and _has_password(url):
        hint = "remove the password and set PGPASSWORD or PGPASSFILE"
        yield source.problem(("ledger", "url"), "literal secret", hint)
    longest: Steps = ("limits", "label_value_bytes")
    too_long = isinstance(cut_at := source.get(longest), int) and cut_at > INDEXED_BYTES
    if too_long and str(url).startswith("postgresql"):
        words = f"PostgreSQL may not be able to index labels of more than {INDEXED_BYTES} bytes"
        yield source.problem(longest, words, "lower it, or keep the ledger in SQLite")
    named = source.get(("limits", "families"))
    for name in named if isinstance(named, dict) else ():
        if families is not None and name not in families:
            path: Steps = ("limits", "families", name)
            hint = suggestion(name, families) or "see chatbot-exporter metrics"
            yield source.problem(path, "no such family", hint, at=source.keys[path])


def _has_password(url: str) -> bool:
    if re.match(r"postgresql[^/]*://[^/@]*:[^/]*@", url):
        return True
    return not PASSWORDS.isdisjoint(parse_qs(url.partition("?")[2]))


def _check_targets(
    source: Source, targets: list[tuple[int, TargetOptions]]
) -> Iterator[SettingsProblem]:
    """Yield the problems that concern several settings of a target, or several targets."""
    yield from _repeated_names(source)
    names = {target.name for _, target in targets}
    former = Counter(target.renamed_from for _, target in targets)
    defined: dict[str, tuple[Family, str]] = {}
    for index, target in targets:
        for family in target.own_families():
            known, other = defined.setdefault(family.name, (family, target.name))
            if known != family:
                words = f"the target {other} defines {family.name} differently"
                yield source.problem(("targets", index), words, "give it another name")
        if target.renamed_from in names:
            path: Steps = ("targets", index, "renamed_from")
            yield source.problem(path, "this name is still in use", "give the target's former name")
        elif target.renamed_from and former[target.renamed_from] > 1:
            path = ("targets", index, "renamed_from")
            hint = "only one target can take its counts"
            yield source.problem(path, "another target names this, too", hint)
        if target.settles_late():
            yield _short_lookback(source, ("targets", index), target.provider)


def _repeated_names(source: Source) -> Iterator[SettingsProblem]:
    first: dict[str, Steps] = {}
    listed = source.get(("targets",))
    for index in range(len(listed) if isinstance(listed, list) else 0):
        path: Steps = ("targets", index, "name")
        name = source.get(path)
        if isinstance(name, str) and first.setdefault(name, path) is not path:
            used = f"already used at {source.where(first[name])}"
            yield source.problem(path, used, "names must be unique")


def _short_lookback(source: Source, base: Steps, provider: str) -> SettingsProblem:
    places: list[Steps] = [base, ("defaults", provider), ("defaults",)]
    spots: list[Steps] = [(*place, key) for place in places for key in ("lookback", "settle")]
    at = next((source.place(path) for path in spots if path in source.values), None)
    hint = "a bucket must be read again until it has settled"
    return source.problem((*base, "lookback"), "shorter than settle", hint, at=at)

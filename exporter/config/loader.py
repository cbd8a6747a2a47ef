"""``exporter.yaml`` to settings, in two steps: what it says and where, then whether it may."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from exporter.config.files import SETTINGS_BYTES, read_regular
from exporter.config.messages import Finding, findings
from exporter.config.model import Common, LedgerOptions, Settings, SettingsFile, TargetOptions
from exporter.config.rules import check_targets, check_whole, unknown_provider
from exporter.config.secret import SecretContext
from exporter.config.source import Path as Steps
from exporter.config.source import Source, read
from exporter.config.values import kind_of, ledger_url_from
from exporter.errors import SettingsError, SettingsProblem

Kinds = Mapping[str, type[TargetOptions]]
AnyModel = TypeVar("AnyModel", bound=BaseModel)


def load(
    path: Path | str,
    kinds: Kinds,
    environ: Mapping[str, str],
    families: Collection[str] | None = None,
) -> Settings:
    """Return the settings in the file at ``path``.

    ``kinds`` gives each provider's options by its name; ``environ`` is where ``{env: NAME}`` is
    looked up; ``families`` are the names that ``limits.families`` may have (None: not checked).
    Raises ``SettingsError`` with every fault of the file.
    """
    file = os.fspath(path)
    try:
        raw = read_regular(path, SETTINGS_BYTES)
    except FileNotFoundError:
        raise SettingsError([SettingsProblem(file, 1, 1, "", "no such file")]) from None
    except (OSError, ValueError):
        raise SettingsError([SettingsProblem(file, 1, 1, "", "the file cannot be read")]) from None
    return loads(raw, kinds, environ, file=file, families=families)


def refuse_restart_only(path: Path | str, old: Settings, new: Settings) -> None:
    """Raise ``SettingsError`` where ``new``, read from ``path``, needs a restart after ``old``."""
    source = read(read_regular(path, SETTINGS_BYTES), os.fspath(path))
    changed = {
        ("web", "listen"): old.web.listen != new.web.listen,
        ("ledger", "url"): old.ledger.url != new.ledger.url,
    }
    problems = [
        source.fault(steps, "cannot change while the exporter runs", "restart the exporter")
        for steps, differs in changed.items()
        if differs
    ]
    if problems:
        raise SettingsError(problems)


def loads(
    raw: bytes | str,
    kinds: Kinds,
    environ: Mapping[str, str],
    *,
    file: str = "exporter.yaml",
    families: Collection[str] | None = None,
) -> Settings:
    """Return the settings in a text, as if it stood in ``file``; see ``load``."""
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    source = read(text, file)
    if not isinstance(source.data, dict):
        problem = f"expected keys and values, found {kind_of(source.data)}"
        raise SettingsError([source.fault((), problem, "begin with version: 1"), *source.faults])
    inline = source.data.get("allow_inline_secrets") is True
    around = SecretContext(environ, Path(file).parent, inline)
    return _Check(source, kinds, around).settings(families)


@dataclass(slots=True)
class _Check:
    """One pass over a file, which goes on after a fault so as to find them all."""

    source: Source
    kinds: Kinds
    around: SecretContext
    faults: list[SettingsProblem] = field(default_factory=list)

    def settings(self, families: Collection[str] | None) -> Settings:
        whole = self.part(SettingsFile, self.source.data, ())
        defaults = self.defaults()
        targets = [self.target(i, raw, defaults) for i, raw in self.raw_targets()]
        self.faults += check_whole(self.source, families)
        self.faults += check_targets(self.source, [t for t in targets if t is not None])
        faults = {(f.line, f.column, f.path): f for f in self.faults[::-1]}
        for fault in self.source.faults:
            faults[fault.line, fault.column, fault.path] = fault
        if faults or whole is None:
            raise SettingsError(list(faults.values()))
        url = ledger_url_from(whole.ledger.url, self.around.base)
        return Settings(
            web=whole.web,
            ledger=LedgerOptions.model_construct(**{**dict(whole.ledger), "url": url}),
            limits=whole.limits,
            privacy=whole.privacy,
            targets=tuple(target for _, target in filter(None, targets)),
        )

    def defaults(self) -> dict[str, Any]:
        """Return the defaults that are right; the faults of the others are found with the whole."""
        given = self.source.get(("defaults",))
        if not isinstance(given, dict):
            return {}
        wrong = {(each.key or each.path)[0] for each in self.errors(Common, given)}
        return {key: value for key, value in given.items() if key not in wrong}

    def raw_targets(self) -> list[tuple[int, dict[str, Any]]]:
        given = self.source.get(("targets",))
        listed = given if isinstance(given, list) else []
        return [(i, raw) for i, raw in enumerate(listed) if isinstance(raw, dict)]

    def target(
        self, index: int, raw: dict[str, Any], defaults: dict[str, Any]
    ) -> tuple[int, TargetOptions] | None:
        base: Steps = ("targets", index)
        provider = raw.get("provider")
        options = self.kinds.get(provider) if isinstance(provider, str) else None
        data = {**defaults, **raw}
        if options is None:
            self.common_part(data, base)
            return None
        made = self.part(options, data, base, inherited=defaults.keys() - raw.keys())
        return None if made is None else (index, made)

    def common_part(self, data: dict[str, Any], base: Steps) -> None:
        """Check what every target has, where the provider's own class is not known."""
        if "provider" in data:
            self.faults.append(unknown_provider(self.source, (*base, "provider"), self.kinds))
        else:
            self.faults.append(self.source.fault((*base, "provider"), "missing"))
        own = TargetOptions.model_fields.keys() - {"provider", "base_url"}
        for each in self.errors(TargetOptions, data):
            if each.path and each.path[0] in own:
                self.faults.append(each.fault(self.source, base))

    def part(
        self,
        model: type[AnyModel],
        data: Any,
        base: Steps,
        inherited: Collection[str] = (),
    ) -> AnyModel | None:
        """Return ``data`` as a ``model``; None and faults if it is not one."""
        try:
            return self.made(model, data)
        except ValidationError as error:
            for each in findings(error, data, model):
                self.faults.append(self.placed(each, base, inherited))
            return None

    def placed(self, each: Finding, base: Steps, inherited: Collection[str]) -> SettingsProblem:
        if each.path and each.path[0] in inherited:
            steps = (*base, *each.path)
            at = self.source.place(("defaults", *each.path))
            hint = each.hint or "give the target a value of its own"
            return self.source.fault(steps, f"{each.problem} (from defaults)", hint, at=at)
        return each.fault(self.source, base)

    def errors(self, model: type[BaseModel], data: Any) -> list[Finding]:
        try:
            self.made(model, data)
        except ValidationError as error:
            return findings(error, data, model)
        return []

    def made(self, model: type[AnyModel], data: Any) -> AnyModel:
        # By way of JSON, so that strict settings still take a list for a tuple.
        return model.model_validate_json(json.dumps(data), context=self.around)

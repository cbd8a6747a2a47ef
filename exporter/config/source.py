"""YAML text to plain values, with the position of every key and value.

Only what JSON can say is taken: no anchors, aliases, tags or merge keys, one document. Those are
how a small file grows to gigabytes, and nothing in ``exporter.yaml`` needs them.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml
from yaml.constructor import SafeConstructor

from exporter.errors import SettingsError, SettingsProblem

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of the file."""

LARGEST_BYTES = 2**20
DEEPEST = 24
_TAG = "tag:yaml.org,2002:"
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# Keys are shown only in the shape of a setting's name: a pasted secret must not be repeated.
_PLAIN_KEY = re.compile(r"[A-Za-z]{1,24}(_[A-Za-z]{1,24}){0,6}(_?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """A 1-based position."""

    line: int
    column: int


@dataclass(slots=True)
class Source:
    """A settings file as plain values: what it says, where, and what was wrong on the way."""

    file: str
    data: Any = None
    keys: dict[Path, SourcePosition] = field(default_factory=dict)
    values: dict[Path, SourcePosition] = field(default_factory=dict)
    problems: list[SettingsProblem] = field(default_factory=list)

    def place(self, path: Path) -> SourcePosition:
        """Return where the value of ``path`` stands, or what encloses it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, SourcePosition(1, 1))

    def where(self, path: Path) -> str:
        """Return ``file:line:column`` of a value."""
        place = self.place(path)
        return f"{self.file}:{place.line}:{place.column}"

    def problem(
        self, path: Path, problem: str, hint: str = "", *, at: SourcePosition | None = None
    ) -> SettingsProblem:
        """Return a problem with the value of ``path``, or at another place."""
        place = at or self.place(path)
        return SettingsProblem(self.file, place.line, place.column, spell(path), problem, hint)

    def get(self, path: Path) -> Any:
        """Return the value at ``path``, or None."""
        value = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def plain(key: str) -> bool:
    """Say whether ``key`` has the shape of a setting's name, so that it may be shown."""
    return bool(_PLAIN_KEY.fullmatch(key))


def spell(path: Path) -> str:
    """Return ``targets[2].projects[0].id``; it ends before a key that may not be shown."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif plain(step):
            text += f".{step}" if text else step
        else:
            break
    return text


def read(raw: bytes, file: str) -> Source:
    """Return the values and positions of ``raw``.

    Raises ``SettingsError`` when it cannot be read as a whole; what leaves the rest readable
    (a repeated key, a number out of range) is in ``problems``.
    """
    text = _decode(raw, file)
    try:
        _refuse(file, list(_excesses(text)))
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, file) from None
    except (yaml.YAMLError, ValueError):
        raise SettingsError([SettingsProblem(file, 1, 1, "", "this is not YAML")]) from None
    if root is None:
        raise SettingsError(
            [SettingsProblem(file, 1, 1, "", "the file is empty", "begin with version: 1")]
        )
    source = Source(file)
    source.data = _value(source, root, ())
    return source


def _decode(raw: bytes, file: str) -> str:
    if len(raw) > LARGEST_BYTES:
        raise SettingsError([SettingsProblem(file, 1, 1, "", "the file is larger than 1 MiB")])
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        place = _after(raw[: error.start].decode("utf-8"))
        problem = "not UTF-8 text"
    else:
        unprintable = _UNPRINTABLE.search(text)
        if unprintable is None:
            return text
        place = _after(text[: unprintable.start()])
        problem = f"a control character (U+{ord(unprintable[0]):04X})"
    raise SettingsError([SettingsProblem(file, place.line, place.column, "", problem)])


def _after(text: str) -> SourcePosition:
    lines = re.split("\r\n|\r|\n", text)
    return SourcePosition(len(lines), len(lines[-1]) + 1)


def _excesses(text: str) -> Iterator[tuple[SourcePosition, str, str]]:
    """Yield what is YAML but not wanted here, before anything is built from it."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent):
            yield _at(event), "aliases (*name) are not supported", "write the value out"
        elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            yield _at(event), "anchors (&name) are not supported", "use defaults to share"
        if documents > 1:
            yield _at(event), "a second document", "keep one document in the file"
            return
        if depth > DEEPEST:
            yield _at(event), "nested too deep", ""
            return


def _at(thing: Any) -> SourcePosition:
    return SourcePosition(thing.start_mark.line + 1, thing.start_mark.column + 1)


def _refuse(file: str, excesses: list[tuple[SourcePosition, str, str]]) -> None:
    if excesses:
        raise SettingsError(
            [SettingsProblem(file, p.line, p.column, "", what, hint) for p, what, hint in excesses]
        )


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> SettingsError:
    mark = error.problem_mark or error.context_mark
    place = SourcePosition(mark.line + 1, mark.column + 1) if mark else SourcePosition(1, 1)
    context, problem = str(error.context or ""), str(error.problem or "not YAML")
    hint = ""
    if _character(text, place) == "\t":
        problem, hint = "a tab", "indent with spaces"
    elif "alias" in context or "anchor" in context:
        problem, hint = "a value cannot begin with * or & here", 'put it in quotes, as in "*"'
    elif "quoted scalar" in context:
        problem, hint = "a quotation mark is not closed", _since(error)
    elif "flow sequence" in context:
        problem, hint = "a list is not closed", _since(error, "expected , or ]")
    elif "flow mapping" in context:
        problem, hint = "a brace is not closed", _since(error, "expected , or }")
    elif "could not find expected ':'" in problem:
        problem, hint = "this is not a key and a value", "write key: value, with a space"
    elif "not allowed" in problem or "did not find expected" in problem:
        problem, hint = "this does not fit here", "check indentation and quotes"
    return SettingsError([SettingsProblem(file, place.line, place.column, "", problem, hint)])


def _since(error: yaml.MarkedYAMLError, then: str = "") -> str:
    mark = error.context_mark
    opened = f"it was opened at {mark.line + 1}:{mark.column + 1}" if mark else ""
    return ", ".join(filter(None, (opened, then)))


def _character(text: str, place: SourcePosition) -> str:
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    return line[place.column - 1 : place.column]


def _value(source: Source, node: yaml.Node, path: Path) -> Any:
    source.values[path] = _at(node)
    match node:
        case yaml.MappingNode(tag=tag) if tag == _TAG + "map":
            return _mapping(source, node, path)
        case yaml.SequenceNode(tag=tag) if tag == _TAG + "seq":
            return [_value(source, item, (*path, i)) for i, item in enumerate(node.value)]
        case yaml.ScalarNode():
            return _scalar(source, node, path)
        case _:
            source.problems.append(source.problem(path, "tags (!name) are not supported"))
            return None


def _mapping(source: Source, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place, key = _at(key_node), _key(key_node)
        if key is None:
            source.problems.append(_odd_key(source, key_node, path))
        elif key in found:
            first = source.keys[*path, key]
            problem = f"given twice; first at {source.file}:{first.line}:{first.column}"
            source.problems.append(source.problem((*path, key), problem, at=place))
        else:
            source.keys[*path, key] = place
            found[key] = _value(source, value_node, (*path, key))
    return found


def _key(node: yaml.Node) -> str | None:
    known = isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "str"
    return str(node.value) if known else None


def _odd_key(source: Source, node: yaml.Node, path: Path) -> SettingsProblem:
    problem, hint = "a key must be text", "put it in quotes"
    match node.tag.removeprefix(_TAG):
        case "merge":
            problem, hint = "merge keys (<<) are not supported", "use defaults to share"
        case _:
            pass
    return source.problem(path, problem, hint, at=_at(node))


def _scalar(source: Source, node: yaml.ScalarNode, path: Path) -> Any:
    match node.tag.removeprefix(_TAG):
        case "str" | "timestamp" | "value":
            return node.value
        case "null":
            return None
        case "bool" | "int" | "float":
            return _number(source, node, path)
        case _:
            source.problems.append(source.problem(path, "tags (!name) are not supported"))
            return None


def _number(source: Source, node: yaml.ScalarNode, path: Path) -> Any:
    try:
        value = SafeConstructor().construct_object(node)
    except (ValueError, KeyError):
        value = math.nan
    if isinstance(value, bool) or abs(value) < 2**53:
        return value
    source.problems.append(
        source.problem(path, "not a number that can be used", "use quotes for text")
    )
    return None

"""Turns YAML text into plain values, with the position of every key and value.

Anchors, aliases and merge keys are supported, tags are not. A file's size is limited after aliases
are expanded, since they can make gigabytes of a small file.
"""

import hashlib
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml
from yaml.constructor import SafeConstructor

from exporter.errors import SettingsError, SettingsProblem

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of the file."""

LARGEST_BYTES = 2**20
MOST_VALUES = 50_000
DEEPEST = 24
_TAG = "tag:yaml.org,2002:"
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# Only keys that look like a setting's name are shown: a pasted secret must not be repeated.
_PLAIN_KEY = re.compile(r"[A-Za-z]{1,24}(_[A-Za-z]{1,24}){0,6}(_?[0-9]{1,2})?")
_VARIABLE = re.compile(r"\$\{[A-Za-z_]")
_NOT_EXPANDED = ("variables (${NAME}) are not expanded", "write {env: NAME} for a secret")
_AT_MARK = {
    "\t": ("a tab", "indent with spaces"),
    "${": _NOT_EXPANDED,
    "[:": ("an IPv6 address in brackets looks like a list", 'put it in quotes, as in "[::1]:80"'),
}
_SYNTAX = (  # words of the parser's message, our problem, our hint (None: where it was opened)
    ("another document", "a second document", "keep one document in the file"),
    ("undefined alias", "no anchor (&name) with this name above", 'put text in quotes, as in "*"'),
    ("duplicate anchor", "this anchor (&name) is already defined", "give it another name"),
    ("scanning an a", "a value cannot begin with * or & here", 'put it in quotes, as in "*"'),
    ("quoted scalar", "a quotation mark is not closed", None),
    ("flow sequence", "a list is not closed", "expected , or ]"),
    ("flow mapping", "a brace is not closed", "expected , or }"),
    ("flow node", "a value is missing in a list or in braces", "is it closed with ] or }?"),
    ("expected ':'", "this is not a key and a value", "write key: value, with a space"),
    ("not allowed", "this is not allowed here", "check indentation and quotes"),
    ("not find expected", "this is not allowed here", "check indentation and quotes"),
)


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """A 1-based position."""

    line: int
    column: int


@dataclass(slots=True)
class Source:
    """A settings file as plain values, with their positions and the problems of reading them.

    A value that comes from an alias or a merge key has the position of the anchored text.
    ``respelled`` has the numbers and truth values that YAML does not read as they are written:
    1.10, 010, no. ``digest`` identifies this text.
    """

    file: str
    digest: str = ""
    data: Any = None
    keys: dict[Path, SourcePosition] = field(default_factory=dict)
    values: dict[Path, SourcePosition] = field(default_factory=dict)
    problems: list[SettingsProblem] = field(default_factory=list)
    respelled: dict[Path, str] = field(default_factory=dict)
    count: int = 0

    def place(self, path: Path) -> SourcePosition:
        """Return the position of the value at ``path``, or of what encloses it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, SourcePosition(1, 1))

    def where(self, path: Path) -> str:
        """Return the ``file:line:column`` of a value."""
        place = self.place(path)
        return f"{self.file}:{place.line}:{place.column}"

    def problem(
        self, path: Path, problem: str, hint: str = "", *, at: SourcePosition | None = None
    ) -> SettingsProblem:
        """Return a problem with the value at ``path``, placed there or ``at`` another position."""
        place = at or self.place(path)
        return SettingsProblem(self.file, place.line, place.column, spell(path), problem, hint)

    def not_as_written(self, keys: Collection[str]) -> list[SettingsProblem]:
        """Return a problem for each value below ``keys`` that YAML does not read as written."""
        return [
            self.problem(path, f"YAML reads this as {text}", f"write {text}, or put it in quotes")
            for path, text in self.respelled.items()
            if not {*keys}.isdisjoint(path)
        ]

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
    """Return whether ``key`` looks like a setting's name, so that it may be shown."""
    return bool(_PLAIN_KEY.fullmatch(key))


def spell(path: Path) -> str:
    """Return ``targets[2].projects[0].id``, cut before the first key that is not ``plain``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif plain(step):
            text += f".{step}" if text else step
        else:
            break
    return text


def read(raw: bytes, file: str, begin: str = "") -> Source:
    """Return the values and positions of ``raw``; ``begin`` is the hint if it is empty.

    Raises ``SettingsError`` if it cannot be read as a whole; ``problems`` has what leaves the rest
    readable (a repeated key, a number out of range).
    """
    text = _decode(raw, file)
    try:
        _check_depth(text, file)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, file) from None
    except (yaml.YAMLError, ValueError):
        raise unusable(file, "this is not YAML") from None
    if root is None:
        raise unusable(file, "the file is empty", begin)
    source = Source(file, hashlib.sha256(raw).hexdigest()[:12])
    source.data = _value(source, root, ())
    return source


def is_blank(raw: bytes) -> bool:
    """Return whether a file has no values, only comments."""
    lines = (line.strip() for line in raw.splitlines())
    return all(line in (b"", b"---") or line.startswith(b"#") for line in lines)


def unusable(
    file: str, problem: str, hint: str = "", at: SourcePosition = SourcePosition(1, 1)
) -> SettingsError:
    """Return the error for a file that cannot be read as a whole."""
    return SettingsError([SettingsProblem(file, at.line, at.column, "", problem, hint)])


def _decode(raw: bytes, file: str) -> str:
    if len(raw) > LARGEST_BYTES:
        raise unusable(file, "the file is larger than 1 MiB")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        raise unusable(file, "not UTF-8 text", at=_after(before)) from None
    if found := _UNPRINTABLE.search(text):
        raise unusable(file, _control(found), at=_after(text[: found.start()]))
    return text


def _control(found: re.Match[str]) -> str:
    return f"a control character (U+{ord(found[0]):04X})"


def _after(text: str) -> SourcePosition:
    lines = re.split("\r\n|\r|\n", text)
    return SourcePosition(len(lines), len(lines[-1]) + 1)


def _check_depth(text: str, file: str) -> None:
    """Reject deep nesting before building anything from it: libyaml would exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise unusable(file, "nested too deeply", at=_at(event))


def _at(thing: Any) -> SourcePosition:
    return SourcePosition(thing.start_mark.line + 1, thing.start_mark.column + 1)


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> SettingsError:
    mark, opened = error.problem_mark or error.context_mark, error.context_mark
    if mark is None:
        return unusable(file, "this is not YAML")
    place = SourcePosition(mark.line + 1, mark.column + 1)
    line = text.splitlines()[mark.line : mark.line + 1] or [""]
    for sign, (problem, hint) in _AT_MARK.items():
        if line[0][: mark.column + 1].endswith(sign):
            return unusable(file, problem, hint, place)
    message = f"{error.context} {error.problem}"
    for words, problem, then in _SYNTAX:
        if words in message:
            since = f"it was opened at {opened.line + 1}:{opened.column + 1}" if opened else ""
            unclosed = then is None or then.startswith("expected")
            hints = filter(None, (since, then)) if unclosed else (then,)
            return unusable(file, problem, ", ".join(map(str, hints)), place)
    return unusable(file, str(error.problem or "not YAML"), at=place)


def _value(source: Source, node: yaml.Node, path: Path) -> Any:
    _count(source, node, len(path))
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


def _count(source: Source, node: yaml.Node, depth: int) -> None:
    """Count one value or merge; reject a flood of aliases of aliases, or of themselves."""
    source.count += 1
    if source.count > MOST_VALUES:
        limit = f"more than {MOST_VALUES:,} values, counting those of aliases each time"
        raise unusable(source.file, limit, at=_at(node))
    if depth > DEEPEST:
        raise unusable(source.file, "nested too deeply", at=_at(node))


def _mapping(source: Source, node: yaml.MappingNode, path: Path, merges: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    own: set[str] = set()
    # The one that wins comes last, so that its values and their positions replace the others.
    for base in [*_merged(source, node, path)][::-1]:
        _count(source, base, len(path) + merges)
        found |= _mapping(source, base, path, merges + 1)
    for key_node, value_node in node.value:
        place, key = _at(key_node), _key(key_node)
        if key_node.tag == _TAG + "merge":
            continue
        if key is None:
            problem = source.problem(path, "a key must be text", "put it in quotes", at=place)
            source.problems.append(problem)
        elif key in own:
            first = source.keys[*path, key]
            twice = f"given twice; first at {source.file}:{first.line}:{first.column}"
            source.problems.append(source.problem((*path, key), twice, at=place))
        else:
            own.add(key)
            source.keys[*path, key] = place
            found[key] = _value(source, value_node, (*path, key))
    return found


def _merged(source: Source, node: yaml.MappingNode, path: Path) -> Iterator[yaml.MappingNode]:
    """Yield the mappings that ``node`` merges, beginning with the one that wins."""
    for key_node, value_node in node.value:
        if key_node.tag == _TAG + "merge":
            listed = isinstance(value_node, yaml.SequenceNode)
            for base in value_node.value if listed else [value_node]:
                if isinstance(base, yaml.MappingNode):
                    yield base
                else:
                    problem = "a merge key (<<) takes keys and values, or a list of them"
                    source.problems.append(source.problem(path, problem, at=_at(base)))


def _key(node: yaml.Node) -> str | None:
    known = isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "str"
    return str(node.value) if known else None


def _scalar(source: Source, node: yaml.ScalarNode, path: Path) -> Any:
    problem, hint = "tags (!name) are not supported", ""
    match node.tag.removeprefix(_TAG):
        case "str" | "timestamp" | "value" | "merge":
            if found := _UNPRINTABLE.search(node.value):  # from an escape, as in "\0"
                source.problems.append(source.problem(path, _control(found)))
                return node.value
            if path[-1:] == ("env",) or not _VARIABLE.search(node.value):
                return node.value
            problem, hint = _NOT_EXPANDED
        case "null":
            return None
        case "bool" | "int" | "float":
            problem, hint = "not a usable number", "put text in quotes"
            value = _number(node)
            if isinstance(value, bool) or abs(value) < 2**53:
                if (text := spelled(value)) != node.value.lower():
                    source.respelled[path] = text
                return value
        case _:
            pass
    source.problems.append(source.problem(path, problem, hint))
    return None


def spelled(value: bool | float) -> str:  # noqa: FBT001 - what YAML and JSON have
    """Return a number or truth value as it is sent and shown: ``4`` for 4.0, ``true`` for True."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).lower()


def _number(node: yaml.ScalarNode) -> Any:
    try:
        return SafeConstructor().construct_object(node)
    except (ValueError, KeyError):
        return math.nan

"""Selectors in PromQL's syntax: ``name{label="value", other=~"a|b"}``.

Source: https://prometheus.io/docs/prometheus/latest/querying/basics/#time-series-selectors
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import re2

LONGEST = 2_048
PATTERN_BYTES = 1024 * 1024
NAME = "__name__"
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_OPERATOR = re.compile(r"=~|!~|!=|=")
_TEXT = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'|`([^`]*)`')
_OPEN, _CLOSE, _COMMA = map(re.compile, (r"\{", r"\}", ","))
_BEFORE_CLOSE, _END = re.compile(r"(?=\})"), re.compile(r"\Z")
_SPACE = re.compile(r"[ \t\r\n]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


Matcher: TypeAlias = tuple[str, Callable[[str], bool]]
"""A label and the test of its value; a label that a series lacks is empty."""


class SelectorError(ValueError):
    """The text is not a valid selector; the message has the reason and the character."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects the series that meet every condition."""

    matchers: tuple[Matcher, ...]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Return whether the series ``name`` with ``labels`` is selected."""
        return all(
            accepts(name if label == NAME else labels.get(label, ""))
            for label, accepts in self.matchers
        )

    def may_match(self, labels: Mapping[str, str]) -> bool:
        """Return whether a series with at least ``labels`` may be selected."""
        return all(accepts(labels[label]) for label, accepts in self.matchers if label in labels)


def parse(text: str) -> Selector:
    """Return the selector in ``text``; raise ``SelectorError``."""
    if len(text) > LONGEST:
        raise SelectorError(f"a selector may have at most {LONGEST} characters")
    try:
        text.encode()  # RE2 reads UTF-8
    except UnicodeEncodeError as error:
        raise SelectorError(f"character {error.start + 1}: not valid Unicode") from None
    matchers = _Reader(text).matchers()
    if all(accepts("") for _, accepts in matchers):
        raise SelectorError("the selector matches everything; name a metric or a label")
    return Selector(tuple(matchers))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def matchers(self) -> list[Matcher]:
        name = self._if(_METRIC)
        found = [(NAME, _operation("=", name[0]))] if name else []
        if self._if(_OPEN):
            while not self._if(_CLOSE):
                found.append(self._matcher())
                if not self._if(_COMMA) and not self._if(_BEFORE_CLOSE):
                    raise self._error('expected "," or "}"')
        if not self._if(_END):
            raise self._error(
                "unexpected text after the selector; functions, operators and ranges are not "
                'evaluated, so write it as in name{label="value"}'
            )
        return found

    def _matcher(self) -> Matcher:
        label = self._must(_LABEL, "a label name")[0]
        operator = self._must(_OPERATOR, "one of = != =~ !~")[0]
        quoted = self._must(_TEXT, "a quoted string")
        raw = quoted[3]
        value = self._unescaped(quoted[1] or quoted[2] or "") if raw is None else raw
        try:
            return label, _operation(operator, value)
        except re2.error as error:
            raise self._error(f"invalid regular expression: {_reason(error)}") from None

    def _unescaped(self, text: str) -> str:
        def plain(found: re.Match[str]) -> str:
            if found[1] not in _ESCAPES:
                raise self._error("unknown escape; double the backslash")
            return _ESCAPES[found[1]]

        return _ESCAPE.sub(plain, text)

    def _if(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        """Skip white space; if ``wanted`` matches next, consume and return the match."""
        if space := _SPACE.match(self._text, self._at):
            self._at = space.end()
        found = wanted.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _must(self, wanted: re.Pattern[str], what: str) -> re.Match[str]:
        found = self._if(wanted)
        if found is None:
            raise self._error(f"expected {what}")
        return found

    def _error(self, problem: str) -> SelectorError:
        return SelectorError(f"character {self._at + 1}: {problem}")


def _operation(operator: str, value: str) -> Callable[[str], bool]:
    """Return the test for ``operator``; regular expressions are RE2 and match whole values."""
    accepts = _compiled(value) if "~" in operator else lambda found: found == value
    return (lambda found: not accepts(found)) if "!" in operator else accepts


def _compiled(pattern: str) -> Callable[[str], bool]:
    """Return a test of values against ``pattern``, cached because many series share few values."""
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True  # as Prometheus compiles matchers
    options.max_mem = PATTERN_BYTES
    compiled = re2.compile(pattern, options)
    return cache(lambda found: compiled.fullmatch(found) is not None)


def _reason(error: Exception) -> str:
    """Return RE2's message, which quotes the wrong part of the pattern."""
    message = error.args[0]
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)

r"""Regular expressions matched in linear time, since anybody who may ask for a page may send one.

Prometheus uses RE2, whose time never explodes; Python's ``re`` backtracks. This is the part of
RE2 that selectors use: literals, ``.``, ``[a-z]``, ``\d \w \s``, groups, ``|``, ``* + ?``.
A pattern is a set of states that read a text once, character by character (Thompson, 1968).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST = 256
DEEPEST = 20
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": lambda c: c in "0123456789",
    "w": lambda c: c.isascii() and (c.isalnum() or c == "_"),
    "s": lambda c: c in "\t\n\f\r ",
}
_REPEATS = "*+?"
_REFUSED = {"{": "counted repeats", "^": "anchors (a pattern is anchored)", "$": "anchors"}

Test = Callable[[str], bool]


class PatternError(ValueError):
    """The text is not a pattern; the message says why and holds nothing of it."""


@dataclass(slots=True)
class _Program:
    """States by number: a test of one character and where it leads, and steps that read nothing."""

    tests: dict[int, tuple[Test, int]] = field(default_factory=dict)
    free: dict[int, list[int]] = field(default_factory=dict)
    size: int = 0

    def state(self) -> int:
        self.size += 1
        return self.size - 1

    def leap(self, start: int, end: int) -> None:
        self.free.setdefault(start, []).append(end)

    def closure(self, states: set[int]) -> set[int]:
        """Return ``states`` and all that they lead to without reading."""
        found, todo = set(states), list(states)
        while todo:
            for state in self.free.get(todo.pop(), ()):
                if state not in found:
                    found.add(state)
                    todo.append(state)
        return found


class Pattern:
    """One pattern; ``matches`` takes time proportional to text and pattern, and no more."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise PatternError(f"a pattern may have {LONGEST} characters")
        self._program = _Program()
        self._start, self._end = _Parser(text, self._program).parse()

    def matches(self, text: str) -> bool:
        """Say whether all of ``text`` matches."""
        program = self._program
        now = program.closure({self._start})
        for character in text:
            led = {
                program.tests[state][1]
                for state in now
                if state in program.tests and program.tests[state][0](character)
            }
            now = program.closure(led)
        return self._end in now


class _Parser:
    """Reads a pattern from left to right into states; a piece is its first and its last state."""

    def __init__(self, text: str, program: _Program) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._program = program

    def parse(self) -> tuple[int, int]:
        piece = self._choice()
        if self._at < len(self._text):
            raise PatternError("a parenthesis is closed that was not opened")
        return piece

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, wanted: str) -> str:
        character = self._peek()
        if not character:
            raise PatternError(f"the pattern ends before {wanted}")
        self._at += 1
        return character

    def _choice(self) -> tuple[int, int]:
        start, end = self._program.state(), self._program.state()
        while True:
            first, last = self._sequence()
            self._program.leap(start, first)
            self._program.leap(last, end)
            if self._peek() != "|":
                return start, end
            self._at += 1

    def _sequence(self) -> tuple[int, int]:
        start = last = self._program.state()
        while self._peek() not in ("", "|", ")"):
            first, end = self._repeated()
            self._program.leap(last, first)
            last = end
        return start, last

    def _repeated(self) -> tuple[int, int]:
        first, last = self._atom()
        while (sign := self._peek()) and sign in _REPEATS:
            self._at += 1
            start, end = self._program.state(), self._program.state()
            self._program.leap(start, first)
            self._program.leap(last, end)
            if sign != "+":
                self._program.leap(start, end)
            if sign != "?":
                self._program.leap(last, first)
            first, last = start, end
        return first, last

    def _atom(self) -> tuple[int, int]:
        character = self._take("a character")
        if character in _REPEATS:
            raise PatternError("there is nothing to repeat")
        if character in _REFUSED:
            raise PatternError(f"{_REFUSED[character]} are not supported")
        match character:
            case "(":
                return self._group()
            case "[":
                return self._one(self._set())
            case ".":
                return self._one(lambda c: c != "\n")
            case "\\":
                return self._one(self._escaped())
            case _:
                return self._one(_is(character))

    def _group(self) -> tuple[int, int]:
        if self._text.startswith("?:", self._at):
            self._at += 2
        self._depth += 1
        if self._depth > DEEPEST:
            raise PatternError(f"groups may be nested {DEEPEST} deep")
        piece = self._choice()
        if self._take("a group is closed") != ")":
            raise PatternError("a group is not closed")
        self._depth -= 1
        return piece

    def _escaped(self) -> Test:
        character = self._take("what is escaped")
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum():
            raise PatternError("only \\d, \\w, \\s and escaped signs are supported")
        return _is(character)

    def _set(self) -> Test:
        """Return the test of a set: its characters and ranges, or with ``^`` all others."""
        negated = self._peek() == "^"
        self._at += negated
        tests: list[Test] = []
        while self._peek() != "]" or not tests:
            low = self._take("a set is closed")
            if low == "\\":
                tests.append(self._escaped())
            elif self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                tests.append(_between(low, self._take("a range is complete")))
            else:
                tests.append(_is(low))
        self._at += 1
        return lambda c: negated != any(test(c) for test in tests)

    def _one(self, test: Test) -> tuple[int, int]:
        start, end = self._program.state(), self._program.state()
        self._program.tests[start] = (test, end)
        return start, end


def _is(character: str) -> Test:
    return lambda c: c == character


def _between(low: str, high: str) -> Test:
    return lambda c: low <= c <= high

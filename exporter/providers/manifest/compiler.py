"""One query of a manifest, checked and compiled: which fields are read, and what they count."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations
from typing import Any

import msgspec

from exporter.config.source import Path as Steps
from exporter.config.values import suggestion
from exporter.model.samples import DAY_MS, Family, MetricType
from exporter.providers.manifest.checks import (
    Names,
    Problems,
    check_request,
    check_shape,
    check_window,
)
from exporter.providers.manifest.expressions import (
    Expression,
    ExpressionError,
    FieldPath,
    Step,
    check_format,
    instant_reader,
    parse,
    parse_level,
)
from exporter.providers.manifest.model import CountRule, GaugeRule, Manifest, ManifestQuery
from exporter.providers.manifest.program import (
    ANSWER,
    EACH,
    CompiledQuery,
    Exact,
    FieldTree,
    ReadField,
    ReadLabel,
    RowContext,
    RowFeed,
    RowFilter,
    RowLevel,
    RowProgram,
    Scalar,
    as_text,
    decode_exact,
    reader,
)
from exporter.providers.manifest.templates import ROOTS, leaves, names

_NOT_ADDITIVE = {
    "distinct": "a distinct count does not add up over time; give it under gauge",
    "level": "a level does not add up over time; give it under gauge",
    "average": "an average does not add up; give it under gauge",
    "ratio": "a ratio does not add up; give it under gauge",
    "cumulative": "a running total would count every unit again in each bucket; "
    "show it under gauge as a level",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where paths may begin: the answer, or the items of a level (perhaps ``entries`` of a map)."""

    number: int
    tree: FieldTree
    entries: bool = False


@dataclass(slots=True)
class QueryCompiler:
    """Compiles one query when called; the result must not be used if ``problems`` were added."""

    name: str
    query: ManifestQuery
    manifest: Manifest
    families: Mapping[str, Family]
    problems: Problems
    _places: dict[str, _Place] = field(default_factory=lambda: {ANSWER: _Place(0, FieldTree())})
    _levels: list[RowLevel] = field(default_factory=list)

    def __call__(self) -> CompiledQuery:
        query = self.query
        check_window(self.problems, query, self.manifest.rate.budget)
        secrets = check_request(self.problems, query, self.manifest.variables, self.manifest.auth)
        for index, text in enumerate(query.rows):
            before = len(self.problems.found)
            self.problems.attempt(("rows", index), self._level, text)
            if len(self.problems.found) > before:
                self._assume(text)
        at = self._expression(("at",), query.at, instant=True)
        until = self._expression(("until",), query.until, instant=True)
        id_ = self._expression(("id",), query.id)
        if id_ is not None and not any(each.root == self._last for each in id_.terms):
            words = f"it does not identify rows of {self._last}: only one of several would count"
            self.problems.add(("id",), words, "use a field of the last list of rows")
        roots = self._roots([query.at]), self._roots([query.until])
        check_shape(self.problems, query, *roots)
        only, expect = self._filters((), query), self._filter(("expect",), query.expect)
        whole = [each for each in expect if self._roots([each.field]) == {ANSWER}]
        feeds = [
            *self._feeds("count", query.count, self._count),
            *self._feeds("gauge", query.gauge, self._gauge),
        ]
        if not query.count and not query.gauge:
            self.problems.add((), "nothing is counted", "give count or gauge")
        self._parts()
        self._repeats()
        next_, top, holder, more, total = self._paging()
        self._unused()
        program = RowProgram(
            answer=None if self.problems.found else self._answer(),
            levels=tuple(self._levels),
            feeds=tuple(feeds),
            at=None if at is None else self._instant(at),
            at_level=len(query.rows[:1]) if at is None else self._places[at.terms[0].root].number,
            until=None if until is None else self._instant(until),
            id=None if id_ is None else self._read(id_),
            only=only,
            expect=tuple(each for each in expect if each not in whole),
            expect_answer=tuple(whole),
            next=next_,
            next_top=top,
            next_holder=holder,
            more=more,
            total=total,
            declared=tuple(self._places[ANSWER].tree.paths()),
        )
        return CompiledQuery(self.name, query, program, frozenset(secrets))

    def _answer(self) -> msgspec.json.Decoder[Any]:
        kind = self._places[ANSWER].tree.type()
        return msgspec.json.Decoder(kind, dec_hook=decode_exact, float_hook=str)

    # Where rows are

    def _level(self, text: str) -> None:
        path, name = parse_level(text)
        if name in self._places or name in ROOTS:
            raise ExpressionError(f"the name {name} is taken")
        outer, entries = self._places[self._last], path.steps[-1].kind == "entries"
        tree = outer.tree.at(path.steps)
        read = reader(path.steps[:-1], outer.number, entries=outer.entries)
        self._levels.append(RowLevel(name, path.text, read, entries))
        self._places[name] = _Place(outer.number + 1, tree, entries)

    def _assume(self, text: str) -> None:
        """Give a wrong level its name, so that what begins with it is no error, too."""
        _, stated, name = text.rpartition(" as ")
        if stated:
            number = self._places[self._last].number + 1
            self._places.setdefault(name.strip(), _Place(number, FieldTree(), entries=True))

    # What rows count

    def _feeds(self, kind: str, rules: Mapping[str, Any], make: Callable[..., Any]) -> list[Any]:
        return [
            feed
            for name, given in rules.items()
            for index, rule in enumerate(_listed(given))
            for feed in make(
                name, (kind, name, *((index,) if isinstance(given, list) else ())), rule
            )
        ]

    def _count(self, name: str, base: Steps, rule: CountRule) -> Iterator[RowFeed]:
        place: Steps = (*base, "value")
        if rule.of != "additive":
            hint = "" if rule.of in _NOT_ADDITIVE else "expected additive"
            self.problems.add((*base, "class"), _NOT_ADDITIVE.get(rule.of, "no such class"), hint)
        families = self._families(name, base, MetricType.COUNTER)
        money = next((each for each in families.values() if each.per_unit > 1), None)
        constant = rule.value if isinstance(rule.value, int) else 1
        text = rule.value if isinstance(rule.value, str) else ""
        if money and not text:
            self.problems.add(place, f"expected an amount: {money.name} does not count rows")
        if constant < 1:
            self.problems.add(place, "a row counts at least 1")
        if (text or constant > 1) and self.query.shape == "records" and not self.query.mutable:
            hint = "write mutable: true, so that hours are counted again"
            self.problems.add(place, "a stream of records counts only records", hint)
        self._of_last_list(place, text, "count it again")
        if self._terms([text]) & self._terms(self.query.distinct):
            self.problems.add(place, _NOT_ADDITIVE["distinct"])
        only = self._filters(base, rule)
        more = {"constant": constant, "only": only, "missing": rule.missing}
        return self._feed(base, rule, families, text, exact=money is not None, **more)

    def _gauge(self, name: str, base: Steps, rule: GaugeRule) -> Iterator[RowFeed]:
        families = self._families(name, base, MetricType.GAUGE)
        terms = self._terms([rule.value])
        if len(terms) > 1 or any(each.many for each in terms):
            self.problems.add((*base, "value"), "expected one field: such values do not add up")
        self._of_last_list((*base, "value"), rule.value, "show it")
        bucket = "day" if self.query.window.bucket == DAY_MS else "hour"
        if rule.of != "level" and rule.window not in ("", bucket):
            hint = f"this class is about a bucket's {bucket}; use class: level for trailing values"
            self.problems.add((*base, "window"), "not the window that is read", hint)
        if "window" in rule.labels:
            self.problems.add((*base, "labels", "window"), "this label is set by window")
        if rule.window and any("window" not in each.labels for each in families.values()):
            self.problems.add((*base, "window"), f"{name} has no label window")
        window = rule.window or bucket
        return self._feed(base, rule, families, rule.value, exact=False, of=rule.of, window=window)

    @property
    def _last(self) -> str:
        """Return the name of the last list of rows."""
        return [*self._places][-1]

    def _of_last_list(self, place: Steps, text: str, does: str) -> None:
        """Note a value of an outer list, which is not a row's own."""
        if outer := self._roots([text]) - {self._last}:
            hint = f"read it in a query of its own, whose rows end with {min(outer)}"
            words = f"{min(outer)} is not the last list of rows: each row would {does}"
            self.problems.add(place, words, hint)

    def _feed(
        self,
        base: Steps,
        rule: CountRule | GaugeRule,
        families: Mapping[str, Family],
        text: str,
        *,
        exact: bool,
        **more: Any,
    ) -> Iterator[RowFeed]:
        if rule.value == "":
            self.problems.add((*base, "value"), "a path is missing")
        expression = self._parse((*base, "value"), text) if text else None
        scale = expression.scale if expression else None
        exact = exact or scale is not None
        if expression:
            self._declare((*base, "value"), expression, Exact if exact else Scalar)
        terms = expression.terms if expression else ()
        if len({*terms}) < len(terms):
            self.problems.add((*base, "value"), "a field is added twice")
        values = tuple((each.text, self._reader(each)) for each in terms)
        labels = self._labels(base, rule.labels, families.values())
        for value, family in families.items():
            yield RowFeed(
                family=family,
                field=text or f"number of {[ANSWER, *self.query.rows][-1]}",
                values=values,
                labels=labels,
                scale=scale or Decimal(1),
                exact=exact,
                looped=value,
                **more,
            )

    def _fed(self, name: str) -> Mapping[str, str]:
        """Return the names of the families that an entry feeds; of ``each``, by loop value."""
        loops = [each for each in self.query.for_each.values() if isinstance(each, dict)]
        return loops[0] if name == EACH and loops else {"": name}

    def _families(self, name: str, base: Steps, kind: MetricType) -> Mapping[str, Family]:
        """Return the families that an entry feeds; note those that it cannot."""
        names = self._fed(name)
        steps: Steps = ("for_each", *self.query.for_each) if "" not in names else base
        for each in names.values():
            family = self.families.get(each)
            if family is None:
                hint = suggestion(each, self.families) or "declare your own under families"
                words = "no family of this name that a manifest can feed"
                self.problems.add(steps, words, hint, key=True)
            elif family.kind is not kind:
                self.problems.add(steps, f"{each} is a {family.kind}", key=True)
        return {at: self.families[each] for at, each in names.items() if each in self.families}

    def _labels(
        self, base: Steps, own: Mapping[str, Any], found: Iterable[Family]
    ) -> dict[str, ReadLabel]:
        """Return how the labels of a feed are read; labels of the query apply to all families."""
        known = {label for family in found for label in family.labels[2:]}
        for name in own.keys() - known:
            hint = suggestion(name, known) or f"it has {', '.join(sorted(known))}"
            self.problems.add((*base, "labels", name), "the family has no such label", hint)
        read = {}
        for name, value in self.query.labels.items():
            if name in known and name not in own:
                read[name] = self._label(("labels", name), value)
        for name, value in own.items():
            read[name] = self._label((*base, "labels", name), value)
        return read

    def _label(self, steps: Steps, value: Any) -> ReadLabel:
        if not isinstance(value, str):
            return ReadLabel(constant=as_text(value) or "")
        root = value.partition(".")[0].partition("[")[0]
        if root in ("variables", EACH) and "." in value:
            known: Names = {"variables": self.manifest.variables, EACH: self.query.for_each}
            used = self.problems.names_in(steps, value, known)
            if not used:
                self.problems.add(steps, f"expected {root}.NAME")
            return ReadLabel(variable=".".join(next(iter(used), ())))
        path = value[:1].isalpha() and ("." in value or "[" in value)
        if not path and value not in self._places:
            if self.problems.attempt(steps, names, value):
                hint = "use one field, variables.NAME, or a fixed word"
                self.problems.add(steps, "a label takes no braces", hint)
            return ReadLabel(constant=value.strip('"'))
        expression = self._expression(steps, value)
        if expression is None:
            return ReadLabel()
        if self._terms([value]) & self._terms([self.query.at, self.query.id]):
            words = "nearly every row has its own value of this, so each would be a series"
            self.problems.add(steps, words)
        null = self.query.null_labels.get(value)
        return ReadLabel(
            where=f"labels.{steps[-1]}: {value}", read=self._read(expression), null=null
        )

    def _filters(self, base: Steps, rule: CountRule | ManifestQuery) -> tuple[RowFilter, ...]:
        excluded = self._filter((*base, "except"), rule.excluded)
        negative = tuple(replace(each, excludes=True) for each in excluded)
        for text in rule.only.keys() & rule.excluded.keys():
            if {*map(as_text, rule.only[text])} <= {*map(as_text, rule.excluded[text])}:
                self.problems.add(
                    (*base, "only", text), "except excludes everything that this admits"
                )
        return self._filter((*base, "only"), rule.only) + negative

    def _filter(self, steps: Steps, rules: Mapping[str, Sequence[Any]]) -> tuple[RowFilter, ...]:
        for place, value in leaves(rules):
            if isinstance(value, str) and self.problems.attempt((*steps, *place), names, value):
                words = "expected a fixed value: nothing is substituted here"
                self.problems.add((*steps, *place), words)
        for text in (text for text, values in rules.items() if not values):
            self.problems.add((*steps, text), "the list of values is empty")
        found = [
            RowFilter(
                text,
                self._read(expression),
                frozenset(map(as_text, values)),
                optional=text in self.query.optional or None in values,
            )
            for text, values in rules.items()
            if (expression := self._expression((*steps, text), text)) is not None
        ]
        return tuple(found)

    # Expressions

    def _expression(
        self, steps: Steps, text: str | None, *, instant: bool = False
    ) -> Expression | None:
        """Return ``text``, which is one field, parsed and declared."""
        found = None if text is None else self._parse(steps, text, instant=instant)
        if found is None:
            return None
        if len(found.terms) > 1 or found.terms[0].many:
            self.problems.add(steps, "expected one field", "name the list as a level of rows")
        if len(found.conversions) > max(instant, found.instant is not None):
            words = "expected one conversion" if instant else "a conversion is not allowed here"
            self.problems.add(steps, words)
        self._declare(steps, found, Scalar)
        return found

    def _parse(self, steps: Steps, text: str, *, instant: bool = False) -> Expression | None:
        found: Expression | None = self.problems.attempt(steps, parse, text, self._places)
        if found is None:
            return None
        if instant != (found.instant is not None):
            hint = "as in row.time|iso or row.time|epoch_s" if instant else ""
            words = "a time needs a conversion" if instant else "a time is not allowed here"
            self.problems.add(steps, words, hint)
        elif found.instant is not None:
            window = self.query.window
            self.problems.attempt(
                steps, check_format, found.instant, window.bucket, window.timezone
            )
        return found

    def _declare(self, steps: Steps, expression: Expression, leaf: Any) -> None:
        for term in expression.terms:
            place = self._places[term.root]
            if not place.entries and [s.kind for s in term.steps] == ["key"]:
                self.problems.add(steps, "only the entries of a map have @key")
            else:
                self.problems.attempt(steps, place.tree.declare, term.steps, leaf)

    def _reader(self, term: FieldPath) -> ReadField:
        place = self._places[term.root]
        return reader(term.steps, place.number, entries=place.entries)

    def _read(self, expression: Expression) -> ReadField:
        return self._reader(expression.terms[0])

    def _instant(self, expression: Expression) -> Callable[[RowContext], int]:
        read, conversion = self._read(expression), expression.instant
        if conversion is None:
            return lambda _: 0  # the problem is noted
        parse_ = instant_reader(conversion, self.query.window.timezone, expression.text)
        return lambda context: parse_(read(context))

    def _paging(self) -> tuple[ReadField | None, ...]:
        """Return readers of the cursor, its first and last object, ``more``, and the total."""
        pages, complete = self.query.pages, self.query.complete
        needed = {
            "cursor": ("from", "send"),
            "page": ("send",),
            "offset": ("send",),
            "next_url": ("from",),
        }
        given = {"from": pages.source, "send": pages.send}
        for name in needed.get(pages.kind, ()):
            if given[name] is None:
                self.problems.add(("pages", name), "missing", f"{pages.kind} needs it")
        held = self.query.request.body
        for name in pages.send.split(".") if pages.send else ():
            if not isinstance(held, dict | None):
                words = "it would replace a list or value of the body"
                self.problems.add(("pages", "send"), words, "give the path of a member")
            held = held.get(name) if isinstance(held, dict) else None
        cursor = self._answer_field(("pages", "from"), pages.source)
        more = self._answer_field(("pages", "more"), pages.more)
        total = self._answer_field(("complete", "total"), complete.total if complete else None)
        top, holder = (cursor[:1], cursor[:-1]) if cursor and cursor[1:] else (None, None)
        found = (cursor, top, holder, more, total)
        return tuple(None if steps is None else reader(steps) for steps in found)

    def _answer_field(self, steps: Steps, text: str | None) -> Sequence[Step] | None:
        """Return the steps from the top of the answer to a field of it."""
        if text is None:
            return None
        found: Expression | None = self.problems.attempt(steps, parse, text)
        if found is None:
            return None
        path, *more = found.terms
        if text.startswith(f"{ANSWER}."):
            words = "this path begins at the top of the answer"
            self.problems.add(steps, words, f"write {text.removeprefix(f'{ANSWER}.')}")
        keys = any(each.kind == "key" for each in path.steps)
        if found.conversions or more or path.many or keys:
            self.problems.add(steps, "expected one field of the answer")
        self.problems.attempt(steps, self._places[ANSWER].tree.declare, path.steps, Scalar)
        return path.steps

    def _parts(self) -> None:
        """Note families that add up a total and what it contains."""
        for total, contained in self.query.parts.items():
            whole, inner = self._terms([total]), self._terms(contained)
            if not whole or not inner:
                self.problems.add(
                    ("parts", total), "expected a field and those it contains", key=True
                )
            for name, given in self.query.count.items():
                rules = _listed(given)
                totals = [rule for rule in rules if self._terms([rule.value]) & whole]
                parts = [rule for rule in rules if self._terms([rule.value]) & inner]
                if any(not _disjoint(one, other) for one in totals for other in parts):
                    words = f"{total} contains what is added to it here, so it would count twice"
                    self.problems.add(("count", name), words, key=True)

    def _repeats(self) -> None:
        """Note a field that counts twice in one series."""
        for name, given in self.query.count.items():
            for one, other in combinations(_listed(given), 2):
                same = self._terms([one.value]) & self._terms([other.value])
                if same and one.labels == other.labels and not _disjoint(one, other):
                    words = "two entries add the same field, so it would count twice"
                    self.problems.add(("count", name), words, key=True)

    def _terms(self, texts: Iterable[Any]) -> set[FieldPath]:
        """Return the paths that ``texts`` add up; texts with errors are reported elsewhere."""
        found: set[FieldPath] = set()
        for text in texts:
            with suppress(ExpressionError):
                found.update(parse(text, self._places).terms if isinstance(text, str) else ())
        return found

    def _roots(self, texts: Iterable[Any]) -> set[str]:
        return {each.root for each in self._terms(texts)}

    def _unused(self) -> None:
        """Note labels, and meanings of null, that no family shows."""
        shown = {
            label
            for name in (*self.query.count, *self.query.gauge)
            for fed in self._fed(name).values()
            if fed in self.families
            for label in self.families[fed].labels[2:]
        }
        for key in ("labels", "label_rules"):
            for name in getattr(self.query, key).keys() - shown:
                hint = suggestion(name, shown) or f"they have {', '.join(sorted(shown))}"
                self.problems.add((key, name), "no family here has this label", hint)
        every = [*self.query.count.values(), *self.query.gauge.values()]
        used = {
            value for given in every for rule in _listed(given) for value in rule.labels.values()
        }
        for text in self.query.null_labels.keys() - used - {*self.query.labels.values()}:
            self.problems.add(("null_labels", text), "no label shows this field", key=True)
        rules = [rule for given in self.query.count.values() for rule in _listed(given)]
        chosen = {text for by in (self.query, *rules) for text in (*by.only, *by.excluded)}
        for index, text in enumerate(self.query.optional):
            if text not in chosen:
                hint = suggestion(text, chosen)
                self.problems.add(("optional", index), "no filter reads this field", hint)


def _disjoint(one: CountRule, other: CountRule) -> bool:
    """Return whether no row counts in both, since they admit different values of some field."""
    pairs = ((one.only, other.excluded), (other.only, one.excluded))
    both = one.only.keys() & other.only.keys()
    apart = any({*one.only[f]}.isdisjoint(other.only[f]) for f in both)
    return apart or any(
        {*only[f]} <= {*but[f]} for only, but in pairs for f in only.keys() & but.keys()
    )


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]

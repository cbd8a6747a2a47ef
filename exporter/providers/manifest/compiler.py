"""One query of a manifest, checked and compiled: which fields are read, and what they count."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from exporter.config.source import Path as Steps
from exporter.config.source import Source
from exporter.config.values import suggestion
from exporter.errors import SettingsProblem
from exporter.model.samples import DAY_MS, HOUR_MS, Family, MetricType
from exporter.providers.manifest.expressions import (
    Expression,
    ExpressionError,
    FieldPath,
    parse,
    parse_level,
)
from exporter.providers.manifest.fields import (
    FieldTree,
    ReadField,
    RowContext,
    Scalar,
    as_text,
    reader,
)
from exporter.providers.manifest.instants import (
    check_format,
    has_whole_hours,
    instant_reader,
)
from exporter.providers.manifest.model import CountRule, GaugeRule, Manifest, ManifestQuery
from exporter.providers.manifest.program import (
    EACH,
    CompiledQuery,
    ReadLabel,
    RowFeed,
    RowFilter,
    RowLevel,
    RowProgram,
)
from exporter.providers.manifest.templates import check_header, check_path, expressions, named

ANSWER = "answer"
_REFUSED = {
    "distinct": "a distinct count does not add up over time; give it under gauge",
    "level": "a level does not add up over time; give it under gauge",
    "average": "an average does not add up; give it under gauge",
    "ratio": "a ratio does not add up; give it under gauge",
    "cumulative": "a running total would count every unit again in each bucket; "
    "show it under gauge as a level",
}


@dataclass(slots=True)
class QueryCompiler:
    """Compiles one query; ``problems`` has all that is wrong with it."""

    name: str
    query: ManifestQuery
    manifest: Manifest
    families: Mapping[str, Family]
    source: Source
    problems: list[SettingsProblem] = field(default_factory=list)
    _tree: FieldTree = field(default_factory=FieldTree)
    _names: dict[str, int] = field(default_factory=lambda: {ANSWER: 0})
    _trees: list[FieldTree] = field(default_factory=list)
    _maps: frozenset[int] = frozenset()
    _levels: list[RowLevel] = field(default_factory=list)

    def compile(self) -> CompiledQuery:
        """Return the query; not to be used where there are ``problems``."""
        query = self.query
        self._window()
        secrets = self._request()
        self._trees = [self._tree]
        for index, text in enumerate(query.rows):
            self._attempt(("rows", index), self._level, text)
        at = self._expression(("at",), query.at, instant=True)
        until = self._expression(("until",), query.until, instant=True)
        id_ = self._expression(("id",), query.id)
        self._shape()
        only, expect = self._filters((), query), self._filter(("expect",), query.expect)
        feeds = [
            *self._feeds("count", query.count, self._count),
            *self._feeds("gauge", query.gauge, self._gauge),
        ]
        if not query.count and not query.gauge:
            self.add((), "nothing is counted", "give count or gauge")
        self._parts()
        next_, parent, more, total = self._paging()
        self._unused()
        program = RowProgram(
            answer=self._type(),
            levels=tuple(self._levels),
            feeds=tuple(each for each in feeds if each is not None),
            at=None if at is None else self._instant(at),
            at_level=1 if at is None else self._names[at.terms[0].root],
            until=None if until is None else self._instant(until),
            id=None if id_ is None else self._read(id_),
            only=only,
            expect=expect,
            next=next_,
            next_parent=parent,
            more=more,
            total=total,
            declared=tuple(self._tree.paths()),
        )
        return CompiledQuery(self.name, query, program, frozenset(secrets))

    def add(self, steps: Steps, problem: str, hint: str = "", *, key: bool = False) -> None:
        """Note a problem at ``steps`` from the query."""
        whole: Steps = ("queries", self.name, *steps)
        at = self.source.keys.get(whole) if key else None
        self.problems.append(self.source.problem(whole, problem, hint, at=at))

    def _attempt(self, steps: Steps, check: Callable[..., Any], *arguments: Any) -> Any:
        """Return what ``check`` returns; None and a problem where it raises."""
        try:
            return check(*arguments)
        except ExpressionError as error:
            self.add(steps, str(error), error.hint)
            return None

    # What is asked

    def _window(self) -> None:
        window = self.query.window
        if window.bucket not in (HOUR_MS, DAY_MS):
            hint = "a number of trailing days that each bucket has is a gauge of class: level"
            self.add(("window", "bucket"), "expected 1h or 1d", hint)
        if window.bucket == DAY_MS and window.timezone != "UTC":
            hint = "read hours, whose days the exporter adds up in any zone"
            self.add(("window", "timezone"), "days must be those of UTC", hint)
        elif not has_whole_hours(window.timezone):
            hint = "write UTC where the API can answer in it"
            self.add(("window", "timezone"), "its hours do not begin with those of UTC", hint)
        if window.max_span is not None and window.max_span % window.bucket:
            self.add(("window", "max_span"), "not a whole number of buckets")
        poll, span = window.lookback + window.bucket, window.max_span
        several = {
            "pages": self.query.pages.kind != "none",
            "shape": self.query.shape == "range",
            "window": span is not None and poll > span,
        }
        for name in (
            name for name, makes in several.items() if makes and self.manifest.rate.budget
        ):
            words = f"rate.budget needs one call per poll, and {name} makes several"
            self.add((name,), words, "use rate.requests_per_second")

    def _request(self) -> set[str]:
        """Check every text of the request; return the secrets that it names."""
        request, base = self.query.request, ("request",)
        for name in request.headers:
            self._attempt((*base, "headers", name), check_header, name)
        if self._attempt((*base, "path"), check_path, request.path) is None:
            self._values((*base, "path"), request.path, secrets=False, window=False)
        for name, value in request.params.items():
            self._values((*base, "params", name), value, secrets=False)
        secrets = {
            each
            for name, value in request.headers.items()
            for each in self._values((*base, "headers", name), value, window=False)
        }
        if request.body is not None and request.method == "GET":
            self.add((*base, "body"), "a GET has no body", "write method: POST")
        secrets |= set(self._leaves((*base, "body"), request.body))
        whole = [request.path, request.params, request.body]
        found: set[tuple[str, str]] = set()
        with suppress(ExpressionError):  # which is reported at its place
            found = {named(each) for each in expressions(whole)}
        bounds = {name for root, name in found if root == "window"}
        if bounds != {"start", "end"} and not self.problems:
            hint = "counts need fixed bounds: send window.start and window.end"
            self.add(base, "the request does not say which window it asks for", hint)
        used = {name for root, name in found if root == EACH}
        for name in self.query.for_each.keys() - used:
            self.add(("for_each", name), "the request does not use it", f"write each.{name}")
        return secrets

    def _leaves(self, steps: Steps, value: Any) -> Iterable[str]:
        if isinstance(value, dict | list):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in pairs:
                yield from self._leaves((*steps, key), item)
        elif isinstance(value, str):
            yield from self._values(steps, value)

    def _values(
        self, steps: Steps, value: Any, *, secrets: bool = True, window: bool = True
    ) -> list[str]:
        """Return the secrets that ``value`` names; note names that mean nothing."""
        found = self._attempt(steps, lambda: [named(each) for each in expressions(value)]) or []
        known = {"variables": set(self.manifest.variables), EACH: set(self.query.for_each)}
        for root, name in found:
            if (root == "secrets" and not secrets) or (root == "window" and not window):
                hint = "only in auth, headers and the body" if root == "secrets" else ""
                self.add(steps, f"{root}.{name} cannot be used here", hint)
            elif root in known and name not in known[root]:
                self.add(steps, f"no such name: {root}.{name}", suggestion(name, known[root]))
        return [name for root, name in found if root == "secrets"]

    # Where rows are

    def _level(self, text: str) -> None:
        path, name = parse_level(text)
        if name in self._names or name in ("window", "variables", "secrets", EACH):
            raise ExpressionError(f"the name {name} is taken")
        number = len(self._trees)
        steps, entries = path.steps[:-1], path.steps[-1].kind == "entries"
        tree = self._trees[-1].at(path.steps)
        levels = {"": number - 1}
        self._levels.append(
            RowLevel(name, path.text, reader(FieldPath("", steps), levels, self._maps), entries)
        )
        self._names[name] = number
        self._trees.append(tree)
        self._maps |= {number} if entries else set()

    def _shape(self) -> None:
        query, shape = self.query, self.query.shape
        if query.at is None and shape != "range":
            self.add((), "at is missing", "give the field that holds a row's time")
        if query.until is not None and (shape != "range" or query.at is None):
            self.add(("until",), "only for shape: range, together with at")
        if shape == "records" and query.id is None:
            self.add((), "id is missing", "give the field that tells records apart")
        for name in ("id", "mutable"):
            if shape != "records" and name in query.model_fields_set:
                self.add((name,), "only for shape: records")
        if query.missing != "zero" and shape != "buckets":
            self.add(("missing",), "only for shape: buckets")
        if shape == "records" and query.gauge:
            self.add(("gauge",), "records are counted, not shown as gauges")

    # What rows count

    def _feeds(self, kind: str, rules: Mapping[str, Any], make: Callable[..., Any]) -> list[Any]:
        return [
            make(name, (kind, name, *((index,) if isinstance(given, list) else ())), rule)
            for name, given in rules.items()
            for index, rule in enumerate(_listed(given))
        ]

    def _count(self, name: str, base: Steps, rule: CountRule) -> RowFeed | None:
        if rule.of != "additive":
            hint = "" if rule.of in _REFUSED else "expected additive"
            self.add((*base, "class"), _REFUSED.get(rule.of, "no such class"), hint)
        family = self._family(name, base, MetricType.COUNTER)
        found = self._fed(name)
        if not found:
            return None
        money = next((each for each in found if each.per_unit > 1), None)
        constant = rule.value if isinstance(rule.value, int) else 1
        text = rule.value if isinstance(rule.value, str) else ""
        expression = self._parse((*base, "value"), text) if text else None
        scale = expression.scale if expression else None
        exact = scale is not None or money is not None
        if money and not text:
            self.add((*base, "value"), f"an amount is needed: {money.name} is no number of rows")
        if constant < 1:
            self.add((*base, "value"), "a row counts at least 1")
        if text and self.query.shape == "records" and not self.query.mutable:
            hint = "write mutable: true, so that hours are counted again"
            self.add((*base, "value"), "a stream of records counts records only", hint)
        values = self._value_readers((*base, "value"), expression, exact=exact)
        if self._terms([text]) & self._terms(self.query.distinct):
            self.add((*base, "value"), _REFUSED["distinct"])
        return RowFeed(
            family=family,
            field=text or f"number of {self.query.rows[-1]}",
            values=values,
            labels=self._labels(base, rule.labels, found),
            constant=constant,
            scale=scale or Decimal(1),
            exact=exact,
            only=self._filters(base, rule),
            missing=rule.missing,
        )

    def _gauge(self, name: str, base: Steps, rule: GaugeRule) -> RowFeed | None:
        family = self._family(name, base, MetricType.GAUGE)
        if family is None:
            return None
        expression = self._parse((*base, "value"), rule.value)
        if expression and (len(expression.terms) > 1 or expression.terms[0].many):
            self.add((*base, "value"), "expected one field: such values do not add up")
        scale = expression.scale if expression else None
        bucket = "day" if self.query.window.bucket == DAY_MS else "hour"
        if rule.of != "level" and rule.window not in ("", bucket):
            hint = (
                f"this class holds for the {bucket} of a bucket; a trailing value is class: level"
            )
            self.add((*base, "window"), "not the window that is read", hint)
        if "window" not in family.labels and rule.window:
            self.add((*base, "window"), f"{name} has no label window")
        return RowFeed(
            family=family,
            field=rule.value,
            values=self._value_readers((*base, "value"), expression, exact=scale is not None),
            labels=self._labels(base, rule.labels, [family]),
            scale=scale or Decimal(1),
            exact=scale is not None,
            of=rule.of,
            window=rule.window or bucket,
        )

    def _family(self, name: str, base: Steps, kind: MetricType) -> Family | None:
        """Return the family ``name``; None for ``each``, or with a problem."""
        by_value = [each for each in self.query.for_each.values() if isinstance(each, dict)]
        if name == EACH and by_value:
            for each in {value for given in by_value for value in given.values()}:
                self._known(each, ("for_each", *self.query.for_each), kind)
            return None
        return self._known(name, base, kind)

    def _known(self, name: str, base: Steps, kind: MetricType) -> Family | None:
        family = self.families.get(name)
        if family is None:
            hint = suggestion(name, self.families) or "declare an own one under families"
            self.add(base, "no such family that a manifest can feed", hint, key=True)
        elif family.kind is not kind:
            self.add(base, f"{name} is a {family.kind}", key=True)
        return family

    def _fed(self, name: str) -> list[Family]:
        """Return the families that an entry under ``name`` feeds."""
        names = [name]
        if name == EACH:
            listed = [each for each in self.query.for_each.values() if isinstance(each, dict)]
            names = [family for each in listed for family in each.values()]
        return [self.families[each] for each in names if each in self.families]

    def _labels(
        self, base: Steps, own: Mapping[str, Any], found: Sequence[Family]
    ) -> dict[str, ReadLabel]:
        """Return how the labels of a feed are read; labels of the query are for all families."""
        known = {label for family in found for label in family.labels[2:]}
        for name in own.keys() - known:
            hint = suggestion(name, known) or f"it has {', '.join(sorted(known))}"
            self.add((*base, "labels", name), "the family has no such label", hint)
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
            self._values(steps, value, secrets=False, window=False)
            return ReadLabel(variable=value)
        if "." not in value and "[" not in value and value not in self._names:
            return ReadLabel(constant=value.strip('"'))
        if value.startswith('"') and value.endswith('"'):
            return ReadLabel(constant=value.strip('"'))
        expression = self._expression(steps, value)
        if expression is None:
            return ReadLabel()
        if expression.conversions or len(expression.terms) > 1:
            self.add(steps, "a label is one field, without conversions")
        null = self.query.null_labels.get(value)
        return ReadLabel(
            where=f"labels.{steps[-1]}: {value}", read=self._read(expression), null=null
        )

    def _filters(self, base: Steps, rule: CountRule | ManifestQuery) -> tuple[RowFilter, ...]:
        excluded = self._filter((*base, "except"), rule.excluded)
        negative = tuple(replace(each, excludes=True) for each in excluded)
        return self._filter((*base, "only"), rule.only) + negative

    def _filter(self, steps: Steps, rules: Mapping[str, Sequence[Any]]) -> tuple[RowFilter, ...]:
        found = [
            RowFilter(text, self._read(expression), frozenset(map(as_text, values)))
            for text, values in rules.items()
            if (expression := self._expression((*steps, text), text)) is not None
        ]
        return tuple(found)

    # Expressions

    def _expression(
        self, steps: Steps, text: str | None, *, instant: bool = False
    ) -> Expression | None:
        """Return ``text``, one field, parsed and declared."""
        found = None if text is None else self._parse(steps, text, instant=instant)
        if found is None:
            return None
        if len(found.terms) > 1 or found.terms[0].many:
            self.add(steps, "expected one field", "name the list as a level of rows")
        self._declare(steps, found, Scalar)
        return found

    def _parse(self, steps: Steps, text: str, *, instant: bool = False) -> Expression | None:
        found: Expression | None = self._attempt(steps, parse, text, self._names)
        if found is None:
            return None
        if instant != (found.instant is not None):
            hint = "as in row.time|iso or row.time|epoch_s" if instant else ""
            words = "a time needs a conversion" if instant else "a time has no place here"
            self.add(steps, words, hint)
        elif found.instant is not None:
            self._attempt(steps, check_format, found.instant, self.query.window.bucket)
        return found

    def _declare(self, steps: Steps, expression: Expression, leaf: Any) -> None:
        for term in expression.terms:
            number = self._names[term.root]
            if number not in self._maps and [s.kind for s in term.steps] == ["key"]:
                self.add(steps, "only the entries of a map have a @key")
            else:
                self._attempt(steps, self._trees[number].declare, term.steps, leaf)

    def _value_readers(
        self, steps: Steps, expression: Expression | None, *, exact: bool
    ) -> tuple[tuple[str, ReadField], ...]:
        if expression is None:
            return ()
        self._declare(steps, expression, Decimal if exact else Scalar)
        return tuple(
            (each.text, reader(each, self._names, self._maps)) for each in expression.terms
        )

    def _read(self, expression: Expression) -> ReadField:
        return reader(expression.terms[0], self._names, self._maps)

    def _instant(self, expression: Expression) -> Callable[[RowContext], int]:
        read, conversion = self._read(expression), expression.instant
        if conversion is None:
            return lambda _: 0  # there is a problem
        parse_ = instant_reader(conversion, self.query.window.timezone, expression.text)
        return lambda context: parse_(read(context))

    def _paging(self) -> tuple[ReadField | None, ...]:
        """Return readers of the cursor, of what holds it, of ``pages.more`` and the total."""
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
                self.add(("pages", name), "missing", f"{pages.kind} needs it")
        cursor = self._answer_field(("pages", "from"), pages.source)
        more = self._answer_field(("pages", "more"), pages.more)
        total = self._answer_field(("complete", "total"), complete.total if complete else None)
        parent = replace(cursor, steps=cursor.steps[:1]) if cursor and cursor.steps[1:] else None
        return tuple(
            None if path is None else reader(path, {"": 0}, frozenset())
            for path in (cursor, parent, more, total)
        )

    def _answer_field(self, steps: Steps, text: str | None) -> FieldPath | None:
        """Return the path of a field of the answer, which begins at its top."""
        found: Expression | None = self._attempt(steps, parse, text) if text is not None else None
        if found is None:
            return None
        if found.conversions or len(found.terms) > 1 or found.terms[0].many:
            self.add(steps, "expected one field of the answer")
        self._attempt(steps, self._tree.declare, found.terms[0].steps, Scalar)
        return found.terms[0]

    def _parts(self) -> None:
        """Note families that add up a total and what it contains."""
        for total, contained in self.query.parts.items():
            whole, inner = self._terms([total]), self._terms(contained)
            if not whole or not inner:
                self.add(("parts", total), "expected a field and those it contains", key=True)
            for name, given in self.query.count.items():
                rules = _listed(given)
                totals = [rule for rule in rules if self._terms([rule.value]) & whole]
                parts = [rule for rule in rules if self._terms([rule.value]) & inner]
                if any(not _disjoint(one, other) for one in totals for other in parts):
                    words = f"{total} contains what is added to it here, so it would count twice"
                    self.add(("count", name), words, key=True)

    def _terms(self, texts: Iterable[Any]) -> set[FieldPath]:
        """Return the paths that ``texts`` add up; those with an error are reported elsewhere."""
        found: set[FieldPath] = set()
        for text in texts:
            with suppress(ExpressionError):
                found.update(parse(text, self._names).terms if isinstance(text, str) else ())
        return found

    def _unused(self) -> None:
        """Note labels, and meanings of null, that no family shows."""
        shown = {
            label
            for name in (*self.query.count, *self.query.gauge)
            for family in self._fed(name)
            for label in family.labels[2:]
        }
        for key in ("labels", "label_rules"):
            for name in getattr(self.query, key).keys() - shown:
                hint = suggestion(name, shown) or f"they have {', '.join(sorted(shown))}"
                self.add((key, name), "no family here has the label", hint)
        every = [*self.query.count.values(), *self.query.gauge.values()]
        used = {
            value for given in every for rule in _listed(given) for value in rule.labels.values()
        }
        for text in self.query.null_labels.keys() - used - {*self.query.labels.values()}:
            self.add(("null_labels", text), "no label shows this field", key=True)

    def _type(self) -> Any:
        return None if self.problems else self._tree.type()


def _disjoint(one: CountRule, other: CountRule) -> bool:
    """Say whether no row counts in both: a field has values that one takes and the other does not."""
    pairs = ((one.only, other.excluded), (other.only, one.excluded))
    return any({*only[f]} <= {*but[f]} for only, but in pairs for f in only.keys() & but.keys())


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]

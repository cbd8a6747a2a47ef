"""The facts of each provider's queries are pinned: a changed fingerprint rebases live counters.

``queries.json`` holds those facts. After a deliberate change, write it with
``.venv/bin/python -m tests.providers.test_queries_are_pinned``, and say in the changelog which
counters start from a new baseline.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from exporter.config.model import Limits, Privacy
from exporter.model.query import QuerySpec
from tests.providers.vendor import build_target

GOLDEN = Path(__file__).with_name("queries.json")
TARGETS: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("targets.yaml").read_text("utf-8")
)
"""Targets by a name of each."""


def facts(spec: QuerySpec) -> dict[str, Any]:
    """Return the facts of a query that must not change by themselves."""
    names = (
        *("name", "request", "known", "fields", "cost", "interval_ms", "granularity_ms", "span_ms"),
        *("reach_ms", "settle_ms", "lookback_ms", "deadline_ms", "stream", "ids_kept_ms"),
        *("history", "budget"),
    )
    rules = {
        label: {
            "aliases": dict(rule.aliases),
            "allow": None if rule.allow is None else sorted(rule.allow),
        }
        for label, rule in spec.label_rules.items()
    }
    found: dict[str, Any] = msgspec.to_builtins(
        {name: getattr(spec, name) for name in names}
        | {"fingerprint": spec.fingerprint.hex(), "label_rules": rules}
    )
    return found


def queries(case: str) -> list[dict[str, Any]]:
    """Return the facts of all queries of a target."""
    limits = Limits(label_value_bytes=16 if "lists" in case else 128)
    target = build_target(Privacy(top_messages="allowlist"), limits, **TARGETS[case])
    return [facts(query.spec) for query in target.queries]


@pytest.mark.parametrize("case", TARGETS)
def test_the_facts_of_a_targets_queries_do_not_change(case: str) -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))

    assert json.loads(json.dumps(queries(case))) == golden[case]


if __name__ == "__main__":
    cases = {case: [json.dumps(one) for one in queries(case)] for case in TARGETS}
    lines = ",\n".join(
        f"{json.dumps(case)}: [\n" + ",\n".join(found) + "\n]" for case, found in cases.items()
    )
    GOLDEN.write_text(f"{{\n{lines}\n}}\n", "utf-8")

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

from exporter.config.model import Limits, Privacy
from exporter.model.query import QuerySpec
from tests.providers.vendor import build_target

GOLDEN = Path(__file__).with_name("queries.json")
BOTS = [{"id": "B1", "alias": "care", "versions": ["LIVE", "DRAFT"]}, "B/2"]
HANDOVER = {"family": "chatbot_goals_reached_total", "labels": {"goal": "human"}}
TARGETS: Mapping[str, Mapping[str, Any]] = {
    "flowxo": {"provider": "flowxo", "api_key": "k", "project": "promo"},
    "flowxo lists": {
        "provider": "flowxo",
        "api_key": "k",
        "project": "a project's name of more than sixteen bytes",
        "top_flows": {"limit": 5, "window": "7d"},
        "top_messages": {"allow": ["Hi", "Straße"]},
        "settle": "2h",
        "lookback": "3d",
        "interval": "1m",
        "slow_interval": "2h",
    },
    "voiceflow": {"provider": "voiceflow", "api_key": "k", "projects": ["p1"]},
    "voiceflow all": {
        "provider": "voiceflow",
        "api_key": "k",
        "projects": ["p1", {"id": "p2", "alias": "docs"}],
        "environments": ["main", {"id": "64b1f0aa11bb22cc33dd44ef", "alias": "test"}],
        "queries": [
            "interactions",
            "unique_users",
            "credit_usage",
            "function_usage",
            "api_calls",
            "kb_documents",
            "integrations",
            "top_intents",
        ],
        "slow_interval": "2h",
        "start": "history",
    },
    "voiceflow one environment": {
        "provider": "voiceflow",
        "api_key": "k",
        "projects": ["p1"],
        "environments": ["main"],
    },
    "inkeep": {"provider": "inkeep", "api_key": "k", "project": "docs"},
    "inkeep mapped": {
        "provider": "inkeep",
        "api_key": "k",
        "project": "docs",
        "active_users": {"property": ["properties", "user", "id"], "windows": ["1d", "30d"]},
        "event_map": {"handover": HANDOVER, "slack": "chatbot_messages_received_total"},
        "slow_interval": "3h",
    },
    "xenioo": {"provider": "xenioo", "account_key": "k", "service_url": "https://node.test"},
    "xenioo bot": {
        "provider": "xenioo",
        "account_key": "k",
        "service_url": "https://node.test",
        "bot": "key",
        "timezone": "Europe/Berlin",
        "value_field": "Value",
        "units": {"takeover_rate": "percent"},
        "interval": "2h",
    },
    "chatlayer": {"provider": "chatlayer", "token": "a:b", "bots": BOTS},
    "chatlayer all": {
        "provider": "chatlayer",
        "token": "a:b",
        "bots": BOTS,
        "team_id": "T/1",
        "collectors": [
            "events",
            "conversations",
            "messages",
            "users",
            "knowledge_base",
            "definitions",
            "team_events",
            "team_conversations",
        ],
        "events": {"allow": ["goal"], "active": ["goal"], "event_map": {"handover": HANDOVER}},
        "stream": {"filters": [{"key": "a", "operator": "eq", "value": ["b"]}]},
        "received_kinds": ["understood", "click"],
        "interval": "2m",
        "slow_interval": "2h",
    },
    "chatlayer recount": {
        "provider": "chatlayer",
        "token": "a:b",
        "bots": ["B1"],
        "collectors": ["events"],
        "stream": {"mode": "recount", "overlap": "30m"},
        "start": "history",
    },
}


def facts(spec: QuerySpec) -> dict[str, Any]:
    """Return the facts of a query that must not change by themselves."""
    found: dict[str, Any] = msgspec.to_builtins(
        {
            "name": spec.name,
            "request": spec.request,
            "fingerprint": spec.fingerprint.hex(),
            "known": spec.known,
            "fields": spec.fields,
            "cost": spec.cost,
            "interval_ms": spec.interval_ms,
            "granularity_ms": spec.granularity_ms,
            "span_ms": spec.span_ms,
            "reach_ms": spec.reach_ms,
            "settle_ms": spec.settle_ms,
            "lookback_ms": spec.lookback_ms,
            "deadline_ms": spec.deadline_ms,
            "stream": spec.stream,
            "ids_kept_ms": spec.ids_kept_ms,
            "history": spec.history,
            "budget": spec.budget,
            "label_rules": {
                label: {
                    "aliases": dict(rule.aliases),
                    "allow": None if rule.allow is None else sorted(rule.allow),
                }
                for label, rule in spec.label_rules.items()
            },
        }
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

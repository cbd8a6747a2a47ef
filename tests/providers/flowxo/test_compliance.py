"""Flow XO keeps to what every provider keeps to."""

from exporter.config.model import Privacy
from exporter.errors import SchemaError
from exporter.simulator.conversations import Kind
from tests.providers.compliance import Case, Compliance


class TestFlowXO(Compliance):
    case = Case(
        kind="flowxo",
        requests=r"GET /api/insights(/top_flows|/top_messages)?",
        counts={
            "chatbot_messages_received_total": (Kind.MESSAGE_RECEIVED, {}),
            "chatbot_messages_sent_total": (Kind.MESSAGE_SENT, {}),
            "chatbot_flow_triggers_total": (Kind.FLOW_TRIGGER, {}),
            "chatbot_new_users_total": (Kind.NEW_USER, {}),
        },
        settings={
            "top_flows": {"limit": 3, "window": "24h"},
            "top_messages": {"limit": 5, "window": "24h", "allow": ["hello", "price"]},
        },
        quirks=frozenset(
            {
                *("sparse", "empty_stats", "extra_bucket", "spaced_ids"),
                *("missing_levels", "null_levels"),
            }
        ),
        own_faults={
            ("hourly", "duplicate_row"): SchemaError,
            ("top_flows", "renamed_field"): SchemaError,
        },
        privacy=Privacy(top_messages="allowlist"),
    )

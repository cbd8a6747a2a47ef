"""The peer prometheus_client: 20 families of 5 labels, half counters, served by its own server.

python -m tests.benchmarks.peers.client SERIES
"""

import sys
import threading

from prometheus_client import Counter, Gauge, disable_created_metrics, start_http_server

FAMILIES = 20
LABELS = ("provider", "target", "project", "bot_environment", "channel")
HELP = "Messages received from end users, from the provider's bucketed counts."


def main(series: int) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    for number in range(FAMILIES):
        kind, name = (Counter, "received") if number % 2 else (Gauge, "present")
        family = kind(f"chatbot_things_{name}_{number:02}", HELP, LABELS)
        for at in range(series // FAMILIES):
            source = at // 5
            values = ("flowxo", f"shop-{source:04}", f"project-{source % 50}", "production")
            family.labels(*values, f"channel-{at % 5}").inc(at * 7919 % 1_000_000)
    server, _ = start_http_server(0, "127.0.0.1")
    print(f"127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the answer
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))

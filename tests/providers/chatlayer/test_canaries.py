"""No identifier and no text of an event leaves the process or stays in the ledger."""

from pathlib import Path

import structlog.testing

from exporter.simulator.conversations import Kind
from tests.providers.chatlayer.care import HOUR, MINUTE, Care

CANARIES = ("canary-person", "canary-talk", "canary text", "event-added", "64f0aa")


def test_no_identifier_or_attribute_is_shown_logged_or_kept(tmp_path: Path) -> None:
    care = Care(tmp_path)
    with structlog.testing.capture_logs() as logs:
        care.poll()
        for number in range(30):
            told = {"user": f"canary-person-{number}", "conversation": f"canary-talk-{number}"}
            care.happen(Kind.HANDOVER, **told)  # type: ignore[arg-type]
        care.wait(5 * MINUTE)
        care.poll()
        care.service.faults.on("changed_content")
        care.service.faults.on("truncated", times=1)
        care.poll()
        care.poll()
        care.wait(24 * HOUR)
        care.happen(Kind.HANDOVER, user="canary-person-again", conversation="canary-talk-again")
        care.wait(2 * HOUR)
        care.poll()
        shown = repr(care.ledger.view(care.query().spec.key))
    care.driver.close()

    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert any("poll failed" in entry["event"] for entry in logs)
    assert "rolling_1d" in shown
    for canary in CANARIES:
        assert canary not in shown
        assert canary not in repr(logs)
        assert not [name for name, content in kept.items() if canary.encode() in content]

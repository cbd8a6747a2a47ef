"""What holds for every simulator: counts follow what becomes visible, and nobody is told a key."""

from collections.abc import Callable
from typing import Any

import pytest

from exporter.simulator import SIMULATORS
from exporter.simulator.conversations import Kind
from tests.simulator.test_chatlayer import LIVE, Chatlayer
from tests.simulator.test_flowxo import TWO_HOURS, FlowXO
from tests.simulator.test_inkeep import COUNT, Inkeep, leaf
from tests.simulator.test_voiceflow import Voiceflow
from tests.simulator.test_xenioo import Xenioo
from tests.simulator.vendor import NINE
from tests.support.virtual import START_MS

MESSAGES = {"and": [leaf("type", "eq", "user_message_submitted")]}
COUNTED: dict[type[Any], tuple[Kind, Callable[[Any], int]]] = {
    Chatlayer: (
        Kind.MESSAGE_RECEIVED,
        lambda vendor: sum(
            each["sum"]
            for each in vendor.get("/v1/bots/b7x2k9/messages", **LIVE, bucket="1h")["data"][
                "series"
            ]
        ),
    ),
    FlowXO: (
        Kind.MESSAGE_RECEIVED,
        lambda vendor: vendor.metrics(**TWO_HOURS)[0]["received_messages"],
    ),
    Inkeep: (
        Kind.MESSAGE_RECEIVED,
        lambda vendor: vendor.ask(select=[COUNT], where=MESSAGES)[0]["count_id"],
    ),
    Voiceflow: (Kind.INTERACTION, lambda vendor: vendor.items("interactions")[0]["count"]),
    Xenioo: (Kind.MESSAGE_RECEIVED, lambda vendor: vendor.rows()[0]["Value"]),
}


@pytest.mark.parametrize("simulator", COUNTED)
def test_a_closed_hour_is_revised_in_both_directions(simulator: type[Any]) -> None:
    kind, counted = COUNTED[simulator]
    vendor = simulator()
    kept = vendor.traffic.add(kind, NINE, count=10)
    vendor.traffic.add(kind, NINE, count=4, visible_ms=START_MS + 1_000)
    vendor.traffic.retract(kept[:6], START_MS + 2_000)

    counts = []
    for _ in range(3):
        counts.append(counted(vendor))
        vendor.clock.advance(1)

    assert counts == [10, 14, 8]


def test_every_simulator_is_tested() -> None:
    assert len(COUNTED) == len(SIMULATORS)

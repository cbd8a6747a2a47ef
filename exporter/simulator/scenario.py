"""The scenario of the demo: busy vendors, with something wrong at some of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from exporter.clock import Clock
from exporter.simulator import SIMULATORS, xenioo
from exporter.simulator.conversations import HOUR_MS, Kind, relative_volume
from exporter.simulator.server import Service
from exporter.simulator.traffic import Crowd, Traffic

LATE_MS = 3 * HOUR_MS
DROP_HOURS = 8
DROP_SHARE = 0.3
SPAM = 400
SPAM_AFTER_MS, RETRACTED_AFTER_MS = 15_000, 35_000


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor's conversations per hour, what is wrong with it, and its number of channels."""

    per_hour: float
    drops: bool = False
    delay_ms: int = 0
    retracts: bool = False
    channels: int = 4


VENDORS: Mapping[str, Vendor] = {
    "chatlayer": Vendor(1600, retracts=True),
    "flowxo": Vendor(3000, drops=True),
    "inkeep": Vendor(1000, delay_ms=LATE_MS),
    "voiceflow": Vendor(1600),
    "xenioo": Vendor(800, channels=1),
}


def services(clock: Clock, seed: int, *, xenioo_period_ms: int) -> dict[str, Service]:
    """Return every simulator, busy at any hour, with as many weeks of history as are requested.

    One bot's traffic has dropped in the last hours, one vendor is three hours late, and one shows
    conversations that it retracts after half a minute.
    """
    now_ms = clock.now_ms()
    builders = SIMULATORS | {"xenioo": partial(xenioo.build, period_ms=xenioo_period_ms)}
    found = {}
    for number, (name, vendor) in enumerate(VENDORS.items()):
        crowd = Crowd(
            seed + number,
            _volume(vendor, now_ms),
            live_ms=now_ms,
            delay_ms=vendor.delay_ms,
            channels=vendor.channels,
        )
        traffic = Traffic(crowd=crowd)
        if vendor.retracts:
            spam = traffic.add(
                *(Kind.CONVERSATION_STARTED, now_ms + SPAM_AFTER_MS),
                amount=SPAM,
                channel="web",
                environment="main",
            )
            traffic.retract(spam, now_ms + RETRACTED_AFTER_MS)
        found[name] = builders[name](clock, traffic)
        found[name].keeps_log = False  # the demo may run for days, and the log would grow
    return found


def _volume(vendor: Vendor, now_ms: int) -> Callable[[int], float]:
    drop_hour = now_ms // HOUR_MS - DROP_HOURS

    def volume(hour: int) -> float:
        share = DROP_SHARE if vendor.drops and hour >= drop_hour else 1
        return vendor.per_hour * (1 + relative_volume(hour)) / 2 * share

    return volume

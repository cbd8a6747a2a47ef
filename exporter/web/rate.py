"""A token bucket over all requests, as the exporter toolkit's ``rate_limit``."""

from exporter.clock import MILLISECONDS, Clock
from exporter.web.options import RateOptions


class TokenBucket:
    """Tokens that come back with time; full at first, and again when the rate is changed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rate: RateOptions | None = None
        self._tokens = 0.0
        self._at = 0.0

    def allows(self, rate: RateOptions | None) -> bool:
        """Return whether one more request may pass now under ``rate``, and count it if so."""
        if rate is None or not rate.interval:
            return True
        self._refill(rate)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self, rate: RateOptions) -> None:
        now = self._clock.monotonic()
        if rate != self._rate:
            self._rate, self._tokens, self._at = rate, float(rate.burst), now
        earned = (now - self._at) * MILLISECONDS / rate.interval
        self._tokens, self._at = min(float(rate.burst), self._tokens + earned), now

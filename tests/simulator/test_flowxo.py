"""The simulator of Flow XO against the documented requests."""

import pytest

from exporter.simulator.flowxo import KEY, build
from tests.simulator.vendor import Vendor

RANGE = {"start": "2026-03-03T09:00:00.000Z", "end": "2026-03-03T11:00:00.000Z"}
HOURLY = {"unit": "hour", "offset": "0"} | RANGE


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(build, f"Bearer {KEY}")


@pytest.mark.parametrize(
    ("wrong", "key", "status"),
    [
        *(({}, key, 401) for key in ("", "Bearer x", KEY, f"Basic {KEY}")),
        ({"unit": "week"}, None, 400),
        ({"start": "soon"}, None, 400),
        ({"end": "1772536800"}, None, 400),
        ({"offset": "UTC"}, None, 400),
        ({"other": ""}, None, 400),
    ],
)
def test_a_wrong_request_is_refused(
    vendor: Vendor, wrong: dict[str, str], key: str | None, status: int
) -> None:
    answer = vendor.send("GET", "/api/insights", params=HOURLY | wrong, authorization=key)

    assert answer.status_code == status

"""The fake of Flow XO against the documented requests and responses."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import FLOWS, TEXTS, Kind
from exporter.simulator.flowxo import KEY, build
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic
from tests.support.virtual import START_MS, VirtualClock

HOUR = 3_600_000
DAY = 24 * HOUR
TODAY = START_MS // DAY * DAY  # 2026-03-03; now is 11:20
ADDED = ("new_users", "triggers", "received_messages", "sent_messages")
LEVELS = ("active_users", "total_users")
MONTHS = {"offset": "0", "start": "2026-01-01", "end": "2026-03-01", "unit": "month"}
YESTERDAY = {"start": "2026-03-02T00:00:00.000Z", "end": "2026-03-03T00:00:00.000Z"}


class Vendor:
    def __init__(self, clock: VirtualClock, ask: Callable[..., httpx.Response]) -> None:
        self.clock = clock
        self.traffic = Traffic()
        self.send = ask
        self.service: Service = build(clock, self.traffic)

    def generate(self) -> None:
        self.traffic = Traffic(5, per_hour=30)
        self.service = build(self.clock, self.traffic)

    def get(self, path: str = "", key: str = f"Bearer {KEY}", **params: str) -> httpx.Response:
        headers = {"authorization": key}
        return self.send(
            self.service, "GET", f"/api/insights{path}", params=params, headers=headers
        )

    def insights(self, **params: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(**params).json()
        return found

    def metrics(self, **params: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.insights(**params)["metrics"]
        return found


@pytest.fixture
def vendor(clock: VirtualClock, ask: Callable[..., httpx.Response]) -> Vendor:
    return Vendor(clock, ask)


def test_the_vendors_example_has_its_shape_and_arithmetic(vendor: Vendor) -> None:
    january, february = TODAY - 50 * DAY, TODAY - 10 * DAY
    for number in range(9):
        vendor.traffic.add(Kind.NEW_USER, january, user=f"u{number}")
        vendor.traffic.add(Kind.MESSAGE_RECEIVED, january, count=11, user=f"u{number}")
    vendor.traffic.add(Kind.FLOW_TRIGGER, january, count=100)
    vendor.traffic.add(Kind.NEW_USER, february, user="u9")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, february, count=7, user="u9")
    vendor.traffic.add(Kind.FLOW_TRIGGER, february, count=4)
    vendor.traffic.add(Kind.MESSAGE_SENT, february, count=5, user="u0")

    assert vendor.insights(**MONTHS) == {
        "stats": [
            {
                "_id": None,
                "active_users": 2,
                "total_users": 10,
                "new_users": 10,
                "triggers": 104,
                "received_messages": 106,
                "sent_messages": 5,
            }
        ],
        "metrics": [
            {
                "_id": "2026-01",
                "_timestamp": "2026-01-01T00:00:00.000Z",
                "active_users": 9,
                "total_users": 9,
                "new_users": 9,
                "triggers": 100,
                "received_messages": 99,
                "sent_messages": 0,
            },
            {
                "_id": "2026-02",
                "_timestamp": "2026-02-01T00:00:00.000Z",
                "active_users": 2,
                "total_users": 10,
                "new_users": 1,
                "triggers": 4,
                "received_messages": 7,
                "sent_messages": 5,
            },
        ],
    }


@pytest.mark.parametrize("unit", ["hour", "day"])
def test_stats_are_the_sums_and_the_last_levels(vendor: Vendor, unit: str) -> None:
    vendor.generate()

    found = vendor.insights(**YESTERDAY, unit=unit)

    (stats,), metrics = found["stats"], found["metrics"]
    assert len(metrics) == {"hour": 24, "day": 1}[unit]
    assert {name: stats[name] for name in ADDED} == {
        name: sum(row[name] for row in metrics) for name in ADDED
    }
    assert {name: stats[name] for name in LEVELS} == {name: metrics[-1][name] for name in LEVELS}
    assert stats["received_messages"] == vendor.traffic.truth(
        Kind.MESSAGE_RECEIVED, (TODAY - DAY, TODAY), START_MS
    )


def test_known_users_rise_by_the_new_ones(vendor: Vendor) -> None:
    vendor.generate()

    rows = vendor.metrics(**YESTERDAY, unit="hour")

    assert sum(row["new_users"] for row in rows) > 20
    for before, after in pairwise(rows):
        assert after["total_users"] == before["total_users"] + after["new_users"]


def test_active_users_fall_after_thirty_days(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY - 31 * DAY, user="u1")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY - 3 * DAY, user="u2")

    rows = vendor.metrics(start="2026-03-01", end="2026-03-04", unit="day")

    assert [row["active_users"] for row in rows] == [2, 1, 1]


@pytest.mark.parametrize("key", ["", "Bearer x", KEY, f"Basic {KEY}"])
def test_only_a_bearer_key_is_authorised(vendor: Vendor, key: str) -> None:
    assert vendor.get(key=key).status_code == 401
    assert vendor.get("/top_flows", key=key).status_code == 401
    assert vendor.get("/top_messages", key=key).status_code == 401


@pytest.mark.parametrize(
    "params", [{"unit": "week"}, {"start": "soon"}, {"end": "1772536800"}, {"offset": "UTC"}]
)
def test_a_bad_parameter_is_400(vendor: Vendor, params: dict[str, str]) -> None:
    assert vendor.get(**params).status_code == 400


@pytest.mark.parametrize(
    ("offset", "timestamps"),
    [
        ("0", ["2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00.000Z"]),
        ("-480", ["2026-03-01T08:00:00.000Z", "2026-03-02T08:00:00.000Z"]),
        ("60", ["2026-02-28T23:00:00.000Z", "2026-03-01T23:00:00.000Z"]),
    ],
)
def test_the_offset_moves_the_borders_of_days(
    vendor: Vendor, offset: str, timestamps: list[str]
) -> None:
    rows = vendor.metrics(offset=offset, start="2026-03-01", end="2026-03-03", unit="day")

    assert [row["_timestamp"] for row in rows] == timestamps
    assert [row["_id"] for row in rows] == ["2026-03-01", "2026-03-02"]


def test_a_timestamp_may_be_local_time_with_a_false_zone(vendor: Vendor) -> None:
    vendor.service.faults.on("local_timestamp")

    (row,) = vendor.metrics(offset="-480", start="2026-03-01", end="2026-03-02", unit="day")

    assert row["_timestamp"] == "2026-03-01T00:00:00.000Z"


@pytest.mark.parametrize(("spaced", "name"), [(False, "2026-03-02T00"), (True, "2026-03-02 00:00")])
def test_the_id_of_an_hour_is_a_guess(vendor: Vendor, name: str, *, spaced: bool) -> None:
    vendor.service.faults.on("spaced_ids", times=int(spaced))

    assert vendor.metrics(**YESTERDAY, unit="hour")[0]["_id"] == name


@pytest.mark.parametrize("mode", ["now", "end_date_inclusive"])
def test_a_bare_date_as_end_means_its_midnight_or_all_of_it(vendor: Vendor, mode: str) -> None:
    inclusive = mode == "end_date_inclusive"
    vendor.service.faults.on("end_date_inclusive", times=int(inclusive))

    rows = vendor.metrics(start="2026-03-01", end="2026-03-02", unit="day")

    assert len(rows) == 1 + inclusive


def test_without_an_end_the_last_unit_is_open_and_grows(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, START_MS, count=2, user="u1")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, START_MS + 1, count=3, user="u2")
    asked = {"start": "2026-03-03T10:00:00.000Z", "unit": "hour"}
    before = vendor.metrics(**asked)

    vendor.clock.advance(1)

    after = vendor.metrics(**asked)
    assert [row["received_messages"] for row in before] == [0, 2]
    assert [row["received_messages"] for row in after] == [0, 5]
    assert [row["active_users"] for row in (before[1], after[1])] == [1, 2]


def test_a_start_inside_a_unit_cuts_it_or_not(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.FLOW_TRIGGER, TODAY + HOUR, count=4)
    vendor.traffic.add(Kind.FLOW_TRIGGER, TODAY + 3 * HOUR, count=1)
    asked = {"start": "2026-03-03T02:00:00.000Z", "unit": "day"}
    (cut,) = vendor.metrics(**asked)

    vendor.service.faults.on("whole_first_bucket")

    (whole,) = vendor.metrics(**asked)
    assert cut["_timestamp"] == whole["_timestamp"] == "2026-03-03T00:00:00.000Z"
    assert (cut["triggers"], whole["triggers"]) == (1, 5)


def test_units_without_activity_are_dense_or_sparse(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.FLOW_TRIGGER, TODAY - 5 * HOUR)
    dense = vendor.metrics(**YESTERDAY, unit="hour")

    vendor.service.faults.on("sparse")

    (row,) = vendor.metrics(**YESTERDAY, unit="hour")
    assert len(dense) == 24
    assert row["_timestamp"] == "2026-03-02T19:00:00.000Z"


def test_stats_may_be_empty(vendor: Vendor) -> None:
    vendor.service.faults.on("empty_stats")

    assert vendor.insights(**YESTERDAY, unit="day")["stats"] == []


def test_an_extra_unit_may_start_at_the_end(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.FLOW_TRIGGER, TODAY, count=3)
    vendor.service.faults.on("extra_bucket")

    rows = vendor.metrics(**YESTERDAY, unit="day")

    assert [(row["_timestamp"], row["triggers"]) for row in rows] == [
        ("2026-03-02T00:00:00.000Z", 0),
        ("2026-03-03T00:00:00.000Z", 3),
    ]


def test_levels_may_be_absent_or_null(vendor: Vendor) -> None:
    vendor.service.faults.on("missing_levels", times=1)
    vendor.service.faults.on("null_levels", skip=1)

    (missing,), (null,) = (vendor.metrics(**YESTERDAY, unit="day") for _ in range(2))

    assert not missing.keys() & set(LEVELS)
    assert [null[name] for name in LEVELS] == [None, None]
    assert missing["triggers"] == null["triggers"] == 0


def test_a_closed_hour_may_be_revised_in_both_directions(vendor: Vendor) -> None:
    at = TODAY - HOUR
    kept = vendor.traffic.add(Kind.FLOW_TRIGGER, at, count=10)
    vendor.traffic.add(Kind.FLOW_TRIGGER, at, count=4, visible_ms=START_MS + 1_000)
    vendor.traffic.retract(kept[:6], START_MS + 2_000)

    counts = []
    for _ in range(3):
        counts.append(vendor.metrics(**YESTERDAY, unit="hour")[-1]["triggers"])
        vendor.clock.advance(1)

    assert counts == [10, 14, 8]


def test_top_messages_are_a_bare_list_of_texts(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY - 1, count=12, text="hello")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY - 1, count=7, text="/start")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY - 1, count=2, text='"two"\nlines 😀')
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY, count=99, text="too late")

    asked = {"start": "2026-03-02", "end": "2026-03-03"}

    assert vendor.get("/top_messages", **asked, limit="2").json() == [
        {"_id": "hello", "count": 12},
        {"_id": "/start", "count": 7},
    ]
    assert vendor.get("/top_messages", **asked).json()[2]["_id"] == '"two"\nlines 😀'


def test_five_messages_are_the_default_of_more(vendor: Vendor) -> None:
    vendor.generate()

    rows = vendor.get("/top_messages", **YESTERDAY).json()

    assert len(rows) == 5 < len(TEXTS)
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)


def test_top_flows_have_objects_as_ids_and_names_repeat(vendor: Vendor) -> None:
    vendor.generate()

    rows = vendor.get("/top_flows", **YESTERDAY, limit="20").json()

    names = [row["_id"]["name"] for row in rows]
    assert {row["_id"]["id"] for row in rows} == set(FLOWS)
    assert names.count("Untitled Flow") == 2
    assert sum(row["count"] for row in rows) == vendor.traffic.truth(
        Kind.FLOW_TRIGGER, (TODAY - DAY, TODAY), START_MS
    )


@pytest.mark.parametrize(
    ("fault", "status"),
    [("html_200", 200), ("html_502", 502), ("login_redirect", 302), ("throttled", 429)],
)
def test_the_website_answers_in_the_apis_place(vendor: Vendor, fault: str, status: int) -> None:
    vendor.service.faults.on(fault)

    answer = vendor.get()

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html") == (fault != "throttled")


def test_the_log_has_the_rows_and_not_the_key(vendor: Vendor) -> None:
    rows = vendor.metrics(**YESTERDAY, unit="day")

    (seen,) = vendor.service.requests
    assert list(seen.rows) == rows
    assert seen.params == {**YESTERDAY, "unit": "day"}
    assert KEY not in repr(seen)

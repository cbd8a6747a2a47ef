"""Pages of the fake of Voiceflow: limits, cursors, and how lists end."""

from collections.abc import Callable

import httpx
import pytest

from exporter.simulator.conversations import Kind
from tests.simulator.voiceflow_vendor import HOUR, NINE, Vendor
from tests.support.virtual import VirtualClock


@pytest.fixture
def vendor(clock: VirtualClock, ask: Callable[..., httpx.Response]) -> Vendor:
    return Vendor(clock, ask)


def test_a_limit_of_100_is_the_default(vendor: Vendor) -> None:
    for number in range(101):
        vendor.traffic.add(Kind.KB_HIT, NINE, document=f"doc-{number}")

    assert len(vendor.result("kb_documents")["items"]) == 100


def test_pages_cover_every_row_once_and_end_with_an_empty_one(vendor: Vendor) -> None:
    vendor.generate()
    whole = vendor.result("kb_documents", limit=500)["items"]

    pages = vendor.pages("kb_documents", 20)

    paged = [item for page in pages for item in page["items"]]
    assert paged == whole
    assert pages[-1] == {"items": []}
    assert all("cursor" in page for page in pages[:-1])
    assert len(pages) > 3


def test_rows_are_not_in_time_order(vendor: Vendor) -> None:
    vendor.generate()

    periods = [item["period"] for item in vendor.result("interactions", limit=500)["items"]]

    assert periods != sorted(periods)
    assert periods != sorted(periods, reverse=True)


def test_a_growing_row_keeps_its_place(vendor: Vendor) -> None:
    for hour in range(8):
        vendor.traffic.add(Kind.INTERACTION, NINE - hour * HOUR)
    before = vendor.result("interactions")

    vendor.traffic.add(Kind.INTERACTION, NINE, count=4)

    after = vendor.result("interactions")
    assert [item["period"] for item in after["items"]] == [
        item["period"] for item in before["items"]
    ]
    assert after["cursor"] == before["cursor"]


def test_the_last_page_may_lack_a_cursor(vendor: Vendor) -> None:
    vendor.generate()
    whole = vendor.result("kb_documents", limit=500)["items"]
    vendor.service.faults.on("end_without_cursor")

    pages = vendor.pages("kb_documents", 20)

    assert pages[-1]["items"]
    assert [item for page in pages for item in page["items"]] == whole


def test_the_empty_page_may_have_a_cursor(vendor: Vendor) -> None:
    vendor.service.faults.on("end_with_cursor")

    assert vendor.result("interactions") == {"items": [], "cursor": 0}


def test_the_first_cursor_may_be_zero(vendor: Vendor) -> None:
    vendor.generate()
    whole = vendor.result("kb_documents", limit=500)["items"]
    vendor.service.faults.on("zero_cursor")

    pages = vendor.pages("kb_documents", 20)

    assert pages[0]["cursor"] == 0
    assert [item for page in pages for item in page["items"]] == whole


def test_a_repeated_cursor_comes_with_the_same_rows_for_ever(vendor: Vendor) -> None:
    vendor.generate()
    vendor.service.faults.on("repeated_cursor")

    first, *others = vendor.pages("kb_documents", 20, most=4)

    assert others == [first] * 3

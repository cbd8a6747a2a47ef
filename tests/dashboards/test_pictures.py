"""Pictures of panels: of panels that there are, with every gap left open."""

import pytest

from scripts.panel_pictures import PANELS, Drawn, panel_of, path_of, picture
from tests.dashboards.demo import HOUR_S

SPAN = (0, 24 * HOUR_S)


@pytest.mark.parametrize(("uid", "title", "days"), PANELS)
def test_a_picture_is_of_a_panel_with_its_legend(uid: str, title: str, days: int) -> None:
    committed = path_of(uid, title).read_text(encoding="utf-8")

    assert days > 0
    assert f"<title>{title}</title>" in committed
    for target in panel_of(uid, title)["targets"]:
        fixed = target["legendFormat"].rpartition("}}")[2].strip()
        assert fixed in committed


def test_hours_without_data_stay_open() -> None:
    points = [(at * HOUR_S, 10.0) for at in (0, 1, 2, 6, 7, 8)]

    shown = picture("Engagement", SPAN, [Drawn("shop", 'stroke="#000"', points)])

    assert shown.count("<polyline") == 2


def test_values_have_their_place_on_the_axis() -> None:
    shown = picture("Engagement", SPAN, [Drawn("a & b", "", [(0, 0.0), (SPAN[1], 50.0)])])

    assert [mark for mark in range(100) if f'"end">{mark}<' in shown] == [0, 20, 40]
    assert '"848.0,49.0"' in shown  # 50 of the 54 at which the axis ends, above the highest value
    assert ">a &amp; b<" in shown

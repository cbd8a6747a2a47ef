"""The file that backfill writes: its form, its instants, and what its gauges show."""

from contextlib import closing
from itertools import accumulate, groupby, pairwise
from math import isnan
from pathlib import Path
from random import Random

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.engagement.hours import Calendar, HourlyCounts
from exporter.errors import LedgerError
from exporter.exposition.backfill.past import bot_gauges, gauge_steps
from exporter.exposition.backfill.source import PastKind
from exporter.ledger.hours import BotLabels
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from tests.exposition.backfill.scene import MINUTE_MS, Scene, lived
from tests.exposition.backfill.scene import samples as lines_of

STEP_S = 240
RECEIVED = "chatbot_messages_received_total"
Key = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture(scope="module")
def written(scene: Scene) -> str:
    return scene.backfilled()


def series(text: str) -> dict[Key, list[Sample]]:
    """Return samples by series, in the order of the file; fails where a series comes twice."""
    found: dict[Key, list[Sample]] = {}
    every = (
        each
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for each in family.samples
    )
    for key, same in groupby(every, lambda each: (each.name, tuple(sorted(each.labels.items())))):
        assert key not in found
        found[key] = list(same)
    return found


def instant_ms(sample: Sample) -> int:
    assert sample.timestamp is not None
    return round(float(sample.timestamp) * 1000)


def test_every_series_is_in_order_dense_and_ends_before_the_first_poll(
    scene: Scene, written: str
) -> None:
    for (name, _), samples in series(written).items():
        instants = [instant_ms(each) for each in samples]
        gaps = [later - earlier for earlier, later in pairwise(instants)]
        assert min(gaps) > 0, name
        assert max(gaps) <= STEP_S * 1000, name
        assert scene.first_ms - STEP_S * 1000 <= instants[-1] < scene.first_ms, name
        assert instants[0] >= scene.floor_ms, name


def test_every_end_of_an_hour_has_a_sample_and_a_counter_begins_with_0(written: str) -> None:
    for (name, _), samples in series(written).items():
        if name.endswith("_total"):
            instants = {instant_ms(each) for each in samples}
            assert set(range(min(instants), max(instants), HOUR_MS)) <= instants
            assert samples[0].value == 0 < samples[-1].value


def test_families_come_once_with_their_type_and_the_file_ends(written: str) -> None:
    types = [line for line in written.splitlines() if line.startswith("# TYPE")]

    assert len(types) == len(set(types)) == 10
    assert written.endswith("# EOF\n")


def test_labels_are_those_of_a_scrape_without_empty_ones(scene: Scene, written: str) -> None:
    (labels,) = (dict(labels) for name, labels in series(written) if name == RECEIVED)

    assert labels == {"provider": "flowxo", "target": "promo", "project": "promo", **scene.labels}


@pytest.mark.parametrize("step_ms", [7 * MINUTE_MS, HOUR_MS, DAY_MS])
def test_another_step_keeps_every_end_of_an_hour(scene: Scene, step_ms: int) -> None:
    found = series(scene.backfilled([PastKind.COUNTERS], step_ms=step_ms))

    for samples in found.values():
        instants = [instant_ms(each) for each in samples]
        assert set(range(instants[0], instants[-1], HOUR_MS)) <= set(instants)
        assert max(b - a for a, b in pairwise(instants)) <= min(step_ms, HOUR_MS)


def test_parts_of_the_time_together_are_the_whole(scene: Scene, written: str) -> None:
    middle = scene.first_ms - 10 * HOUR_MS - 100_001
    parts = [scene.backfilled(within=w) for w in (Window(0, middle), Window(middle, 2**53))]

    first, second = ([*lines_of(each)] for each in parts)

    assert sorted(first + second) == sorted(lines_of(written))
    assert first
    assert second


@pytest.mark.parametrize("start", ["zero", "history"])
def test_hours_that_are_retired_while_it_is_written_change_no_value(
    tmp_path: Path, start: str
) -> None:
    kinds = [PastKind.COUNTERS, PastKind.PERIODS]
    with lived(tmp_path, 12, start) as scene, closing(scene.opened()) as past:
        whole = scene.written(past, kinds)
        scene.retire(hours=6)
        later = scene.written(past, kinds)

    lines, known = later.splitlines(), set(whole.splitlines())
    assert len(lines) < len(known)
    assert known.issuperset(lines)


def test_after_a_new_baseline_counters_begin_with_0_and_end_before_the_first_poll_of_all(
    tmp_path: Path,
) -> None:
    with lived(tmp_path, 12) as scene, closing(scene.opened()) as past:
        scene.rebase()
        with pytest.raises(LedgerError, match="promo/hourly: its settings changed meanwhile"):
            scene.written(past)
        found = series(scene.backfilled())

    assert found
    for (name, _), samples in found.items():
        assert samples[0].value == 0 or not name.endswith("_total")
        assert instant_ms(samples[-1]) < scene.first_ms


def test_after_a_new_baseline_no_history_that_counted_is_written(tmp_path: Path) -> None:
    with lived(tmp_path, 12, "history") as scene:
        scene.rebase()
        kept = series(scene.backfilled())
        scene.rebase(history=False)
        dropped = series(scene.backfilled())

    assert kept == dropped == {}  # when they were first scraped is not known


@pytest.mark.slow
def test_period_gauges_are_those_that_an_earlier_start_would_have_shown(tmp_path: Path) -> None:
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
    early = Scene(tmp_path / "early", 3, late_share=0, earlier_ms=DAY_MS)
    late = Scene(tmp_path / "late", 3, late_share=0)
    late.live()
    early.live(polls=36)
    shown: dict[Key, dict[int, float]] = {}
    for line in early.scraped:
        if line.startswith("chatbot_period"):
            text, at_s = line.rsplit(" ", 1)
            ((key, samples),) = series(f"{text}\n# EOF\n").items()
            own = shown.setdefault(_without_empty(key), {})
            own[round(float(at_s) * 1000)] = samples[0].value
    compared = 0

    for key, samples in series(late.backfilled([PastKind.PERIODS])).items():
        values = {instant_ms(each): each.value for each in samples}
        for at_ms, value in shown.get(key, {}).items():
            before = [each for each in values if each <= at_ms]
            if before and at_ms < late.first_ms:
                compared += 1
                assert values[max(before)] == value

    assert compared > 100
    early.close()
    late.close()


def _without_empty(key: Key) -> Key:
    return key[0], tuple(pair for pair in key[1] if pair[1])


def test_the_same_past_gives_the_same_bytes(scene: Scene, written: str) -> None:
    assert scene.backfilled() == written


BOT = BotLabels("flowxo", "promo", "promo", "")
WEEK = 168
START_MS = 1_772_409_600_000
rng = Random(4)  # noqa: S311 - the same hours each time
COUNTS = tuple(float(rng.randint(5, 40) * (3 if n % 24 > 8 else 1)) for n in range(10 * 24))
WHOLE = bot_gauges(BOT, HourlyCounts(START_MS, COUNTS), Calendar())


@pytest.mark.parametrize("hours", [50, WEEK, WEEK + 1, 200])
def test_an_hour_shows_what_it_showed_before_later_ones_were_known(hours: int) -> None:
    cut = bot_gauges(BOT, HourlyCounts(START_MS, COUNTS[:hours]), Calendar())

    assert cut.keys() == WHOLE.keys()
    for key, values in cut.items():
        assert repr(values.tolist()) == repr(WHOLE[key][:hours].tolist())


def test_engagement_is_absent_for_a_week_and_then_the_sum_of_its_window() -> None:
    shown = WHOLE["chatbot_engagement", (*BOT, "6h")]
    sums = [0.0, *accumulate(COUNTS)]

    assert all(map(isnan, shown[: WEEK - 1]))
    assert shown[WEEK:].tolist() == [sums[n + 1] - sums[n - 5] for n in range(WEEK, len(COUNTS))]
    weeks = WHOLE["chatbot_engagement_history_weeks", BOT]
    assert (weeks[0], weeks[WEEK - 1]) == (round(1 / WEEK, 3), 1)


def test_an_hour_is_shown_from_when_it_settled() -> None:
    found = gauge_steps(WHOLE["chatbot_engagement_score", (*BOT, "1h")], START_MS)

    assert [at_ms for at_ms, _ in found] == [START_MS + n * HOUR_MS for n in range(len(COUNTS))]
    assert found[0][1] is None
    assert found[-1][1] is not None

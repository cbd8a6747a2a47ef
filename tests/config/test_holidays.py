"""Holidays of targets: what the setting takes, and which days are one."""

import datetime as dt
from pathlib import Path

import pytest

from exporter.config import holidays, loads
from exporter.config.holidays import holiday_calendar
from exporter.errors import SettingsError
from tests.support.settings import ENVIRON, OPTIONS


def named(setting: str, folder: Path = Path()) -> tuple[str, ...]:
    """Return the holidays of a target with this setting."""
    key = "provider: flowxo, api_key: {env: VOICEFLOW_API_KEY}, project: a"
    text = f"version: 1\ntargets: [{{name: a, {key}, holidays: {setting}}}]"
    return loads(text, OPTIONS, ENVIRON, file=str(folder / "exporter.yaml")).targets[0].holidays


@pytest.mark.parametrize(
    ("setting", "free", "usual"),
    [
        ("DE", "2026-12-25", "2026-11-26"),
        ("US-CA", "2026-11-26", "2026-12-26"),
        ("[DE-BY, 2026-07-01]", "2026-01-06", "2026-12-24"),
        ("[DE, '2026-07-01']", "2026-07-01", "2027-07-01"),
        ("{file: days.txt}", "2026-12-24", "2026-12-25"),
    ],
)
def test_countries_regions_dates_and_files_say_which_days_are_holidays(
    setting: str, free: str, usual: str, tmp_path: Path
) -> None:
    (tmp_path / "days.txt").write_text("# closed\n\n2026-12-24  # Christmas Eve\n", "utf-8")

    holiday = holiday_calendar(named(setting, tmp_path))

    names = [holiday(dt.date.fromisoformat(day)) for day in (free, usual)]
    assert [name is not None for name in names] == [True, False]


def test_a_country_needs_the_extra_and_dates_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holidays, "find_spec", lambda _: None)

    assert named("[2026-12-24]") == ("2026-12-24",)
    with pytest.raises(SettingsError) as caught:
        named("DE")
    assert str(caught.value).endswith(
        "targets[0].holidays: the package holidays is not installed; "
        "pip install 'chatbot-exporter[holidays]', or list the dates"
    )

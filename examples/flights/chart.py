"""Draw the share of late departures of each airline as an SVG. The `chart` step of flights.yaml runs this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, ROW, TOP, LEFT, RIGHT = 860, 28, 92, 210, 60
"""Pixels: the picture, a row, the space above the rows, for names, and for figures."""
BAR, MARK, GRID, TEXT, FAINT = "#4878a8", "#c8502d", "#e3e3e3", "#222222", "#6a6a6a"

Airlines = Sequence[dict[str, Any]]


def main(airlines: Airlines, overall: dict[str, Any], late_minutes: int, out: str, execution_id: str) -> dict[str, str]:
    target = Path(out) / "delays.svg"
    partial = target.with_name(f"{target.name}.{execution_id}")
    partial.write_text(draw(airlines, overall["late_share"], late_minutes), encoding="utf-8")
    partial.replace(target)  # whoever looks sees the old picture or the new one, never a half
    return {"file": str(target)}


def draw(airlines: Airlines, average: float, late_minutes: int) -> str:
    rows = sorted(airlines, key=lambda airline: airline["late_share"], reverse=True)
    largest = max(max(row["late_share"], row["bad_weather_late_share"] or 0) for row in rows)
    scale = Scale(largest)
    height = TOP + ROW * len(rows) + 34
    parts = [
        *head(height, late_minutes),
        *grid(scale, height),
        *(part for number, row in enumerate(rows) for part in bar(row, TOP + ROW * number, scale)),
        *average_line(average, scale, height),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Scale:
    """From shares to pixels, up to the next tenth above the largest."""

    def __init__(self, largest: float) -> None:
        self.tenths = int(largest * 10) + 1

    def x(self, share: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * share * 10 / self.tenths, 1)


def head(height: int, late_minutes: int) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif">'
    yield f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    yield text(20, 34, f"Departures from New York that were at least {late_minutes} minutes late", size=19, weight="bold")
    yield text(20, 58, "2013, share of the departures of each airline. The mark: in rain, snow or poor sight.", size=13, fill=FAINT)


def grid(scale: Scale, height: int) -> Iterator[str]:
    for tenth in range(scale.tenths + 1):
        x = scale.x(tenth / 10)
        yield f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 26}" stroke="{GRID}"/>'
        yield text(x, height - 10, f"{tenth * 10} %", size=11, anchor="middle", fill=FAINT)


def bar(row: dict[str, Any], y: int, scale: Scale) -> Iterator[str]:
    share, in_bad_weather = row["late_share"], row["bad_weather_late_share"]
    end, count = scale.x(share), f"{row['late']} of {row['departed']}"
    yield text(LEFT - 8, y + 14, row["name"], size=12, anchor="end")
    yield f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{ROW - 10}" fill="{BAR}"><title>{count}</title></rect>'
    fits = end - LEFT > ROW
    yield text((LEFT if fits else end) + 6, y + 13, f"{share:.0%}", size=11, fill="#ffffff" if fits else TEXT)
    if in_bad_weather is not None:
        yield f'<circle cx="{scale.x(in_bad_weather)}" cy="{y + ROW / 2 - 5}" r="4.5" fill="{MARK}"><title>{in_bad_weather:.0%}</title></circle>'


def average_line(average: float, scale: Scale, height: int) -> Iterator[str]:
    x = scale.x(average)
    yield f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 26}" stroke="{TEXT}" stroke-dasharray="4 3"/>'
    yield text(x, TOP - 13, f"all: {average:.1%}", size=11, anchor="middle")


def text(x: float, y: float, content: str, *, size: int, anchor: str = "start", weight: str = "normal", fill: str = TEXT) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{fill}">{escape(content)}</text>'

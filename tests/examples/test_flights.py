"""The flights example: its figures are right, it survives kill -9 anywhere, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.cli.command import document, ended, read_until
from tests.examples.facts import Facts
from tests.examples.place import FLIGHTS_PATH, Place, results
from tests.tools.sandbox_news import await_deaths

FLIGHTS = f"{FLIGHTS_PATH}.yaml"
SVG = "{http://www.w3.org/2000/svg}"


def of_airlines(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        row["carrier"]: {name: value if value is None or isinstance(value, str) else pytest.approx(value) for name, value in row.items()}
        for row in rows
    }


def parquet_rows(file: Path) -> list[dict[str, Any]]:
    cursor = duckdb.connect().execute("SELECT * FROM read_parquet($file)", {"file": str(file)})
    columns = [column[0] for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def bars_of(chart: Path) -> list[tuple[str, str]]:
    """(airline, what the bar's tooltip says), from top to bottom."""
    picture = ET.parse(chart).getroot()
    names = [element.text or "" for element in picture.iter(f"{SVG}text") if element.get("text-anchor") == "end"]
    tips = [tip.text or "" for bar in picture.iter(f"{SVG}rect") if (tip := bar.find(f"{SVG}title")) is not None]
    return list(zip(names, tips, strict=True))


def assert_outputs(out: Path, facts: Facts) -> None:
    """The files hold the right figures, the worst airline first, and nothing half-written lies beside them."""
    rows = parquet_rows(out / "delays.parquet")
    assert of_airlines(rows) == facts.airlines
    worst_first = sorted(facts.airlines.values(), key=lambda airline: airline["late_share"], reverse=True)
    assert [row["carrier"] for row in rows] == [airline["carrier"] for airline in worst_first]
    assert bars_of(out / "delays.svg") == [(airline["name"], f"{airline['late']} of {airline['departed']}") for airline in worst_first]
    assert sorted(path.name for path in out.iterdir()) == ["delays.parquet", "delays.svg", "flights.csv"]


def test_the_figures_are_those_of_the_tables(place: Place, facts: Facts) -> None:
    report = place.report(FLIGHTS, "--set", f"out={place.out}")
    found = results(report)
    assert of_airlines(found["delays"]["results"]) == facts.airlines
    assert found["overall"] == pytest.approx(facts.overall)
    causes = [tuple(row[name] for name in ("origin", "from_hour", "in_bad_weather", "departed", "late_share")) for row in found["causes"]]
    assert causes == [(*cause[:-1], pytest.approx(cause[-1])) for cause in facts.causes]
    assert_outputs(place.out, facts)


def test_the_service_refuses_twice_and_the_retries_get_through(place: Place) -> None:
    report = place.report(FLIGHTS, "--set", f"out={place.out}")
    assert results(report)["service"] == {"calls": 4, "refused": 2, "ended_by": "request"}
    failures = [event for event in place.events(report["execution_id"]) if event["name"] == "AttemptFailed"]
    assert {event["step"] for event in failures} == {"airlines"}
    refused = [event["data"]["error"] for event in failures if event["data"]["error"]["kind"] == "server_error"]
    assert [(error["status"], error["retry_after_s"]) for error in refused] == [(503, 1.0), (503, 1.0)]


def test_the_last_lines_on_the_terminal_are_the_summary(place: Place, facts: Facts) -> None:
    shown = place.noetl("run", FLIGHTS, "--set", f"out={place.out}", "--set", "flaky=0")
    table = shown.stdout.split("\ncompleted\n")[1]
    for airline in facts.airlines.values():
        line = next(line for line in table.splitlines() if line.startswith(airline["name"]))
        assert f" {airline['flights']:,} " in line
        assert f" {airline['late_share']:.1%} " in line
    assert f"{facts.overall['late_share']:.1%}" in next(line for line in table.splitlines() if line.startswith("all "))
    assert table.rstrip().endswith(f"Written: {place.out}/delays.parquet, {place.out}/delays.svg")
    report = document(place.noetl("executions", "show", shown.stdout.split()[1], "--json"))
    assert report["steps"]["summary"]["result"] == table.strip()


def test_below_the_limit_nobody_looks_for_the_causes(place: Place) -> None:
    report = place.report(FLIGHTS, "--set", f"out={place.out}", "--set", "flaky=0", "--set", "limit=0.9")
    assert "causes" not in report["steps"]
    assert "Too many are late" not in results(report)["summary"]


def test_a_relative_folder_for_the_results_is_refused_with_what_to_do(place: Place) -> None:
    shown = place.noetl("run", FLIGHTS, "--set", "out=somewhere")
    assert shown.returncode == 1
    assert "out must be an absolute path, not somewhere" in shown.stdout


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("StepCompleted", "start"),
        ("AttemptFailed", "airlines"),
        ("StepCompleted", "load"),
        ("StepCompleted", "stop_service"),
        ("StepCompleted", "service"),
        ("IterationCompleted", "delays"),
        ("StepScheduled", "parquet"),
        ("StepCompleted", "chart"),
    ],
)
def test_killed_anywhere_and_resumed_it_ends_with_the_same_figures(place: Place, facts: Facts, event: str, step: str) -> None:
    flaky = 1 if event == "AttemptFailed" else 0
    execution = place.killed_after(event, step, FLIGHTS, "--set", f"out={place.out}", "--set", f"flaky={flaky}")
    await_deaths(place.processes())
    report = place.report("--resume", execution)
    assert report["execution_id"] == execution
    assert {name: step["runs"] for name, step in report["steps"].items()} == dict.fromkeys(report["steps"], 1)
    assert results(report)["service"]["ended_by"] == "request"
    assert results(report)["overall"] == pytest.approx(facts.overall)
    assert_outputs(place.out, facts)


def test_killed_while_the_service_listens_it_goes_down_and_the_resumed_run_starts_it_again(place: Place, facts: Facts) -> None:
    process = place.start("run", FLIGHTS, "--set", f"out={place.out}")
    lines = read_until(process, "503")
    family = place.processes()
    assert len(family) >= 2  # the run, and the nursery of its python processes; a worker that is being forked is not marked yet
    process.kill()
    ended(process)
    await_deaths(family)
    place.report("--resume", lines[0].split()[1])
    assert_outputs(place.out, facts)


def test_ctrl_c_cancels_and_leaves_no_process_behind(place: Place) -> None:
    process = place.start("run", FLIGHTS, "--set", f"out={place.out}")
    lines = read_until(process, "listening")
    family = place.processes()
    process.send_signal(signal.SIGINT)
    status, rest = ended(process)
    assert (status, rest.splitlines()[-1]) == (1, "cancelled: interrupted by the user")
    await_deaths(family)
    listed = document(place.noetl("executions", "list", "--json"))
    assert [(row["execution_id"], row["status"]) for row in listed] == [(lines[0].split()[1], "cancelled")]

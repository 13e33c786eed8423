"""The Makefile: what it says on a machine that lacks something, and when it installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import ENVIRONMENT
from tests.examples.place import EXAMPLES, FLIGHTS_PATH, ROOT, Place

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=50, check=False)


def python_without(folder: Path, feature: str) -> str:
    """A python3 that fails when it is asked for this feature."""
    program = folder / "python3"
    program.write_text(f'#!/bin/sh\ncase "$2" in *{feature}*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_help_names_every_target() -> None:
    targets = [line.split()[1] for line in make("help").stdout.splitlines()]
    assert targets == ["help", "run", "cluster", "cluster-demo", "test", "lint", "soak", "bench", "clean"]


@pytest.mark.parametrize("target", ["run", "cluster", "cluster-demo", "test", "lint", "soak", "bench"])
@pytest.mark.parametrize(
    ("feature", "advice"),
    [
        (None, "apt-get install python3\n"),
        ("version_info", "apt-get install python3.11"),
        ("ensurepip", "apt-get install python3-venv\n"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path: Path, target: str, feature: str | None, advice: str) -> None:
    python = "no-such-python" if feature is None else python_without(tmp_path, feature)
    made = make(target, f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert made.returncode != 0
    said = [line for line in made.stderr.splitlines(keepends=True) if not line.startswith("make: ")]
    assert len(said) == 1
    assert advice in said[0]
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("target", "stamps"), [("run", ["run.stamp"]), ("test", ["run.stamp", "dev.stamp"])])
def test_packages_are_installed_once_and_again_when_the_project_asks_for_others(tmp_path: Path, target: str, stamps: list[str]) -> None:
    command = ("-n", target, f"PYTHON={sys.executable}", f"VENV={tmp_path}")
    assert make(*command).stdout.count("pip install") == len(stamps)
    for stamp in stamps:
        (tmp_path / stamp).touch()
    assert "pip install" not in make(*command).stdout
    for stamp in stamps:
        os.utime(tmp_path / stamp, (0, 0))
    assert make(*command).stdout.count("pip install") == len(stamps)


def test_the_checks_run_in_order_and_before_the_tests(tmp_path: Path) -> None:
    for stamp in ("run.stamp", "dev.stamp"):
        (tmp_path / stamp).touch()
    lines = make("-n", "test", f"PYTHON={sys.executable}", f"VENV={tmp_path}").stdout.splitlines()
    assert [line.removeprefix(f"{tmp_path}/bin/") for line in lines[-4:]] == [
        "ruff format --check",
        "ruff check",
        "mypy --strict",
        "python -m pytest -n auto",
    ]


def test_ci_runs_what_make_test_runs() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("exec make test")


def offer(place: Place) -> str:
    """What `make run` says of earlier runs."""
    listed = place.noetl("executions", "list", "--path", FLIGHTS_PATH, "--json").stdout
    command = [sys.executable, str(EXAMPLES / "flights/unfinished.py"), "noetl"]
    return subprocess.run(command, input=listed, capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_killed_run_is_offered_for_resuming_until_it_has_ended(place: Place) -> None:
    assert offer(place) == ""
    options = ("--set", f"out={place.out}", "--set", "flaky=0")
    execution = place.killed_after("StepCompleted", "start", f"{FLIGHTS_PATH}.yaml", *options)
    place.report(f"{FLIGHTS_PATH}.yaml", *options)
    assert f"noetl run --resume {execution}\n" in offer(place)
    place.report("--resume", execution)
    assert offer(place) == ""


def test_make_run_asks_for_the_runs_of_the_example() -> None:
    assert f"executions list --path {FLIGHTS_PATH} --json" in make("-n", "run").stdout
    assert f"path: {FLIGHTS_PATH}\n" in (ROOT / f"{FLIGHTS_PATH}.yaml").read_text()

"""What the authors' code prints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from noetl.clock import SystemClock
from noetl.node.runlog import LineLogged, LogLost, RunLog, log_file, read_log
from noetl.probe import Happening, Probe
from noetl.vault.keyring import GivenKeys
from noetl.vault.secrets import Secrets


class Heard:
    """A run log, and what it says. Closed at the end of `with`."""

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def __init__(self, directory: Path | None) -> None:
        self.secrets = Secrets(GivenKeys(b"k" * 32))
        self.happenings: list[Happening] = []
        probe = Probe()
        probe.subscribe(self.happenings.append)
        self.log = RunLog(directory, SystemClock(), self.secrets, probe)


def order(execution_id: int = 7, step: str = "s") -> Any:
    return SimpleNamespace(call=SimpleNamespace(execution_id=execution_id, step=step, index=0, attempt=1))


def texts(directory: Path, execution_id: int = 7, step: str | None = None) -> list[str]:
    return [line.text for line in read_log(directory, execution_id, step)]


def test_lines_are_read_back_by_execution_and_step(tmp_path: Path) -> None:
    with Heard(tmp_path) as heard:
        heard.log.write(order(), "stdout", "one")
        heard.log.write(order(step="t"), "stderr", "two\x00ü")
        heard.log.write(order(8), "stdout", "other")
    assert texts(tmp_path) == ["one", "two\x00ü"]
    assert texts(tmp_path, step="t") == ["two\x00ü"]
    assert texts(tmp_path, 8) == ["other"]
    assert texts(tmp_path, 9) == []


def test_a_line_is_kept_and_told_without_its_secrets(tmp_path: Path) -> None:
    with Heard(tmp_path) as heard:
        heard.secrets.learn(["hunter22"])
        heard.log.write(order(), "stdout", "my hunter22")
    assert texts(tmp_path) == ["my ***"]
    (told,) = heard.happenings
    assert isinstance(told, LineLogged)
    assert (told.execution_id, told.line.text) == (7, "my ***")


def test_a_line_that_was_cut_short_is_left_out_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    with Heard(tmp_path) as first:
        first.log.write(order(), "stdout", "whole")
    with log_file(tmp_path, 7).open("ab") as file:
        file.write(b'{"at":"2026-')
    assert texts(tmp_path) == ["whole"]
    with Heard(tmp_path) as second:
        second.log.write(order(), "stdout", "after")
    assert texts(tmp_path) == ["whole", "after"]


def test_more_executions_than_open_files(tmp_path: Path) -> None:
    with Heard(tmp_path) as heard:
        for round_ in range(2):
            for execution_id in range(100):
                heard.log.write(order(execution_id), "stdout", f"{round_}")
    assert all(texts(tmp_path, execution_id) == ["0", "1"] for execution_id in range(100))


def test_a_log_that_can_not_be_written_is_said_once_and_the_lines_are_still_told(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    heard = Heard(tmp_path / "logs")
    heard.log.write(order(), "stdout", "one")
    heard.log.write(order(), "stdout", "two")
    assert [type(happening) for happening in heard.happenings] == [LogLost, LineLogged, LineLogged]
    assert heard.happenings[0] == LogLost(f"{tmp_path / 'logs'}: File exists")


def test_without_a_directory_lines_are_only_told() -> None:
    heard = Heard(None)
    heard.log.write(order(), "stdout", "one")
    assert [happening.line.text for happening in heard.happenings if isinstance(happening, LineLogged)] == ["one"]

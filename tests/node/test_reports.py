"""Where the runtime's own reports go."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from noetl.actors.actor import Actor, Context
from noetl.errors import NoetlError
from noetl.node.boot import running_node
from noetl.node.profile import load_profile
from noetl.node.reports import delete_reports
from noetl.settings import LogSettings, Settings

SECRET = "hunter22"


class Failing(Actor[Any]):
    def handle(self, message: Any, ctx: Context[Any]) -> None:
        raise ValueError(message)


class Holding(Actor[Any]):
    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        until = time.monotonic() + 20
        while not any("has been held" in text for text in texts(message)) and time.monotonic() < until:
            time.sleep(0.01)
        self.is_over.set()


def booting(folder: Path, **more: Any) -> Any:
    return running_node(load_profile("solo"), **({"settings": Settings(), "home": folder, "store": None, "environment": {}} | more))


def texts(folder: Path) -> list[str]:
    return [file.read_text() for file in folder.glob("logs/*.log")]


async def crash(node: Any) -> None:
    node.parts.secrets.learn([SECRET])
    ref = await node.runtime.start(Failing, "failing")
    ref.tell(f"with {SECRET}")
    await node.runtime.ended(ref)


async def test_a_crash_is_written_to_a_file_of_the_node_without_secrets(tmp_path: Path) -> None:
    async with booting(tmp_path) as node:
        assert texts(tmp_path) == []
        await crash(node)
        (text,) = texts(tmp_path)
        assert [file.name for file in (tmp_path / "logs").iterdir()] == [f"{node.id}.log"]
        assert "ERROR failing (incarnation 1, Failing) crashed: ValueError: with ***\n  then: nothing: it has no supervisor\n" in text
        assert SECRET not in text


async def test_as_json_a_report_is_one_object_on_a_line(tmp_path: Path) -> None:
    async with booting(tmp_path, settings=Settings(log=LogSettings(format="json"))) as node:
        await crash(node)
        (line,) = texts(tmp_path)[0].splitlines()
        report = json.loads(line)
        assert (report["level"], report["text"]) == ("ERROR", "failing crashed: ValueError: with ***")
        assert (report["crash"]["path"], report["crash"]["outcome"]) == ("failing", "nothing: it has no supervisor")
        assert SECRET not in line


async def test_a_file_that_can_not_be_written_does_not_matter(tmp_path: Path) -> None:
    async with booting(tmp_path) as node:
        (tmp_path / "logs").touch()
        await crash(node)
        assert node.root.is_alive()


async def test_a_node_whose_store_is_in_memory_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with booting(tmp_path, store="memory") as node:
        await crash(node)
    assert list(tmp_path.iterdir()) == []
    assert "crashed" not in capfd.readouterr().err


async def test_who_holds_the_loop_is_written_while_it_does(tmp_path: Path) -> None:
    async with booting(tmp_path) as node:
        holding = Holding()
        ref = await node.runtime.start(lambda: holding, "holding")
        ref.tell(tmp_path)
        await holding.is_over.wait()
        assert "s by holding (handling PosixPath)\n" in texts(tmp_path)[0]
        await node.runtime.stop(ref)


async def test_a_store_that_can_not_be_opened_gets_no_reports(tmp_path: Path) -> None:
    (tmp_path / "noetl.db").write_bytes(b"no database" * 1000)
    with pytest.raises(NoetlError):
        async with booting(tmp_path):
            pass
    assert [file.name for file in tmp_path.iterdir()] == ["noetl.db"]


def test_old_reports_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name, age_s in (("old.log", 100), ("new.log", 1), ("7.jsonl", 100)):
        (tmp_path / name).touch()
        then = time.time() - age_s
        os.utime(tmp_path / name, (then, then))
    delete_reports(tmp_path, 50)
    assert {file.name for file in tmp_path.iterdir()} == {"new.log", "7.jsonl"}

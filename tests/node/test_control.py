"""The socket at which a node is asked what it does."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from noetl.actors.actor import Actor, Context
from noetl.actors.loop import Runtime
from noetl.actors.snapshot import Wanted
from noetl.node.asking import Line, NodeSilent, running_nodes
from noetl.node.boot import running_node
from noetl.node.control import HEAD, MAX_REQUEST_BYTES, Control, NodeView, framed, listening_at
from noetl.node.profile import load_profile
from noetl.settings import Settings


def booting(folder: Path, **more: Any) -> Any:
    return running_node(load_profile("solo"), Settings(), environment={}, **({"home": folder, "store": "memory", "title": "a test"} | more))


def asked(file: Path, *wanted: Wanted) -> list[NodeView]:
    with Line(file) as line:
        return [line.ask(each) for each in wanted]


async def test_a_node_answers_with_its_tree(tmp_path: Path) -> None:
    async with booting(tmp_path) as node:
        assert list(running_nodes(tmp_path)) == [tmp_path / "run" / f"{node.id}.sock"] == [node.socket]
        whole, top = await asyncio.to_thread(asked, node.socket, Wanted(), Wanted(depth=0))
        assert (whole.id, whole.pid, whole.title) == (node.id, os.getpid(), "a test")
        assert {"solo", "solo/store", "solo/shard", "control/socket"} <= {actor.path for actor in whole.runtime.every()}
        assert [actor.path for actor in top.runtime.roots] == ["solo", "control"]
        assert whole.runtime.actors == len(list(whole.runtime.every()))


async def test_only_the_user_may_ask_and_nothing_is_left_behind(tmp_path: Path) -> None:
    async with booting(tmp_path / "home") as node:
        assert stat.S_IMODE(node.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(node.socket.parent.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []


def test_the_mode_is_right_from_the_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What binding leaves is looked at before anything else is done to the file, under the widest umask there is."""
    modes = []
    chmod = Path.chmod

    def looking(self: Path, mode: int) -> None:
        modes.append(stat.S_IMODE(self.stat().st_mode))
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", looking)
    before = os.umask(0)
    try:
        with listening_at(tmp_path / "run" / "n.sock"):
            assert modes == [0o600]
    finally:
        os.umask(before)


async def test_a_directory_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.joinpath("run").mkdir(mode=0o755)
    async with booting(tmp_path):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert (tmp_path / "run").is_dir()


async def test_a_path_that_is_too_long_for_a_socket_does_not_matter(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name"] * 8)
    async with booting(deep) as node:
        assert len(str(node.socket)) > 107
        (view,) = await asyncio.to_thread(asked, node.socket, Wanted())
        assert view.id == node.id
        assert list(running_nodes(deep)) == [node.socket]
    assert not node.socket.exists()


async def test_a_node_that_can_not_open_its_socket_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    async with booting(tmp_path) as node:
        assert node.warnings == (f"`noetl top` can't look into this run: {node.socket}: File exists",)
        assert node.root.is_alive()
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def left_over(folder: Path, *, age_s: float) -> Path:
    """The name of a socket whose process is gone."""
    file = folder / "run" / "dead.sock"
    file.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(file))
    then = file.stat().st_mtime - age_s
    os.utime(file, (then, then))
    return file


@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (3600, False)])
def test_what_a_killed_process_left_counts_for_nothing_and_is_cleared_away_when_it_is_old(tmp_path: Path, age_s: float, *, stays: bool) -> None:
    file = left_over(tmp_path, age_s=age_s)
    assert list(running_nodes(tmp_path)) == []
    assert file.exists() == stays


async def answers(file: Path, *sent: bytes) -> bytes:
    """What comes back on one connection until it is closed or one frame is complete."""
    reader, writer = await asyncio.open_unix_connection(str(file))
    for part in sent:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    try:
        (size,) = HEAD.unpack(await reader.readexactly(HEAD.size))
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as ended:
        return ended.partial
    finally:
        writer.close()


async def test_nonsense_ends_the_line_of_who_sends_it_and_nothing_else(tmp_path: Path) -> None:
    async with booting(tmp_path) as node:
        assert await answers(node.socket, framed(b"nonsense")) == b""
        assert await answers(node.socket, HEAD.pack(MAX_REQUEST_BYTES + 1)) == b""
        assert await answers(node.socket, framed(b"\x80")[:3], framed(b"\x80")[3:]) != b"", "a frame may come in pieces"
        (view,) = await asyncio.to_thread(asked, node.socket, Wanted())
        assert view.runtime.roots[1].children[0].restarts == 0


async def test_secrets_in_reasons_are_masked(tmp_path: Path) -> None:
    class Failing(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            raise ValueError(message)

    runtime = Runtime()
    file = tmp_path / "n.sock"
    start = partial(Control, runtime, file, "n", "", scrub=lambda text: text.replace("hunter22", "***"), lost=pytest.fail)
    control = await runtime.start(start, "control")
    failing = await runtime.start(Failing, "failing")
    failing.tell("password hunter22")
    assert str(await runtime.ended(failing)) == "password hunter22"
    again = await runtime.start(Failing, "again")
    runtime.note_exit(runtime.roots[1], ValueError("hunter22 again"))
    (view,) = await asyncio.to_thread(asked, file, Wanted(detail="again"))
    assert view.runtime.roots[1].last_exit == "ValueError: *** again"
    assert view.runtime.detail is not None
    assert [note.reason for note in view.runtime.detail.exits] == ["ValueError: *** again"]
    await runtime.stop(again)
    await runtime.stop(control)


def test_who_does_not_answer_is_told_apart_from_who_is_gone(tmp_path: Path) -> None:
    with listening_at(tmp_path / "n.sock"), Line(tmp_path / "n.sock", timeout_s=0.05) as line, pytest.raises(NodeSilent, match="does not answer"):
        line.ask(Wanted())
    with listening_at(tmp_path / "n.sock") as listening, Line(tmp_path / "n.sock") as line:
        listening.accept()[0].close()
        with pytest.raises(NodeSilent, match="has ended"):
            line.ask(Wanted())

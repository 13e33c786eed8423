"""`noetl top`: what is shown, and the command in a pipe and in a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from noetl.actors.snapshot import ActorView, Rates, RuntimeView
from noetl.cli.toptree import COLUMNS, Key, Row, Top, cells_of, columns_in, count, duration, keys_in, memory, rows_of
from noetl.node.control import NodeView
from tests.cli.command import noetl, read_until, start, write
from tests.cli.watching import Watching

SLEEPING = """
    - step: start
      tool: {kind: python, code: "import time; print('up', flush=True); time.sleep(1000)"}
"""
_NOTHING: dict[str, Any] = dict.fromkeys(ActorView.__struct_fields__, 0) | {"kind": "", "state": "running", "at_bound": False, "last_exit": None}


def actor(path: str, *children: ActorView, **fields: Any) -> ActorView:
    name = path.rpartition("/")[2]
    return msgspec.convert({**_NOTHING, "id": name, "path": path, "children": children, "child_count": len(children)} | fields, ActorView)


def node(*roots: ActorView, at_s: float = 1.0, reductions: int = 0) -> NodeView:
    return NodeView("run-1", 7, "demo", RuntimeView(at_s, at_s, len(roots), 0, reductions, None, roots))


TREE = (actor("a", actor("a/x"), actor("a/y", child_count=5), child_count=4), actor("b"))


def names(top: Top) -> list[str]:
    return [row.path for row in top.rows]


def test_the_tree_is_flat_with_a_row_for_those_that_are_not_listed() -> None:
    rows = rows_of(node(*TREE).runtime, Rates(0.0, {"a/x": 2.5}))
    assert [(row.level, row.path, row.rate, row.left_out) for row in rows] == [
        (0, "a", None, 0),
        (1, "a/x", 2.5, 0),
        (1, "a/y", None, 0),
        (1, "a/…", None, 2),
        (0, "b", None, 0),
    ]
    assert cells_of(rows[3])[0] == "  … 2 more"


def test_at_first_the_children_of_the_roots_are_shown_and_only_what_is_open_is_asked_for() -> None:
    top = Top(height=9)
    assert (top.wanted().depth, top.wanted().limit) == (1, 9)
    top.take(node(*TREE))
    assert names(top) == ["a", "a/x", "a/y", "a/…", "b"]
    assert top.wanted().expanded == ("a", "b")
    assert top.press("down") == top.press("down") == "draw"
    assert top.press("open") == "ask"
    assert top.wanted().expanded == ("a", "a/y", "b")
    top.press("home")
    assert top.press("open") == "ask"
    assert "a" not in (top.wanted().expanded or ())


def test_what_is_selected_stays_selected_when_others_come_and_go() -> None:
    top = Top()
    top.take(node(*TREE))
    top.press("end")
    assert top.path == "b"
    top.take(node(actor("a0"), *TREE))
    assert (top.path, top.selected) == ("b", 5)
    top.take(node(actor("a0")))
    assert (top.path, top.selected) == ("a0", 0)
    top.take(node())
    assert top.path is None
    assert [top.press(key) for key in ("down", "open", "detail", "end")] == ["draw"] * 4


def test_an_actor_without_children_is_opened_as_its_details() -> None:
    top = Top()
    top.take(node(*TREE))
    top.press("end")
    assert top.press("open") == "ask"
    assert (top.page, top.wanted().detail) == ("detail", "b")
    assert (top.press("down"), top.page) == ("draw", "tree")


def test_sorting_goes_round_and_keys_lead_back() -> None:
    top = Top()
    seen = []
    for _ in range(6):
        assert top.press("sort") == "ask"
        seen.append(top.sort)
    assert seen == ["mailbox", "rate", "reductions", "restarts", "memory", "tree"]
    top.press("help")
    assert (top.page, top.press("help"), top.page) == ("help", "draw", "tree")
    assert top.press("quit") == "quit"


def test_rates_need_two_looks_that_are_far_enough_apart() -> None:
    top = Top(interval_s=1.0)
    for at_s, reductions in ((1.0, 0), (1.1, 50), (2.0, 100)):
        top.take(node(actor("a", reductions=reductions), at_s=at_s, reductions=reductions))
        assert top.rows[0].rate == (None if at_s < 2 else 100.0)
    assert top.rates.total == 100.0


def test_the_window_follows_what_is_selected() -> None:
    top = Top(height=5)
    top.take(node(*(actor(str(number)) for number in range(30))))
    for key, first in (("down", 0), ("page down", 4), ("end", 25), ("up", 25), ("page up", 21), ("home", 0)):
        top.press(key)  # type: ignore[arg-type]
        assert top.window()[0] == first
        assert top.rows[top.selected] in top.window()[1]


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"j\x1b[Bk", ["down", "down", "up"]),
        (b"\x1b", ["back"]),
        (b"zz\x1b[6~q", ["page down", "quit"]),
        (b"\xc3\xa9\r ", ["open", "open"]),
        (b"", []),
    ],
)
def test_keys_are_found_in_what_a_terminal_sends(typed: bytes, keys: list[Key]) -> None:
    assert list(keys_in(typed)) == keys


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (count(99_999), "99,999"),
        (count(123_456), "123k"),
        (count(1_250_000), "1.2M"),
        (duration(0.0000042), "4 µs"),
        (duration(0.25), "250 ms"),
        (duration(12.34), "12.3 s"),
        (duration(754), "12:34"),
        (duration(3_725), "1:02:05"),
        (memory(700), "700 B"),
        (memory(20_480), "20 KiB"),
        (memory(30 * 1024**2), "30 MiB"),
    ],
)
def test_numbers_are_short(shown: str, text: str) -> None:
    assert shown == text


def test_a_full_mailbox_and_a_restart_are_seen_in_a_row() -> None:
    shown = cells_of(Row(1, "a/x", actor("a/x", waiting=3, signals=1, at_bound=True, oldest_s=2.5, restarts=2, kind="Sink"), 0.5), is_open=False)
    assert dict(zip(COLUMNS, shown, strict=True)) == {
        "actor": "    x",
        "kind": "Sink",
        "state": "running",
        "mailbox": "4 full",
        "oldest": "2.5 s",
        "msg/s": "0.5",
        "reductions": "0",
        "restarts": "2",
        "memory": "0 B",
    }


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(200, set()), (100, {"kind"}), (80, {"kind", "memory", "oldest"}), (40, {*COLUMNS} - {"actor", "mailbox"})],
)
def test_a_narrow_terminal_leaves_columns_out_and_keeps_the_names(width: int, left_out: set[str]) -> None:
    assert columns_in(width) == tuple(name for name in COLUMNS if name not in left_out)


@contextmanager
def running(folder: Path) -> Iterator[Any]:
    process = start("run", write(folder, SLEEPING), cwd=folder)
    try:
        read_until(process, "[start] up")
        yield process
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_as_json_it_is_one_object(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        found = json.loads(noetl("top", "--json", cwd=tmp_path).stdout)
        assert (found["pid"], found["title"]) == (process.pid, "test")
        solo, control = found["runtime"]["roots"]
        assert (solo["path"], solo["state"], control["id"]) == ("solo", "running", "control")
        assert {child["id"] for child in solo["children"]} >= {"store", "tools", "pools", "lease", "shard"}
        assert found["runtime"]["lag_s"] is None or found["runtime"]["lag_s"] >= 0
        assert sorted(file.name for file in (tmp_path / ".noetl" / "run").glob("*.sock")) == [f"{found['id']}.sock"]
    assert list((tmp_path / ".noetl").rglob("*.sock")) == [], "SIGTERM leaves no socket"


def test_in_a_pipe_it_is_a_table(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        lines = noetl("top", cwd=tmp_path).stdout.splitlines()
        assert re.match(rf"run-\w+  pid {process.pid}   test   up .* actors   run queue \d+ .* msg/s", lines[0])
        assert lines[2].split() == list(COLUMNS)
        assert any(re.match(r"  shard  +Shard +running ", line) for line in lines)


def test_nothing_runs(tmp_path: Path) -> None:
    ended = noetl("top", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (1, f"error: nothing runs here: no `noetl run` with NOETL_HOME {tmp_path / '.noetl'}\n")
    assert list(tmp_path.iterdir()) == []


def test_of_several_one_must_be_named(tmp_path: Path) -> None:
    with running(tmp_path) as one, running(tmp_path) as other:
        listed = noetl("top", "--json", cwd=tmp_path)
        assert listed.returncode == 2
        first, *lines = listed.stderr.splitlines()
        assert first == "error: several run: name one, or the beginning of its id"
        assert {int(re.findall(r"^run-\w+  pid (\d+) +up +[\d.]+ m?s  test$", line)[0]) for line in lines} == {one.pid, other.pid}
        name = lines[0].split()[0]
        for shortest in (name, next(name[:size] for size in range(4, 13) if not lines[1].startswith(name[:size]))):
            assert json.loads(noetl("top", shortest, "--json", cwd=tmp_path).stdout)["id"] == name
        none = noetl("top", "other", cwd=tmp_path)
        assert (none.returncode, none.stderr.splitlines()[0]) == (2, "error: no run is called 'other'")


def test_in_a_terminal_it_is_live_and_keys_work(tmp_path: Path) -> None:
    with running(tmp_path), Watching("top", "--interval", "0.1", cwd=tmp_path) as watching:
        watching.until(lambda: "Shard" in watching.row("shard"))
        assert watching.screen[0].endswith(" msg/s")
        assert watching.screen[2].split() == list(COLUMNS)
        assert "▾ solo" in watching.row("solo")
        watching.until(lambda: re.search(r"Control +running +\d+(\.\d)? ", watching.row("socket")))
        reductions = int(watching.row("socket").split()[-3])
        watching.until(lambda: int(watching.row("socket").split()[-3]) > reductions)
        watching.press("jjj ")  # opens the third child of solo
        watching.until(lambda: watching.row("python"))
        watching.press(" ")
        watching.until(lambda: not watching.row("python"))
        watching.press("sss")
        watching.until(lambda: "reductions ↓" in watching.screen[2])
        watching.press("\x1b[F\r")
        watching.until(lambda: any(re.match(r"path +(solo|control)/", line) for line in watching.screen))
        watching.press("x\x1b?")
        watching.until(lambda: any("how late the event loop was" in line for line in watching.screen))
        watching.press("?")
        watching.resize(10, 80)
        watching.until(lambda: watching.row("store") and len(watching.screen) <= 10)
        watching.press("q")
        assert watching.ended() == 0
        assert watching.raw.rindex(b"\x1b[?1049l") > watching.raw.rindex(b"\x1b[?1049h"), "the terminal is as before"
        assert b"\x1b[7m" in watching.raw


@pytest.mark.parametrize("end", ["\x03", None])
def test_ctrl_c_and_the_end_of_the_run_give_the_terminal_back(tmp_path: Path, end: str | None) -> None:
    with running(tmp_path) as process, Watching("top", "--interval", "0.1", cwd=tmp_path, env={"NO_COLOR": "1"}) as watching:
        watching.until(lambda: watching.row("shard"))
        if end is None:
            process.terminate()
        else:
            watching.press(end)
        assert watching.ended() == 0
        assert watching.raw.rindex(b"\x1b[?25h") > watching.raw.rindex(b"\x1b[?25l")
        codes = {int(code) for codes in re.findall(rb"\x1b\[([0-9;]*)m", watching.raw) for code in codes.split(b";") if code}
        assert codes & {*range(30, 50), *range(90, 108)} == set()

"""Progress in a terminal: a table that moves and ends with the final state."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import ENVIRONMENT, write

COLUMNS = 100


@dataclass
class Screen:
    """What a terminal has been sent."""

    status: int
    raw: str

    @property
    def text(self) -> str:
        """Without colours and cursor movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r\n", "\n")

    @property
    def final(self) -> list[str]:
        """The lines that stay: those after the last time that the cursor went up."""
        last = self.raw.rpartition("\x1b[1A")[2]
        return [line.rstrip() for line in Screen(0, last).text.splitlines()]


def in_terminal(*arguments: str, cwd: Path, env: dict[str, str] | None = None, interrupt_at: str | None = None) -> Screen:
    """Run `noetl` with a terminal for its input and output. `interrupt_at`: Ctrl-C when that was printed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, "-m", "noetl", *arguments], ENVIRONMENT | {"TERM": "xterm-256color"} | (env or {}))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    raw = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux: the other end was closed
            break
        raw += data
        if interrupt_at is not None and interrupt_at.encode() in raw:
            os.write(terminal, b"\x03")
            interrupt_at = None
        if not data:
            break
    os.close(terminal)
    return Screen(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), raw.decode())


WORK = """
    - {step: start, tool: {kind: noop}, next: [loop, retried, refused]}
    - step: loop
      loop: {in: "{{ range(8) | list }}", iterator: n}
      tool: {kind: python, args: {n: "{{ n }}"}, code: "import time; time.sleep(0.15); print('line', n); result = n"}
      next: last
    - step: retried
      tool:
        kind: python
        code: "result = {'n': 1}"
        spec: {policy: {rules: [{when: "{{ _attempt < 3 }}", then: {do: retry, attempts: 3, delay: 0.3}}, {else: {then: {do: continue}}}]}}
    - {step: refused, tool: {kind: noop}, spec: {policy: {admit: {rules: [{else: {then: {allow: false}}}]}}}}
    - {step: last, tool: {kind: noop, result: the end}}
"""


def test_the_table_moves_and_ends_with_the_final_state(tmp_path: Path) -> None:
    write(tmp_path, WORK)
    screen = in_terminal("run", "test.yaml", cwd=tmp_path)
    assert screen.status == 0
    assert re.match(r"execution \d+ test\n", screen.text)
    done = [int(count) for count in re.findall(r"(\d+)/8 items", screen.text)]
    assert done == sorted(done)
    assert len(set(done)) > 3, "the loop was seen to go on"
    assert re.search(r"^waiting +retried", screen.text, re.MULTILINE)
    assert all(screen.text.count(f"[loop] line {number}\n") == 1 for number in range(8))
    rows = {line.split()[1]: line for line in screen.final if re.match(r"(completed|skipped) +\w+ ", line)}
    assert {name: row.split()[0] for name, row in rows.items()} == {
        "start": "completed",
        "loop": "completed",
        "retried": "completed",
        "refused": "skipped",
        "last": "completed",
    }
    assert re.search(r"\d+\.\d\d s +━{24} +8/8 items$", rows["loop"])
    assert rows["retried"].endswith("attempt 3")
    assert rows["refused"].endswith("admission was denied")
    assert screen.final[-3:] == ["completed", "", "the end"]
    assert "\x1b[32m" in screen.raw, "there are colours"


def test_no_color_keeps_colours_out(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: python, code: 1/0}}")
    screen = in_terminal("run", "test.yaml", cwd=tmp_path, env={"NO_COLOR": "1"})
    assert screen.status == 1
    codes = {int(code) for codes in re.findall(r"\x1b\[([0-9;]*)m", screen.raw) for code in codes.split(";") if code}
    assert codes & {*range(30, 50), *range(90, 108)} == set()
    rejected = in_terminal("run", "none.yaml", cwd=tmp_path, env={"NO_COLOR": "1"})
    assert "\x1b" not in rejected.raw
    assert "\x1b[31m" in in_terminal("run", "none.yaml", cwd=tmp_path).raw


def test_a_failure_is_in_the_table_and_below_it(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: python, code: \"raise ValueError('[bold]no markup[/bold] ' + 'x' * 200)\"}}")
    screen = in_terminal("run", "test.yaml", cwd=tmp_path)
    row = next(line for line in screen.final if re.match(r"failed +start +\d", line))
    assert "ValueError: [bold]no markup[/bold] xxx" in row
    assert row.endswith("…")
    assert len(row) <= COLUMNS


@pytest.mark.parametrize("term", ["dumb"])
def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path, term: str) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop}}")
    screen = in_terminal("run", "test.yaml", cwd=tmp_path, env={"TERM": term})
    assert re.fullmatch(r"execution \d+ test\r\ncompleted start  \d\.\d\d s\r\ncompleted\r\n", screen.raw)


STUBBORN = """
    - step: start
      tool:
        kind: python
        code: "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"
"""


def test_ctrl_c_cancels_and_the_last_table_says_so(tmp_path: Path) -> None:
    write(tmp_path, STUBBORN)
    screen = in_terminal("run", "test.yaml", cwd=tmp_path, interrupt_at="[start] up")
    assert screen.status == 1
    assert any(re.match(r"cancelled +start", line) for line in screen.final)
    assert screen.final[-1] == "cancelled: interrupted by the user"


def test_a_killed_run_gives_the_cursor_back(tmp_path: Path) -> None:
    write(tmp_path, STUBBORN)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "-m", "noetl", "run", "test.yaml"], ENVIRONMENT | {"TERM": "xterm-256color"})
    raw, sent = b"", False
    while True:
        try:
            raw += os.read(terminal, 65536)
        except OSError:
            break
        if b"[start] up" in raw and not sent:
            os.kill(pid, signal.SIGTERM)
            sent = True
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGTERM
    assert raw.rindex(b"\x1b[?25h") > raw.rindex(b"\x1b[?25l")

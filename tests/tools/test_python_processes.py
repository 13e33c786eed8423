"""What the author's code can do to its process, and what must be left of that afterwards: nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import uvloop

from noetl.clock import SystemClock
from noetl.errors import ToolError
from noetl.settings import PythonSettings, Settings
from noetl.tools import python
from noetl.tools.sandbox.pool import Sandbox, open_sandbox
from noetl.tools.sandbox.worker import Worker
from noetl.tools.tool import Call, Resources, ToolContext
from tests.tools.conftest import MakeContext
from tests.tools.sandbox_news import Heard, await_deaths, is_alive, marked, parent_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

ONE = Settings(python=PythonSettings(processes=1))
Run = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def nothing_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every process of a test has its directory in its command line (forks of the nursery) or its environment (TMPDIR)."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert marked(str(tmp_path)) == set()
    assert list(tmp_path.glob("noetl-python-*")) == []


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def run(make_context: MakeContext, heard: Heard) -> Run:
    """`run(code, ...)`: one call; what it prints is heard."""

    async def call(code: str, **over: Any) -> Any:
        return await python.run(python.Input(code=dedent(code)), make_context(log=heard, **over))

    return call


async def failure(run: Run, code: str, **over: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await run(code, **over)
    return caught.value


async def sandbox_of(ctx: ToolContext) -> Sandbox:
    return await ctx.resources.get("python", open_sandbox)


async def nursery_of(ctx: ToolContext) -> int:
    return int(await python.run(python.Input(code="import os\nresult = os.getppid()"), ctx))


# Code that ends its process


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("import ctypes\nctypes.string_at(0)", "the code ended its process: SIGSEGV", "Signal"),
        ("import os\nos.abort()", "the code ended its process: SIGABRT", "Signal"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "the code ended its process: SIGKILL", "Signal"),
        ("import os, signal\nos.killpg(0, signal.SIGKILL)", "the code ended its process: SIGKILL", "Signal"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "the code ended its process: SIGTERM", "Signal"),
        ("import os\nos.kill(os.getpid(), 40)", "the code ended its process: signal 40", "Signal"),
        ("import os\nos._exit(3)", "the code ended its process: exit status 3", "Exit"),
        ("import os\nos._exit(0)", "the code ended its process: exit status 0", "Exit"),
        (
            "import os, threading\nthreading.Thread(target=os._exit, args=(4,)).start()\nwhile True: pass",
            "the code ended its process: exit status 4",
            "Exit",
        ),
    ],
)
async def test_code_that_ends_its_process_fails_its_call_only(run: Run, code: str, message: str, kind: str) -> None:
    error = await failure(run, code)
    assert (error.kind, error.message, error.extra["exception_type"], error.retryable) == ("python", message, kind, False)
    assert await run("result = 'the next'") == "the next"


async def test_a_segfault_leaves_its_trace_in_the_log(run: Run, heard: Heard) -> None:
    await failure(run, "import ctypes\nprint('before')\ndef read(where):\n    ctypes.string_at(where)\nread(0)")
    assert heard.of("stdout") == ["before"]
    assert heard.of("stderr")[0] == "Fatal Python error: Segmentation fault"
    assert '  File "<fetch>", line 4 in read' in heard.of("stderr")


async def test_code_that_closes_all_descriptors_fails_its_call_only(run: Run) -> None:
    error = await failure(run, "import os\nos.closerange(0, 1000)\nresult = 1")
    assert error.kind == "python"
    assert await run("result = 2") == 2


async def test_a_process_killed_from_outside_is_lost_and_not_the_authors_fault(run: Run, heard: Heard) -> None:
    call = asyncio.ensure_future(run("import os, time\nprint('pid', os.getpid())\ntime.sleep(1000)"))
    os.kill(int(await heard.until("pid")), signal.SIGKILL)
    with pytest.raises(ToolError, match="lost: killed from outside, by hand") as caught:
        await call
    assert (caught.value.kind, caught.value.retryable) == ("worker_lost", True)


# Cancellation

STUBBORN = {
    "sleep": "time.sleep(1000)",
    "loop": "while True: pass",
    "loop that swallows": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "loop in C that holds the GIL": "sum(itertools.repeat(1))",
    "regular expression": "re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "signals blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
    "signals ignored": "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(1000)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "async": "async def main():\n    await asyncio.sleep(1000)",
    "subprocess": "subprocess.run(['sleep', '1000'])",
    "subprocess in a session of its own": "subprocess.run(['sleep', '1000'], start_new_session=True)",
    "thread": "threading.Thread(target=time.sleep, args=(1000,)).start()\ntime.sleep(1000)",
    "children": "[subprocess.Popen(['sleep', '1000']) for _ in range(20)]\ntime.sleep(1000)",
    "daemon": "subprocess.run(['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 &'])\ntime.sleep(1000)",
    "forks for ever": "while True:\n    if os.fork() == 0:\n        time.sleep(1000)\n    time.sleep(0.002)",
}


@pytest.mark.parametrize("what", STUBBORN)
async def test_a_cancelled_call_is_gone_when_its_cancellation_goes_through(run: Run, heard: Heard, make_context: MakeContext, what: str) -> None:
    sandbox = await sandbox_of(make_context(settings=ONE))
    imports = "import asyncio, itertools, os, re, signal, subprocess, threading, time\nprint('pid', os.getpid())\n"
    call = asyncio.ensure_future(run(imports + STUBBORN[what]))
    pid = int(await heard.until("pid"))
    call.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await call
    assert not is_alive(pid)
    nursery = await nursery_of(make_context())
    others = marked(str(sandbox._directory)) - {nursery}
    assert pid not in others
    assert [parent_of(other) for other in others] == [nursery]  # the replacement, and nobody else


async def test_the_codes_cleanup_runs_before_it_is_killed(run: Run, heard: Heard, tmp_path: Path) -> None:
    codes = (
        "import time\ntry:\n    print('begun 0')\n    time.sleep(1000)\nfinally:\n    print('cleaned 0')",
        "import time\ntry:\n    print('begun 1')\n    time.sleep(1000)\nexcept BaseException as error:\n    print('cleaned 1')",
        """
        from asyncio import sleep

        async def main():
            try:
                print("begun 2")
                await sleep(1000)
            finally:
                print("cleaned 2")
        """,
    )
    for number, code in enumerate(codes):
        call = asyncio.ensure_future(run(code))
        await heard.until(f"begun {number}")
        call.cancel()
        await asyncio.wait([call])
        await heard.until(f"cleaned {number}")


async def test_a_call_cancelled_twice_is_gone_all_the_same(run: Run, heard: Heard) -> None:
    call = asyncio.ensure_future(
        run("import os\nprint('pid', os.getpid())\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass")
    )
    pid = int(await heard.until("pid"))
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not is_alive(pid)


async def test_what_was_printed_before_a_cancellation_is_delivered(run: Run, heard: Heard) -> None:
    call = asyncio.ensure_future(run("import os\nfor n in range(500): print(n)\nos.write(1, b'ready')\nos.write(1, b'\\nend')\nwhile True: pass"))
    await heard.until("ready")
    call.cancel()
    await asyncio.wait([call])
    assert heard.of("stdout") == [*map(str, range(500)), "ready", "end"]


async def test_a_call_that_is_cancelled_in_the_moment_in_which_its_process_is_ready_leaves_it_to_the_next(
    run: Run, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled, and does not know it yet, when the process is offered."""
    pool = await sandbox_of(make_context(settings=ONE))
    offer = pool._offer

    def cancel_and_offer(worker: Worker) -> None:
        monkeypatch.undo()
        call.cancel()
        offer(worker)

    monkeypatch.setattr(pool, "_offer", cancel_and_offer)
    call = asyncio.ensure_future(run("result = 1"))
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (len(pool._busy), len(pool._idle)) == (0, 1)
    assert await run("result = 2") == 2


async def test_a_call_that_waits_for_its_turn_can_be_cancelled(run: Run, heard: Heard, make_context: MakeContext) -> None:
    make_context(settings=ONE)
    first = asyncio.ensure_future(run("print('begun')\nwhile True: pass"))
    await heard.until("begun")
    second = asyncio.ensure_future(run("print('never')"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    first.cancel()
    await asyncio.wait([first])
    assert await run("result = 1") == 1
    assert heard.of("stdout") == ["begun"]


# Memory


async def test_a_call_over_its_memory_is_killed_and_told_size_and_limit(run: Run) -> None:
    error = await failure(run, "keep = []\nwhile True: keep.append(bytearray(b'x' * 10_000_000))", memory_bytes=200 * 2**20)
    assert error.kind == "limit"
    assert error.message.startswith("the code was stopped: it used ")
    assert error.message.endswith("of memory, its limit is 200.0 MiB (spec.memory_bytes)")
    assert await run("result = 1") == 1


async def test_10_gb_never_get_that_far_under_the_default_limit(run: Run) -> None:
    error = await failure(run, "keep = [b'x' * 100_000_000 for _ in range(100)]\nresult = len(keep)")
    assert error.kind == "limit"
    assert "its limit is 2.0 GiB" in error.message


async def test_the_memory_of_children_counts(run: Run) -> None:
    hog = "import time; x = bytearray(b'x' * 150_000_000); time.sleep(1000)"
    error = await failure(run, f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {hog!r}])", memory_bytes=150 * 2**20)
    assert error.kind == "limit"


async def test_memory_that_forks_share_counts_once(run: Run) -> None:
    code = """
        import os, time
        keep = bytearray(b"x" * 100_000_000)

        def fork():
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
            return pid

        children = [fork() for _ in range(4)]
        time.sleep(0.5)  # the nursery looks several times
        for pid in children:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        result = len(children)
    """
    assert await run(code, memory_bytes=250 * 2**20) == 4


# What is left behind

LEFT = {
    "thread": ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), name='reader').start()", "running threads (reader)"),
    "child": ("import subprocess\nsubprocess.Popen(['sleep', '1000'])", "running processes"),
    "daemon": ("import subprocess\nsubprocess.run(['sh', '-c', 'setsid sleep 1000 &'])", "running processes"),
    "many forks": ("import os, time\nfor _ in range(50):\n    if os.fork() == 0:\n        time.sleep(1000)", "running processes"),
    "forks of forks": ("import os, time\nfor _ in range(5):\n    os.fork() or [os.fork(), os.setsid(), time.sleep(1000)]", "running processes"),
}


@pytest.mark.parametrize("what", LEFT)
async def test_what_a_call_leaves_running_is_killed_and_reported(run: Run, heard: Heard, make_context: MakeContext, what: str) -> None:
    make_context(settings=ONE)
    code, left = LEFT[what]
    pid = await run(code + "\nimport os\nresult = os.getpid()")
    assert heard.lines == [("warning", f"the code left {left} behind; its process was replaced")]
    assert not is_alive(pid)
    assert await run("import os\nresult = os.getpid()") != pid


async def test_a_daemon_thread_or_a_child_that_has_ended_is_nothing_left(run: Run, heard: Heard, make_context: MakeContext) -> None:
    make_context(settings=ONE)
    code = """
        import os, subprocess, threading, time
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        child = subprocess.Popen(["true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        result = os.getpid()
    """
    assert await run(code) == await run("import os\nresult = os.getpid()")
    assert heard.lines == []


async def test_a_fork_that_returns_from_main_does_not_answer_for_the_call(run: Run, heard: Heard) -> None:
    code = """
        import os
        def main():
            pid = os.fork()
            if pid == 0:
                print("in the fork")
                return "wrong"
            os.waitpid(pid, 0)
            return "right"
    """
    assert await run(code) == "right"
    assert heard.lines == [("stdout", "in the fork")]


async def test_multiprocessing_works(run: Run) -> None:
    code = """
        import multiprocessing
        def double(x): return 2 * x
        def main():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                result = pool.map(double, [1, 2, 3])
                pool.close()
                pool.join()
            return result
    """
    assert await run(code) == [2, 4, 6]


# The pool

PID = "import os\nresult = os.getpid()"


async def test_a_process_serves_its_number_of_calls_and_is_replaced(run: Run, make_context: MakeContext) -> None:
    make_context(settings=Settings(python=PythonSettings(processes=1, calls_per_process=3)))
    pids = [await run(PID) for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    await_deaths(set(pids[:6]))


async def test_a_replacement_is_ready_before_the_last_call_of_a_process_has_ended(run: Run, heard: Heard, make_context: MakeContext) -> None:
    sandbox = await sandbox_of(make_context(settings=Settings(python=PythonSettings(processes=1, calls_per_process=1))))
    call = asyncio.ensure_future(run("print('begun')\nimport time\ntime.sleep(1000)"))
    await heard.until("begun")
    while not sandbox._idle:
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])


async def test_no_more_processes_than_allowed_run_at_once_and_callers_are_served_in_order(run: Run, heard: Heard, make_context: MakeContext) -> None:
    make_context(settings=ONE)
    await asyncio.gather(*(run(f"print({number})") for number in range(10)))
    assert heard.of("stdout") == [str(number) for number in range(10)]


async def test_calls_run_beside_each_other_in_processes_of_their_own(run: Run, heard: Heard, make_context: MakeContext) -> None:
    make_context(settings=Settings(python=PythonSettings(processes=4)))
    calls = [asyncio.ensure_future(run(f"import os\nprint('pid{n}', os.getpid(), os.getsid(0))\nwhile True: pass")) for n in range(4)]
    pids = [(await heard.until(f"pid{n}")).split() for n in range(4)]
    assert len({pid for pid, _ in pids}) == 4
    assert all(pid == session for pid, session in pids)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert not any(is_alive(int(pid)) for pid, _ in pids)


async def test_a_worker_that_dies_while_idle_is_replaced_without_a_call_noticing(run: Run, make_context: MakeContext) -> None:
    make_context(settings=ONE)
    pid = await run(PID)
    os.kill(pid, signal.SIGKILL)
    await_deaths([pid])
    await asyncio.sleep(0)
    assert await run(PID) != pid


async def test_closing_ends_every_process_also_one_that_is_busy(make_context: MakeContext, heard: Heard, tmp_path: Path) -> None:
    ctx = make_context(log=heard)
    call = asyncio.ensure_future(
        python.run(python.Input(code="import os, subprocess\nsubprocess.Popen(['sleep', '1000'])\nprint('begun')\nwhile True: pass"), ctx)
    )
    await heard.until("begun")
    await ctx.resources.close()
    assert marked(str(tmp_path)) == set()
    with pytest.raises(ToolError) as caught:
        await call
    assert caught.value.kind == "worker_lost"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_works_on_every_event_loop(new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, heard: Heard) -> None:
    async def calls() -> None:
        resources = Resources(Settings(), tmp_path / "state", tmp_path / "artifacts")

        def call(code: str, **args: Any) -> Awaitable[Any]:
            of = Call("1:s:1:0:s:1", 1, "s", 1, 0, "s", 1)
            return python.run(python.Input(code=code), ToolContext(call=of, resources=resources, clock=SystemClock(), log=heard, args=args))

        assert await call("result = len(x)", x="x" * 10_000_000) == 10_000_000
        with pytest.raises(ToolError, match="SIGSEGV"):
            await call("import ctypes\nctypes.string_at(0)")
        endless = asyncio.ensure_future(call("print('begun')\nwhile True: pass"))
        await heard.until("begun")
        endless.cancel()
        await asyncio.wait([endless])
        assert endless.cancelled()
        await resources.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(calls())


async def test_the_temporary_files_of_the_node_may_be_tidied_up_at_any_time(run: Run, make_context: MakeContext, tmp_path: Path) -> None:
    make_context(settings=ONE)
    for _ in range(3):
        directory = (await sandbox_of(make_context()))._directory
        shutil.rmtree(directory.rename(directory.with_name("old")))
        assert await run("import os\nopen('f', 'w').close()\nresult = os.listdir()") == ["f"]


async def test_workers_that_can_not_be_born_fail_the_call_and_are_not_made_for_ever(run: Run, heard: Heard, make_context: MakeContext) -> None:
    sandbox = await sandbox_of(make_context(settings=ONE))
    moved = sandbox._directory.with_name("moved")
    await run("import os\nos.rename(here, there)\nopen(here, 'w').close()", args={"here": str(sandbox._directory), "there": str(moved)})
    error = await failure(run, "result = 1")
    assert (error.kind, error.retryable) == ("worker_lost", True)
    assert error.message.startswith("there is no process to run the code: 5 ended before they began")
    await heard.until("NotADirectoryError")
    sandbox._directory.unlink()
    assert await run("result = 1") == 1


async def test_code_that_writes_into_its_workers_socket_fails_its_call_only(run: Run) -> None:
    error = await failure(run, "import os\nos.write(200, b'\\0\\0\\0\\1x')\nwhile True: pass")
    assert error.kind == "python"
    assert await run("result = 1") == 1


# The nursery and the node


async def test_when_the_nursery_is_killed_its_calls_are_lost_and_the_next_have_a_new_one(run: Run, heard: Heard, make_context: MakeContext) -> None:
    nursery = await nursery_of(make_context())
    call = asyncio.ensure_future(
        run("import os, subprocess\nchild = subprocess.Popen(['sleep', '1000'])\nprint('pids', os.getpid(), child.pid)\nwhile True: pass")
    )
    pids = [int(pid) for pid in (await heard.until("pids")).split()]
    os.kill(nursery, signal.SIGKILL)
    with pytest.raises(ToolError, match=r"was lost: its nursery ended \(-9\)") as caught:
        await call
    assert (caught.value.kind, caught.value.retryable) == ("worker_lost", True)
    await_deaths(pids)
    assert await nursery_of(make_context()) != nursery


async def test_a_nursery_told_to_end_takes_everything_along(run: Run, heard: Heard, make_context: MakeContext, tmp_path: Path) -> None:
    nursery = await nursery_of(make_context())
    call = asyncio.ensure_future(run("import subprocess\nsubprocess.Popen(['setsid', 'sleep', '1000'])\nprint('begun')\nwhile True: pass"))
    await heard.until("begun")
    everything = marked(str(tmp_path))
    os.kill(nursery, signal.SIGTERM)
    with pytest.raises(ToolError):
        await call
    await_deaths(everything)


async def test_a_nursery_that_hangs_is_given_up_and_a_cancelled_call_still_ends(
    run: Run, heard: Heard, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noetl.tools.sandbox.pool._PATIENCE_S", 0.1)
    nursery = await nursery_of(make_context())
    call = asyncio.ensure_future(run("import os\nprint('pid', os.getpid())\nwhile True: pass"))
    pid = int(await heard.until("pid"))
    os.kill(nursery, signal.SIGSTOP)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    await_deaths([pid])
    assert await run("result = 1") == 1


async def test_a_nursery_that_can_not_start_fails_the_call_and_not_the_node(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noetl.tools.sandbox.keeper._COMMAND", (sys.executable, "-c", "raise SystemExit(9)"))
    with pytest.raises(ToolError, match=r"its nursery ended \(9\)") as caught:
        await python.run(python.Input(code="result = 1"), make_context())
    assert caught.value.kind == "worker_lost"
    monkeypatch.setattr("noetl.tools.sandbox.keeper._COMMAND", ("/no/such/interpreter",))
    with pytest.raises(ToolError, match=r"no process could be started: .*No such file") as caught:
        await python.run(python.Input(code="result = 1"), make_context())
    assert caught.value.kind == "worker_lost"
    monkeypatch.undo()
    assert await python.run(python.Input(code="result = 1"), make_context()) == 1


NODE = """
import asyncio, os, pathlib, signal, sys, tempfile
from noetl.clock import SystemClock
from noetl.settings import Settings
from noetl.tools import python
from noetl.tools.sandbox.pool import open_sandbox
from noetl.tools.tool import Call, Resources, ToolContext

root = pathlib.Path(sys.argv[1])
tempfile.tempdir = str(root)
CODE = '''
import ctypes, os, signal, subprocess, threading, time
subprocess.Popen(["sleep", "1000"])
subprocess.run(["sh", "-c", "setsid sleep 1000 &"])
if os.fork() == 0:
    os.fork()
    while True: time.sleep(1000)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("begun")
import itertools
sum(itertools.repeat(1))
'''

async def main():
    resources = Resources(Settings(), root / "state", root / "artifacts")
    if len(sys.argv) > 2:
        await resources.get("python", open_sandbox)
        holder = os.fork()
        if holder == 0:
            signal.pause()
        print(holder, flush=True)

    def context(n):
        call = Call("1", 1, "s", 1, n, "s", 1)
        return ToolContext(call=call, resources=resources, clock=SystemClock(), log=lambda stream, line: print(line, flush=True))

    await asyncio.gather(*(python.run(python.Input(code=CODE), context(n)) for n in range(2)))

asyncio.run(main())
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a node that runs two calls; killed at the end if it lives."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen([sys.executable, "-c", NODE, str(tmp_path), *words], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    everything = marked(str(tmp_path))
    for process in started:
        process.kill()
        process.communicate()
    await_deaths(everything)


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def test_nothing_survives_the_kill_of_the_node(node: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = node()
    assert lines_of(process, 2) == ["begun", "begun"]
    everything = marked(str(tmp_path))
    assert len(everything) >= 10  # node, nursery, 2 workers; of each worker 2 x sleep and 1 or, already, 2 forks
    process.kill()
    await_deaths(everything)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux 5.3")
def test_a_fork_of_the_node_that_holds_its_sockets_keeps_nothing_alive(node: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = node("and a fork")
    holder, *begun = lines_of(process, 3)
    assert begun == ["begun", "begun"]
    everything = marked(str(tmp_path)) - {int(holder)}
    process.kill()
    await_deaths(everything)
    os.kill(int(holder), signal.SIGKILL)
    await_deaths([int(holder)])

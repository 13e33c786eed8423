"""Executions on a whole node: actors, a real store, real tools."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from noetl.clock import SystemClock
from noetl.engine import decide as decide_module
from noetl.engine.recovery import folded
from noetl.engine.supervisor import INTENSITY
from noetl.errors import CallError, Fenced, LogUnavailable, NotAllowed, Owned, StoreAway
from noetl.events import AttemptSucceeded, CancelRequested, ChildStarted, ExecutionCancelled, StepCompleted, StepScheduled, TaskScheduled
from noetl.node.incarnation import is_alive
from noetl.probe import ActorExited, ChildRestarting
from noetl.settings import EngineSettings, Settings, ValueLimits
from noetl.store.log import check_chain
from noetl.store.projection import ExecutionQuery
from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook

THREE = playbook("""
    - {step: start, tool: {kind: noop, result: 1}, next: b}
    - {step: b, tool: {kind: noop, result: "{{ start + 1 }}"}, next: c}
    - {step: c, tool: {kind: noop, result: "{{ b + 1 }}"}}
""")
SLEEPER = playbook("""
    - {step: start, tool: {kind: python, code: "import time; open('started', 'w'); time.sleep(1000)"}}
""")


async def test_an_execution_runs_to_its_end_and_its_log_is_a_chain(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(THREE)
    assert (state.status, state.results) == ("completed", {"start": 1, "b": 2, "c": 3})
    rows = await bench.node.parts.store.log.read(state.execution_id)  # type: ignore[union-attr]
    check_chain(rows)
    assert len(rows) == 4, "one append for the start and one for each outcome"


async def test_executions_that_are_over_leave_no_reference_cycles_behind(boot: Boot) -> None:
    """What dies by reference count costs no pauses: the collector has nothing of ours to look for."""
    bench = await boot()
    await bench.run(THREE)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await bench.run(THREE)
        bench.heard.clear()
        gc.collect()
        ours = {type(found).__name__ for found in gc.garbage if type(found).__module__.startswith("noetl")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert ours == set()


async def test_the_log_folds_to_the_state_that_the_actor_had(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(THREE)
    assert bench.node.parts.store is not None
    found = await folded(bench.node.parts.store, state.execution_id)
    assert found.state == state
    assert found.row.status == "completed"


async def test_everything_that_is_durable_is_there_for_the_next_process(boot: Boot) -> None:
    first = await boot()
    state = await first.run(THREE)
    second = await boot()
    assert second.node.parts.store is not None
    assert (await folded(second.node.parts.store, state.execution_id)).state == state


async def test_hundreds_of_executions_run_at_once_and_are_all_in_the_store(boot: Boot) -> None:
    bench = await boot()
    found = await bench.client.load(_written(bench.folder, THREE))
    ids = await asyncio.gather(*(bench.client.start(found) for _ in range(200)))
    states = await asyncio.gather(*(bench.client.ended(id_) for id_ in ids))
    assert {state.status for state in states} == {"completed"}
    assert bench.node.parts.store is not None
    rows = await bench.node.parts.store.executions.list_executions(ExecutionQuery(limit=1000))
    assert {row.id for row in rows} == set(ids)


def _written(folder: Path, text: str, name: str = "test.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


async def test_a_cancel_stops_what_runs_and_says_so(boot: Boot) -> None:
    bench = await boot()
    id_ = await bench.start(SLEEPER)
    await bench.until_event(TaskScheduled, step="start")
    await bench.client.cancel(id_, "enough")
    state = await bench.client.ended(id_)
    assert state.status == "cancelled"
    assert state.error == {"kind": "cancelled", "message": "enough"}
    assert state.steps["start"].status == "cancelled"


async def test_a_cancel_from_another_process_is_seen_by_the_owner(boot: Boot) -> None:
    owner, other = await boot(), await boot()
    id_ = await owner.start(SLEEPER)
    await owner.until_event(TaskScheduled, step="start")
    await other.client.cancel(id_, "from elsewhere")
    assert (await owner.client.ended(id_)).status == "cancelled"


async def test_after_a_cancel_no_attempt_starts(boot: Boot) -> None:
    bench = await boot()
    text = playbook("""
        - step: start
          loop: {in: "{{ range(1000) | list }}", spec: {mode: parallel, max_in_flight: 4}}
          tool: {kind: noop}
          next: after
        - {step: after, tool: {kind: noop}}
    """)
    id_ = await bench.start(text)
    await bench.until_event(AttemptSucceeded, index=20)
    await bench.client.cancel(id_, "")
    state = await bench.client.ended(id_)
    events = [event for happening in bench.heard for event in getattr(happening, "events", ())]
    cancelled = next(position for position, event in enumerate(events) if isinstance(event, CancelRequested))
    assert state.status == "cancelled"
    assert not [event for event in events[cancelled:] if isinstance(event, (TaskScheduled, StepScheduled))]


async def test_a_live_execution_can_not_be_taken_up_and_the_refusal_names_its_owner(boot: Boot) -> None:
    owner, other = await boot(), await boot()
    id_ = await owner.start(SLEEPER)
    with pytest.raises(Owned, match=f"is running in run-.* \\(pid {os.getpid()} on ") as caught:
        await other.left.take_up(id_, is_alive)
    assert owner.node.id in caught.value.owner
    await owner.client.cancel(id_, "")
    await owner.client.ended(id_)


async def test_of_two_processes_that_take_an_execution_up_one_wins(boot: Boot) -> None:
    dead, first, second = await boot(), await boot(), await boot()
    id_ = await dead.start(SLEEPER)
    await dead.until_event(TaskScheduled, step="start")
    outcomes = await asyncio.gather(
        *(bench.left.take_up(id_, lambda owner: owner.node != dead.node.id) for bench in (first, second)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Owned", "str"]
    winner = first if isinstance(outcomes[0], str) else second
    with pytest.raises(Fenced):
        await dead.client.ended(id_)
    await winner.client.cancel(id_, "")
    assert (await winner.client.ended(id_)).status == "cancelled"


async def test_a_process_that_was_thought_dead_can_not_write_any_more(boot: Boot) -> None:
    zombie, taker = await boot(), await boot()
    id_ = await zombie.start(playbook("""
        - {step: start, tool: {kind: python, code: "import time; time.sleep(0.3); result = 1"}, next: b}
        - {step: b, tool: {kind: noop, result: 2}}
    """))  # fmt: skip
    await zombie.until_event(TaskScheduled, step="start")
    await taker.left.take_up(id_, lambda owner: False)
    with pytest.raises(Fenced):
        await zombie.client.ended(id_)
    state = await taker.client.ended(id_)
    assert (state.status, state.results) == ("completed", {"start": 1, "b": 2})


FAILING = playbook("""
    - {step: start, tool: {kind: noop, result: 1}, next: [bad, good]}
    - {step: good, tool: {kind: noop, result: 2}, next: join}
    - step: bad
      args: {folder: "{{ workload.folder }}"}
      tool:
        - {name: first, kind: python, code: "open(f'{folder}/first', 'a').write('x'); result = 1"}
        - {name: second, kind: python, code: "result = {'n': len(open(f'{folder}/ready').read())}"}
      next: join
    - {step: join, tool: {kind: noop, result: "{{ good + bad.results.first }}"}}
""")


async def test_a_resume_of_a_failed_execution_retries_what_failed_and_nothing_else(boot: Boot) -> None:
    bench = await boot()
    payload = {"folder": str(bench.folder)}
    id_ = await bench.start(FAILING, payload)
    failed = await bench.client.ended(id_)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["exception_type"] == "FileNotFoundError"
    (bench.folder / "ready").write_text("yes")
    other = await boot()
    await other.left.take_up(id_, lambda owner: False)
    state = await other.client.ended(id_)
    assert (state.status, state.results["join"]) == ("completed", 3)
    assert (bench.folder / "first").read_text() == "x", "the task that had succeeded did not run again"
    assert state.steps["good"].runs == state.steps["start"].runs == 1


async def test_a_resume_of_a_failed_loop_runs_the_iterations_that_are_missing(boot: Boot) -> None:
    bench = await boot()
    text = playbook("""
        - step: start
          loop: {in: [0, 1, 2, 3], iterator: n}
          tool:
            kind: python
            args: {folder: "{{ workload.folder }}", n: "{{ n }}"}
            code: |
              open(f"{folder}/calls", "a").write(str(n))
              if n == 2:
                  open(f"{folder}/ready")
              result = n
    """)
    id_ = await bench.start(text, {"folder": str(bench.folder)})
    assert (await bench.client.ended(id_)).status == "failed"
    (bench.folder / "ready").write_text("")
    other = await boot()
    await other.left.take_up(id_, lambda owner: False)
    state = await other.client.ended(id_)
    assert state.status == "completed"
    assert state.results["start"]["stats"] == {"total": 4, "success": 4, "failed": 0}
    assert (bench.folder / "calls").read_text() == "01223"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_what_is_over_can_not_be_resumed(boot: Boot, status: str) -> None:
    bench = await boot()
    id_ = await bench.start(THREE if status == "completed" else SLEEPER)
    if status == "cancelled":
        await bench.client.cancel(id_, "")
    await bench.client.ended(id_)
    with pytest.raises(NotAllowed, match=f"is {status}: it can't be resumed"):
        await bench.left.take_up(id_, is_alive)


PARENT = """
    - step: start
      loop: {in: [1, 2, 3], iterator: n, spec: {mode: parallel}}
      tool: {kind: playbook, path: child, args: {n: "{{ n }}"}%s}
"""


async def test_sub_playbooks_are_executions_of_their_own_and_give_their_result(boot: Boot) -> None:
    bench = await boot()
    _written(
        bench.folder,
        playbook(
            '- {step: start, tool: {kind: noop, result: {square: "{{ workload.n * workload.n }}"}}}\n- {step: end, tool: {kind: noop, result: done}}'
        ),
        "child.yaml",
    )
    state = await bench.run(playbook(PARENT % ""))
    assert state.status == "completed"
    assert bench.node.parts.store is not None
    family = await bench.node.parts.store.executions.family(state.execution_id)
    assert [(row.parent_id, row.status) for row in family] == [(None, "completed")] + [(state.execution_id, "completed")] * 3
    report = await bench.client.report(state)
    assert report.steps["start"].result["results"] == ["done"] * 3
    returned = await bench.run(playbook(PARENT % ", return_step: start"))
    assert (await bench.client.report(returned)).steps["start"].result["results"] == [{"square": 1}, {"square": 4}, {"square": 9}]


async def test_a_child_that_fails_is_an_error_of_the_call_that_names_it(boot: Boot) -> None:
    bench = await boot()
    _written(bench.folder, playbook("- {step: start, tool: {kind: python, code: 1/0}}"), "child.yaml")
    state = await bench.run(playbook(PARENT % ""))
    assert state.status == "failed"
    assert state.error is not None
    assert state.error["kind"] == "playbook"
    assert "failed at step 'start': ZeroDivisionError" in state.error["message"]


async def test_a_cancel_walks_the_tree(boot: Boot) -> None:
    bench = await boot()
    _written(bench.folder, SLEEPER, "child.yaml")
    id_ = await bench.start(playbook("- {step: start, tool: {kind: playbook, path: child}}"))
    started = await bench.until_event(ChildStarted)
    await bench.until(lambda heard: getattr(heard, "execution_id", None) == started.child and any(isinstance(e, TaskScheduled) for e in heard.events))
    await bench.client.cancel(id_, "")
    assert (await bench.client.ended(id_)).status == "cancelled"
    assert bench.node.parts.store is not None
    assert [row.status for row in await bench.node.parts.store.executions.family(id_)] == ["cancelled", "cancelled"]
    cancelled = [
        happening.execution_id for happening in bench.heard if any(isinstance(e, ExecutionCancelled) for e in getattr(happening, "events", ()))
    ]  # type: ignore[attr-defined]
    assert cancelled == [started.child, id_], "children first"


async def test_playbooks_that_call_themselves_stop_at_the_depth_limit(boot: Boot) -> None:
    bench = await boot()
    text = playbook("- {step: start, tool: {kind: playbook, path: test}}")
    state = await bench.run(text)
    assert state.status == "failed"
    assert bench.node.parts.store is not None
    assert len(await bench.node.parts.store.executions.family(state.execution_id)) == 17


async def test_a_missing_sub_playbook_is_not_found_and_says_where_was_looked(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("- {step: start, tool: {kind: playbook, path: no/such}}"))
    assert state.error is not None
    assert state.error["kind"] == "not_found"
    assert str(bench.folder) in state.error["message"]


async def test_a_kind_without_a_backend_fails_as_unsupported_and_is_named(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("- {step: start, tool: {kind: snowflake, auth: sf, command: select 1}}"))
    assert state.error is not None
    assert state.error["kind"] == "unsupported"
    assert "snowflake" in state.error["message"]


async def test_a_long_wait_leaves_memory_and_the_store_wakes_it(boot: Boot) -> None:
    bench = await boot(settings=Settings(engine=EngineSettings(passivate_after_s=0.2, inbox_poll_s=0.05)))
    text = playbook("""
        - step: start
          tool:
            kind: python
            code: "result = {'n': 1}"
            spec: {policy: {rules: [{when: "{{ _attempt < 2 }}", then: {do: retry, attempts: 2, delay: 0.6}}, {else: {then: {do: continue}}}]}}
    """)
    id_ = await bench.start(text)
    gone = await bench.until(lambda heard: isinstance(heard, ActorExited) and heard.path == f"solo/shard/{id_}")
    assert gone.reason.value == "normal"
    assert bench.node.parts.store is not None
    row = await bench.node.parts.store.executions.execution(id_)
    assert row is not None
    assert (row.status, row.wake_at is not None) == ("waiting", True)
    state = await bench.client.ended(id_)
    assert (state.status, state.results) == ("completed", {"start": {"n": 1}})


class Unsteady(SystemClock):
    """Some looks show a time that is a little behind, as the wall clock may be behind the loop's timers."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> dt.datetime:
        self._looks += 1
        return super().now() - dt.timedelta(milliseconds=4 * (self._looks % 5 < 2))


async def test_timers_that_fire_a_hair_early_are_set_again(boot: Boot) -> None:
    bench = await boot(clock=Unsteady())
    steps = "\n".join(
        f"""- step: s{number}
  tool:
    kind: noop
    spec: {{policy: {{rules: [{{when: "{{{{ _attempt < 2 }}}}", then: {{do: retry, attempts: 2, delay: 0.003}}}}]}}}}
  next: s{number + 1}"""
        for number in range(30)
    )
    state = await bench.run(playbook(f"{steps}\n- {{step: s30}}"))
    assert state.status == "completed"


async def test_a_cancel_wakes_an_execution_that_waits_in_the_store(boot: Boot) -> None:
    bench = await boot()
    text = playbook("""
        - step: start
          tool: {kind: python, code: 1/0, spec: {policy: {rules: [{else: {then: {do: retry, attempts: 2, delay: 5000, max_delay: 9999}}}]}}}
    """)
    id_ = await bench.start(text)
    await bench.until(lambda heard: isinstance(heard, ActorExited) and heard.path == f"solo/shard/{id_}")
    await bench.client.cancel(id_, "")
    assert (await bench.client.ended(id_)).status == "cancelled"


async def test_an_execution_actor_that_crashes_is_restarted_and_its_running_attempt_is_not_disturbed(boot: Boot) -> None:
    bench = await boot()
    text = playbook("""
        - {step: start, tool: {kind: python, args: {folder: "{{ workload.folder }}"}, code: "import time; open(f'{folder}/calls', 'a').write('x'); time.sleep(0.5); result = 7"}, next: b}
        - {step: b, tool: {kind: noop, result: "{{ start + 1 }}"}}
    """)
    id_ = await bench.start(text, {"folder": str(bench.folder)})
    await bench.until_event(TaskScheduled, step="start")
    execution = _child(bench.node.root, "shard", id_, "execution")
    execution.crash(RuntimeError("a bug"))
    restarting = await bench.until(lambda heard: isinstance(heard, ChildRestarting))
    assert str(restarting.reason) == "a bug"
    state = await bench.client.ended(id_)
    assert state.results == {"start": 7, "b": 8}
    assert (bench.folder / "calls").read_text() == "x"


async def test_an_execution_actor_that_crashes_while_its_append_is_under_way_goes_on_behind_it(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the file, so the append waits in the writer when the next incarnation begins to read."""
    bench = await boot()
    store = bench.node.parts.store
    assert store is not None
    text = playbook("""
        - {step: start, tool: {kind: python, code: "import time; time.sleep(0.2); result = 1"}, next: b}
        - {step: b, tool: {kind: noop, result: "{{ start + 1 }}"}}
    """)
    id_ = await bench.start(text)
    await bench.until_event(TaskScheduled, step="start")
    execution, append, settle = _child(bench.node.root, "shard", id_, "execution"), store.log.append, store.log.settle
    waits = asyncio.Event()

    def append_and_crash(*about: Any) -> None:
        monkeypatch.setattr(store.log, "append", append)
        append(*about)
        execution.crash(RuntimeError("a bug"))

    async def settle_and_tell() -> None:
        waits.set()
        await settle()

    with closing(sqlite3.connect(bench.folder / "home" / "noetl.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        monkeypatch.setattr(store.log, "append", append_and_crash)
        monkeypatch.setattr(store.log, "settle", settle_and_tell)
        await waits.wait()
        other.execute("rollback")
    state = await bench.client.ended(id_)
    assert (state.status, state.results) == ("completed", {"start": 1, "b": 2})
    assert len([heard for heard in bench.heard if isinstance(heard, ChildRestarting)]) == 1
    assert len(await store.log.read(id_)) == 3, "nothing is in the log twice"


def _child(root: Any, *path: Any) -> Any:
    cell = root
    for name in path:
        cell = next(child for child in cell.child_records() if child.id == name)
    return cell


async def test_an_execution_that_crashes_again_and_again_is_quarantined_and_its_siblings_go_on(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await boot()
    good = await bench.start(SLEEPER, name="good")
    poison = playbook("- {step: poison, tool: {kind: noop}}")
    original = decide_module._TAKERS

    def bug(turn: Any, message: Any) -> None:
        if turn.program.playbook.steps[0].name == "poison":
            raise RuntimeError("a bug in decide")
        original[type(message)](turn, message)

    monkeypatch.setattr(decide_module, "_TAKERS", dict.fromkeys(original, bug))
    with pytest.raises(CallError, match="is quarantined: it crashed more than 5 times"):
        await bench.start(poison)
    assert len([heard for heard in bench.heard if isinstance(heard, ChildRestarting)]) == INTENSITY
    monkeypatch.undo()
    await bench.client.cancel(good, "")
    assert (await bench.client.ended(good)).status == "cancelled"


READS: dict[str, tuple[str, Any]] = {
    "items": (
        """
        - {step: start, loop: {in: [1, 2, 3], iterator: n}, tool: {kind: noop, result: "{{ n }}"}, next: end}
        - {step: end, tool: {kind: python, args: {got: "{{ start.results }}"}, code: "result = got"}}
        """,
        [1, 2, 3],
    ),
    "latest": ("""- {step: end, tool: {kind: python, args: {got: "{{ token('api') }}"}, code: "result = len(got)"}}""", 5),
    "keep": ("- {step: end, tool: {kind: playbook, path: child}}", 1),
}
"""Attempts that need the store by this method, and what they give."""


@pytest.mark.parametrize("method", READS)
async def test_what_an_attempt_needs_of_a_store_that_is_away_is_waited_for(boot: Boot, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    text, expected = READS[method]
    bench = await boot()
    store, vault = bench.node.parts.store, bench.node.parts.sealed
    assert store is not None
    assert vault is not None
    await vault.put("api", "bearer", {"token": "t0ken"})
    file = bench.folder / "test.yaml"
    file.write_text(playbook(text))
    (bench.folder / "child.yaml").write_text(playbook("- {step: start, tool: {kind: noop, result: 1}}"))
    loaded = await bench.client.load(file)
    part: Any = type({"items": store.log, "latest": store.credentials, "keep": store.catalog}[method])
    read, asked = getattr(part, method), []

    async def away(*args: Any, **named: Any) -> Any:
        asked.append(method)
        if len(asked) < 3:
            raise StoreAway("the connection was lost")
        return await read(*args, **named)

    monkeypatch.setattr(part, method, away)
    state = await bench.client.ended(await bench.client.start(loaded))
    assert len(asked) >= 3
    assert (state.status, state.results["end"]) == ("completed", expected)


async def test_a_full_disk_fails_the_append_loudly_and_a_resume_goes_on_behind_it(boot: Boot) -> None:
    bench = await boot()
    text = playbook("""
        - {step: start, tool: {kind: noop, result: 1}, next: big}
        - {step: big, tool: {kind: python, code: "result = 'x' * 60000"}, next: c}
        - {step: c, tool: {kind: noop, result: "{{ big | length }}"}}
    """)
    store = bench.node.parts.store
    assert store is not None
    connection = store.log._database.writer._connection  # type: ignore[attr-defined]
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages + 2}")
    id_ = await bench.start(text)
    with pytest.raises(LogUnavailable, match="the disk is full: make room, then resume"):
        await bench.client.ended(id_)
    connection.execute("pragma max_page_count = 1000000")
    other = await boot()
    await other.left.take_up(id_, lambda owner: False)
    state = await other.client.ended(id_)
    assert (state.status, state.results["c"]) == ("completed", 60000)


async def test_large_results_lie_in_the_artifact_store_and_templates_read_them(boot: Boot) -> None:
    bench = await boot(settings=Settings(values=ValueLimits(inline_max_bytes=1000)))
    text = playbook("""
        - {step: start, tool: {kind: python, code: "result = {'rows': [{'n': n} for n in range(5000)], 'total': 5000}"}, next: pick}
        - {step: pick, tool: {kind: noop, result: {n: "{{ start.rows[1100].n }}", total: "{{ start.total }}", ref: "{{ start._ref }}"}}, next: code}
        - {step: code, tool: {kind: python, args: {all: "{{ start }}"}, code: "result = sum(row['n'] for row in all['rows'])"}, next: over}
        - {step: over, loop: {in: "{{ start.rows }}", iterator: row, spec: {mode: parallel, max_in_flight: 100}}, tool: {kind: noop, result: "{{ row.n }}"}}
    """)
    state = await bench.run(text)
    assert state.status == "completed", state.error
    assert state.results["pick"]["n"] == 1100
    assert state.results["pick"]["ref"].startswith("noetl://artifact/")
    assert state.results["code"] == sum(range(5000))
    assert state.results["over"]["stats"]["success"] == 5000
    events = [event for happening in bench.heard for event in getattr(happening, "events", ())]
    assert sum(isinstance(event, StepCompleted) for event in events) == 4
    assert bench.node.parts.store is not None
    rows = await bench.node.parts.store.log.read(state.execution_id)
    assert max(len(row.body) for row in rows) < 100_000


async def test_a_snapshot_bounds_the_replay(boot: Boot) -> None:
    from noetl.settings import StoreSettings

    bench = await boot(settings=Settings(store=StoreSettings(snapshot_every=50)))
    state = await bench.run(playbook("""
        - {step: start, loop: {in: "{{ range(200) | list }}", spec: {mode: parallel}}, tool: {kind: noop, result: "{{ item }}"}, next: b}
        - {step: b, tool: {kind: noop, result: "{{ start.results | sum }}"}}
    """))  # fmt: skip
    store = bench.node.parts.store
    assert store is not None
    snapshot = await store.snapshots.snapshot(state.execution_id)
    assert snapshot is not None
    assert snapshot.version > 1
    assert (await folded(store, state.execution_id)).state == state


async def test_the_step_timeout_fails_the_step_and_stops_its_attempt(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(SLEEPER.replace("{step: start,", "{step: start, spec: {timeout: 0.4},"))
    assert state.error is not None
    assert (state.error["kind"], state.error["retryable"]) == ("timeout", True)


async def test_a_task_timeout_is_retryable_and_the_call_was_stopped(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("- {step: start, tool: {kind: python, timeout: 0.3, code: 'while True: pass'}}"))
    assert state.error is not None
    assert state.error["kind"] == "timeout"
    assert state.error["message"] == "task 'start' took longer than 0.3 s"


async def test_what_the_code_prints_is_in_the_runs_log(boot: Boot) -> None:
    from noetl.node.runlog import read_log

    bench = await boot()
    state = await bench.run(playbook('- {step: start, tool: {kind: python, code: "import sys; print(1); print(2, file=sys.stderr)"}}'))
    assert bench.node.parts.store is not None
    lines = [(line.stream, line.text) for line in read_log(bench.node.parts.store.logs_dir, state.execution_id)]
    assert sorted(lines) == [("stderr", "2"), ("stdout", "1")]


async def test_env_shows_only_what_the_playbook_names_and_nothing_that_looks_secret(boot: Boot) -> None:
    bench = await boot(environment={"REGION": "eu", "API_TOKEN": "t0psecret", "OTHER": "x"})
    state = await bench.run(
        playbook('- {step: start, tool: {kind: noop, result: ["{{ env.REGION }}", "{{ env.API_TOKEN }}", "{{ env.get(\'OTHER\') }}"]}}')
    )
    assert state.results["start"] == ["eu", None, None]
    allowed = await boot(settings=Settings(env_allow=("OTHER",)), environment={"REGION": "eu", "OTHER": "x"})
    state = await allowed.run(playbook('- {step: start, tool: {kind: noop, result: ["{{ env.REGION }}", "{{ env.OTHER }}"]}}'))
    assert state.results["start"] == [None, "x"]


async def test_the_time_of_a_routing_template_is_that_of_its_event(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook('- {step: start, set: {ctx.at: "{{ now() }}"}}'))
    assert dt.datetime.fromisoformat(state.ctx["at"]) == state.requested_at


async def test_a_worker_process_killed_from_outside_is_a_lost_attempt_that_runs_again(boot: Boot) -> None:
    bench = await boot()
    text = playbook("""
        - step: start
          tool:
            kind: python
            args: {folder: "{{ workload.folder }}"}
            code: |
              import os, time, pathlib
              place = pathlib.Path(folder) / "pids"
              before = place.read_text() if place.exists() else ""
              place.write_text(before + f"{os.getpid()}\\n")
              if not before:
                  time.sleep(1000)
              result = "second"
    """)
    id_ = await bench.start(text, {"folder": str(bench.folder)})
    pids = bench.folder / "pids"
    while not pids.exists() or not pids.read_text().endswith("\n"):
        await asyncio.sleep(0.01)
    os.kill(int(pids.read_text()), signal.SIGKILL)
    state = await bench.client.ended(id_)
    assert (state.status, state.results["start"]) == ("completed", "second")

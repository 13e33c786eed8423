"""Tokens, arcs, joins, failure, termination: docs/reference/language.md, section 6."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.errors import ToolError
from noetl.events import ExecutionStopping, StepRouted, WarningRaised
from noetl.testing.rehearsal import Rehearsal, SimulatedCall
from tests.engine.playbooks import playbook


def boom(call: SimulatedCall) -> Any:
    raise ToolError("gone", kind="not_found", result={"status": 404, "data": {"why": "gone"}}, extra={"status_code": 404})


def test_steps_follow_each_other_along_their_arcs() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, tool: {kind: noop}, next: {arcs: [{step: a}]}}
        - {step: a, tool: {kind: noop}, next: {arcs: [{step: b}]}}
        - {step: b, tool: {kind: noop}}
    """)
    ).play()
    assert (run.status, run.order) == ("completed", ["start", "a", "b"])


@pytest.mark.parametrize(
    ("head", "steps", "first"),
    [
        ("executor: {spec: {entry_step: b}}", "- {step: start}\n- {step: b}", "b"),
        ("", "- {step: a}\n- {step: start}", "start"),
        ("", "- {step: a}\n- {step: b}", "a"),
    ],
    ids=["entry_step", "start", "first of the list"],
)
def test_the_entry_is_the_named_step_else_start_else_the_first(head: str, steps: str, first: str) -> None:
    assert Rehearsal(playbook(steps, head)).play().order == [first]


def test_an_exclusive_router_takes_the_first_arc_that_matches() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 5}}
          next:
            arcs:
              - {step: low, when: "{{ start.n < 3 }}"}
              - {step: mid, when: "{{ start.n < 10 }}"}
              - {step: high, when: "{{ start.n > 1 }}"}
        - {step: low}
        - {step: mid}
        - {step: high}
    """)
    ).play()
    assert run.order == ["start", "mid"]


def test_an_inclusive_router_takes_every_arc_that_matches() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 5}}
          next: {spec: {mode: inclusive}, arcs: [{step: low, when: "{{ start.n < 3 }}"}, {step: mid, when: "{{ start.n < 10 }}"}, {step: high}]}
        - {step: low}
        - {step: mid}
        - {step: high}
    """)
    ).play()
    assert run.order == ["start", "mid", "high"]


def test_the_set_of_a_chosen_arc_is_seen_by_later_guards_and_its_args_arrive() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          next:
            spec: {mode: inclusive}
            arcs:
              - {step: a, set: {ctx.seen: 1}, args: {x: "{{ ctx.seen + 1 }}"}}
              - {step: b, when: "{{ ctx.seen == 1 }}"}
        - {step: a, tool: {kind: noop, result: "{{ args.x }}"}}
        - {step: b}
    """)
    ).play()
    assert run.order == ["start", "a", "b"]
    assert run.result("a") == 2


def test_the_set_of_a_step_comes_before_its_arcs_and_bare_keys_write_ctx() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 7}}
          set: {total: "{{ start.n }}", ctx.twice: "{{ result.n * 2 }}"}
          next: {arcs: [{step: a, when: "{{ ctx.total == 7 and ctx.twice == 14 }}"}]}
        - {step: a}
    """)
    ).play()
    assert run.order == ["start", "a"]
    assert run.ctx == {"total": 7, "twice": 14}


def test_a_branch_without_a_match_ends_quietly() -> None:
    run = Rehearsal(playbook('- {step: start, next: {arcs: [{step: a, when: "{{ false }}"}]}}\n- {step: a}')).play()
    assert (run.status, run.order) == ("completed", ["start"])


@pytest.mark.parametrize(
    ("head", "spec"),
    [("", "spec: {on_no_match: fail},"), ("executor: {spec: {no_next_is_error: true}}", "")],
    ids=["on_no_match", "no_next_is_error"],
)
def test_no_match_fails_where_the_author_says_so(head: str, spec: str) -> None:
    run = Rehearsal(playbook(f'- {{step: start, next: {{{spec} arcs: [{{step: a, when: "{{{{ false }}}}"}}]}}}}\n- {{step: a}}', head)).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["message"] == "no arc of step 'start' matched"


def test_a_guard_that_can_not_be_evaluated_is_false_and_a_warning() -> None:
    run = Rehearsal(playbook('- {step: start, next: {arcs: [{step: a, when: "{{ nothing < 3 }}"}, {step: b}]}}\n- {step: a}\n- {step: b}')).play()
    assert run.order == ["start", "b"]
    assert "the guard of the arc to 'a' is false" in run.named(WarningRaised)[0].message


def test_a_leaf_has_an_arc_to_end_and_end_runs_once_after_all_branches() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: [a, b]}
        - {step: a, tool: {kind: noop}}
        - {step: b, tool: {kind: noop}}
        - {step: end, tool: {kind: noop, result: {done: true}}}
    """)
    ).play()
    assert run.order == ["start", "a", "b", "end"]
    assert run.runs("end") == 1


def test_a_fan_out_of_two_branches_runs_the_target_once_with_both_args() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}}
        - {step: a, tool: {kind: noop, result: 1}, next: {arcs: [{step: j, args: {a: "{{ a }}", both: a}}]}}
        - {step: b, tool: {kind: noop, result: 2}, next: {arcs: [{step: j, args: {b: "{{ b }}", both: b}}]}}
        - {step: j, tool: {kind: noop, result: "{{ args }}"}}
    """)
    ).play()
    assert run.runs("j") == 1
    assert run.result("j") == {"a": 1, "b": 2, "both": "b"}


def test_the_result_that_came_last_is_prev_of_a_join() -> None:
    text = playbook("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}}
        - {step: a, tool: {kind: noop, result: from-a}, next: {arcs: [{step: j}]}}
        - {step: b, tool: {kind: noop, result: from-b}, next: {arcs: [{step: j}]}}
        - {step: j, tool: {kind: noop, result: "{{ _prev }}"}}
    """)
    assert Rehearsal(text).play().result("j") == "from-b"
    assert Rehearsal(text, choose=lambda count: count - 1).play().result("j") == "from-a"


def test_an_exclusive_choice_merges_at_once() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {arcs: [{step: a, when: "{{ true }}"}, {step: b}]}}
        - {step: a, next: {arcs: [{step: j}]}}
        - {step: b, next: {arcs: [{step: j}]}}
        - {step: j}
    """)
    ).play()
    assert run.order == ["start", "a", "j"]


def test_a_cycle_runs_until_its_guard_ends_it() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, set: {ctx.n: 0}, next: {arcs: [{step: work}]}}
        - step: work
          set: {ctx.n: "{{ ctx.n + 1 }}"}
          next: {arcs: [{step: work, when: "{{ ctx.n < 5 }}"}, {step: done}]}
        - {step: done}
    """)
    ).play()
    assert run.runs("work") == 5
    assert run.order[-1] == "done"


def test_the_limit_of_step_runs_ends_a_cycle_that_would_run_for_ever() -> None:
    run = Rehearsal(playbook("- {step: start, next: {arcs: [{step: start}]}}", "executor: {spec: {limits: {max_step_runs: 1200}}}")).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["kind"] == "limit"
    assert run.runs("start") == 1200


def test_join_all_waits_for_a_token_in_every_place() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}}
        - {step: a, next: {arcs: [{step: j}]}}
        - {step: b, tool: {kind: noop}, next: {arcs: [{step: c}]}}
        - {step: c, tool: {kind: noop}, next: {arcs: [{step: j}]}}
        - {step: j, spec: {join: all}}
    """)
    ).play()
    assert run.order == ["start", "a", "b", "c", "j"]


def test_a_join_all_that_is_never_filled_fails_and_names_what_is_missing() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}]}}
        - {step: a, next: {arcs: [{step: j}]}}
        - {step: b, next: {arcs: [{step: j}]}}
        - {step: j, spec: {join: all}}
    """)
    ).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["message"] == "join 'j' never completed: no token from b"


def test_join_any_fires_for_every_token() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}}
        - {step: a, next: {arcs: [{step: j}]}}
        - {step: b, next: {arcs: [{step: j}]}}
        - {step: j, spec: {join: any}}
    """)
    ).play()
    assert run.runs("j") == 2


def test_join_n_fires_when_n_places_hold_tokens_and_the_rest_waits_for_the_next_n() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: [a, b, c, d]}
        - {step: a, next: j}
        - {step: b, next: j}
        - {step: c, next: j}
        - {step: d, next: j}
        - {step: j, spec: {join: 2}}
    """)
    ).play()
    assert (run.status, run.runs("j")) == ("completed", 2)


def test_auto_joins_that_wait_for_each_other_do_not_deadlock() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: [x, y]}
        - {step: x, next: {spec: {mode: inclusive}, arcs: [{step: y, when: "{{ false }}"}, {step: done}]}}
        - {step: y, next: {spec: {mode: inclusive}, arcs: [{step: x, when: "{{ false }}"}, {step: done}]}}
        - {step: done}
    """)
    ).play()
    assert run.status == "completed"
    assert run.runs("x") == run.runs("y") == 1


def test_several_tokens_in_one_place_are_never_merged() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          loop: {in: [x, y, x], iterator: city}
          tool: {kind: noop}
          case:
            - {when: "{{ event.name == 'call.done' }}", then: {next: [{step: report, args: {city: "{{ city }}"}}]}}
        - {step: report, tool: {kind: noop, result: "{{ args.city }}"}}
    """)
    ).play()
    assert [call.args for call in run.calls if call.step == "report"] == [{"city": "x"}, {"city": "y"}]


def test_an_unguarded_arc_never_follows_a_failure() -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: http, url: x}, next: {arcs: [{step: end}]}}\n- {step: end}"), {"http": boom}).play()
    assert (run.status, run.order) == ("failed", ["start"])
    assert run.state.error is not None
    assert (run.state.error["kind"], run.state.error["step"], run.state.error["status_code"]) == ("not_found", "start", 404)


@pytest.mark.parametrize(
    "guard",
    [
        "{{ event.name == 'step.failed' }}",
        "{{ event.name == 'call.error' }}",
        "{{ error is defined }}",
        "{{ outcome.status == 'error' }}",
        "{{ output.error.kind == 'not_found' }}",
        "{{ call.status_code == 404 }}",
        "{{ call.error is defined }}",
        "{{ steps['call'].status == 404 }}",
    ],
)
def test_an_arc_that_speaks_of_failure_handles_it(guard: str) -> None:
    run = Rehearsal(
        playbook(f"""
        - {{step: call, tool: {{kind: http, url: x}}, next: {{arcs: [{{step: plain, when: "{{{{ true }}}}"}}, {{step: repair, when: "{guard}"}}]}}}}
        - {{step: plain}}
        - {{step: repair}}
    """),
        {"http": boom},
    ).play()
    assert (run.status, run.order) == ("completed", ["call", "repair"])
    assert run.statuses() == {"call": "failed", "repair": "completed"}


def test_an_unhandled_failure_stops_other_branches_after_a_grace() -> None:
    text = playbook("""
        - {step: start, next: [bad, slow]}
        - {step: bad, tool: {kind: http, url: x}}
        - {step: slow, tool: {kind: noop}, next: after}
        - {step: after}
    """)
    run = Rehearsal(text, {"http": boom}).play()
    assert run.status == "failed"
    assert run.order == ["start", "bad", "slow"]
    assert run.named(ExecutionStopping)[0].until is not None


def test_on_failure_drain_lets_the_other_branches_finish() -> None:
    run = Rehearsal(
        playbook(
            """
        - {step: start, next: [bad, slow]}
        - {step: bad, tool: {kind: http, url: x}}
        - {step: slow, tool: {kind: noop}, next: after}
        - {step: after, tool: {kind: noop}}
    """,
            "executor: {spec: {policy: {on_failure: drain}}}",
        ),
        {"http": boom},
    ).play()
    assert run.status == "failed"
    assert run.statuses()["after"] == "completed"


@pytest.mark.parametrize(("tools", "status"), [({}, "completed"), ({"http": boom}, "failed")], ids=["completed", "failed"])
def test_the_final_step_runs_once_also_after_a_failure(tools: Any, status: str) -> None:
    run = Rehearsal(
        playbook(
            """
        - {step: start, tool: {kind: http, url: x}}
        - {step: report, tool: {kind: noop, result: "{{ args }}"}}
    """,
            "executor: {spec: {final_step: report}}",
        ),
        {"http": lambda call: {"status": 200}} | tools,
    ).play()
    assert run.status == status
    assert run.runs("report") == 1
    assert run.result("report") == {"execution_id": "42", "status": status, "failed_steps": ["start"] if status == "failed" else []}


def test_a_denied_admission_drops_the_token_and_the_step_is_skipped() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {arcs: [{step: gate}]}}
        - step: gate
          spec: {policy: {admit: {rules: [{when: "{{ ctx.open }}", then: {allow: true}}, {else: {then: {allow: false}}}]}}}
          next: {arcs: [{step: after}]}
        - {step: after}
    """)
    ).play()
    assert run.status == "completed"
    assert run.statuses() == {"start": "completed", "gate": "skipped"}


GATE = playbook("""
    - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: gate}, {step: opener}]}}
    - step: gate
      spec: {policy: {admit: {rules: [{when: "{{ ctx.open }}", then: {allow: true}}, {else: {then: {allow: false}}}], on_deny: wait}}}
    - {step: opener, tool: {kind: noop}, set: {ctx.open: "{{ workload.opens }}"}}
""", "workload: {opens: true}")  # fmt: skip


def test_a_token_that_admission_lets_wait_goes_on_when_ctx_changes() -> None:
    assert Rehearsal(GATE).play().order == ["start", "opener", "gate"]


def test_a_step_that_is_never_admitted_fails_the_execution() -> None:
    run = Rehearsal(GATE, payload={"opens": False}).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["message"] == "step 'gate' was never admitted"


def test_a_template_that_fails_in_set_fails_the_step_and_names_the_expression() -> None:
    run = Rehearsal(playbook('- {step: start, set: {ctx.x: "{{ nothing + 1 }}"}}')).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["kind"] == "template"
    assert "{{ nothing + 1 }}" in run.state.error["message"]


def test_a_router_chain_longer_than_one_turn_runs_to_its_end() -> None:
    steps = "\n".join(f"- {{step: s{number}, next: {{arcs: [{{step: s{number + 1}}}]}}}}" for number in range(1500))
    run = Rehearsal(playbook(steps + "\n- {step: s1500}")).play()
    assert (run.status, len(run.order)) == ("completed", 1501)


def graphs() -> st.SearchStrategy[tuple[int, list[list[int]], list[str]]]:
    """Acyclic nets: every step but the last has arcs to later ones; each router is exclusive or inclusive."""

    def build(size: int) -> st.SearchStrategy[tuple[int, list[list[int]], list[str]]]:
        arcs = st.tuples(*(st.lists(st.integers(position + 1, size - 1), min_size=1, max_size=3, unique=True) for position in range(size - 1))).map(
            list
        )
        modes = st.lists(st.sampled_from(["exclusive", "inclusive"]), min_size=size, max_size=size)
        return st.tuples(st.just(size), arcs, modes)

    return st.integers(2, 9).flatmap(build)


@given(graphs(), st.randoms(use_true_random=False))
def test_in_any_acyclic_net_auto_joins_run_each_step_at_most_once_and_all_tokens_end(graph: Any, random: Any) -> None:
    size, arcs, modes = graph
    steps = []
    for position in range(size):
        targets = arcs[position] if position < size - 1 else []
        following = ", ".join(f"{{step: s{target}}}" for target in targets)
        router = f", next: {{spec: {{mode: {modes[position]}}}, arcs: [{following}]}}" if targets else ""
        steps.append(f"- {{step: s{position}, tool: {{kind: noop}}{router}}}")
    run = Rehearsal(playbook("\n".join(steps)), choose=random.randrange).play()
    assert run.status == "completed"
    assert not run.state.places
    assert not run.state.runs
    assert all(step.runs == 1 for step in run.state.steps.values())
    made = sum(len(event.tokens) for event in run.named(StepRouted))
    assert made >= len(run.order) - 1

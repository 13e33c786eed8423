"""`next`: arcs (6.1), and the older lists (10.2)."""

from __future__ import annotations

import pytest

from noetl.dsl.playbook import Arc, Step, Write
from tests.dsl.documents import errors_of, fixture_step, framed, loaded, steps_of

Short = tuple[str, object, tuple[int, ...]]


def routes(following: str) -> tuple[list[Short], bool]:
    """Target, guard and `unless` of each arc, and whether they are inclusive."""
    step = steps_of(f"- {{step: start, next: {following}}}\n- step: a\n- step: b\n- step: c")[0]
    return [(arc.step, arc.when, arc.unless) for arc in step.arcs], step.inclusive


def fixture_arcs(step: str) -> Step:
    return fixture_step("dialects/next_lists.yaml", step)


# Arcs


def test_an_arc_has_a_target_a_guard_args_and_writes() -> None:
    arc = fixture_step("dialects/standard.yaml", "plan").arcs[0]
    assert arc == Arc(
        "fetch", "{{ plan.regions }}", {"regions": "{{ plan.regions }}"}, (Write("ctx", "count", "{{ plan.regions | length }}"),), line=80
    )


@pytest.mark.parametrize(
    ("written", "inclusive", "fails"),
    [
        ("{arcs: [{step: start}]}", False, False),
        ("{spec: {mode: exclusive}, arcs: [{step: start}]}", False, False),
        ("{spec: {mode: inclusive}, arcs: [{step: start}]}", True, False),
        ("{spec: {mode: inclusive, on_no_match: quiet}, arcs: [{step: start}]}", True, False),
        ("{spec: {on_no_match: fail}, arcs: [{step: start}]}", False, True),
        ("{spec: {policy: {on_no_match: fail}}, arcs: [{step: start}]}", False, True),
        ("{on_no_match: fail, mode: inclusive, arcs: [{step: start}]}", True, True),
    ],
)
def test_the_mode_says_how_arcs_are_chosen(written: str, inclusive: bool, fails: bool) -> None:
    step = steps_of(f"- {{step: start, next: {written}}}")[0]
    assert (step.inclusive, step.fail_on_no_match) == (inclusive, fails)


def test_bare_keys_of_a_steps_and_an_arcs_set_write_ctx() -> None:
    step = steps_of("- {step: start, set: {x: 1}, set_ctx: {z: 3}, next: {arcs: [{step: start, set: {y: 2}}]}}")[0]
    assert step.set == (Write("ctx", "x", 1), Write("ctx", "z", 3))
    assert step.arcs[0].set == (Write("ctx", "y", 2),)


def test_cond_is_when() -> None:
    assert fixture_arcs("mild").arcs == (Arc("end", "{{ event.name == 'step.done' }}", {"from": "mild"}, line=51),)


# Leaves (D-5)


def test_a_leaf_has_an_arc_to_end() -> None:
    start, routed, chooses, closed, end = steps_of(
        """
        - step: start
        - step: routed
          next: start
        - step: chooses
          case: [{when: "{{ event.name == 'step.exit' }}", then: {next: start}}]
        - step: closed
          next: []
        - step: end
        """
    )
    assert [arc.step for arc in start.arcs] == ["end"]
    assert [arc.step for arc in routed.arcs] == ["start"]
    assert (chooses.arcs, closed.arcs, end.arcs) == ((), (), ())


def test_without_a_step_end_a_leaf_has_no_arc() -> None:
    assert steps_of("- step: start\n- step: other")[0].arcs == ()


def test_the_final_step_is_no_leaf() -> None:
    text = framed("- step: start\n- step: end\n- step: last").replace("workflow:", "executor: {spec: {final_step: last}}\nworkflow:")
    assert [len(step.arcs) for step in loaded(text).steps] == [1, 0, 0]


# Older lists


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a", ([("a", None, ())], False)),
        ("[a, b]", ([("a", None, ()), ("b", None, ())], True)),
        ("[a, {step: b}]", ([("a", None, ()), ("b", None, ())], True)),
        ("{step: a, when: x}", ([("a", "x", ())], False)),
        ("[{step: a, when: x}]", ([("a", "x", ())], False)),
        ("[{when: x, then: a}]", ([("a", "x", ())], False)),
        ("[{when: x, then: [a, b]}]", ([("a", "x", ()), ("b", "x", ())], True)),
        ("[{when: x, then: a}, {when: y, then: b}]", ([("a", "x", ()), ("b", "y", ())], True)),
        ("[{when: x, step: a}, {when: y, step: b}]", ([("a", "x", ()), ("b", "y", ())], True)),
        ("[{when: x, then: a}, {when: y, then: b}, {else: c}]", ([("a", "x", ()), ("b", "y", ()), ("c", None, ())], False)),
        ("[{when: x, then: a}, {when: y, step: b}, {else: {then: c}}]", ([("a", "x", ()), ("b", "y", ()), ("c", None, ())], False)),
        ("[{when: x, then: [a, b]}, {when: y, then: b}, {else: c}]", ([("a", "x", ()), ("b", "x", ()), ("b", "y", (0,)), ("c", None, (0, 2))], True)),
        ("[{when: x, then: a}, {else: [b, c]}]", ([("a", "x", ()), ("b", None, (0,)), ("c", None, (0,))], True)),
        ("[a, {when: x, then: b}, {else: c}]", ([("a", None, ()), ("b", "x", ()), ("c", None, (1,))], True)),
        ("[{when: x, then: a, else: b}, {when: y, then: c}]", ([("a", "x", ()), ("b", None, (0,)), ("c", "y", ())], True)),
        ("[{when: x, then: a}, {when: y, then: b, else: c}]", ([("a", "x", ()), ("b", "y", ()), ("c", None, ())], False)),
        ("{when: x, then: a, else: b}", ([("a", "x", ()), ("b", None, ())], False)),
        ("[]", ([], False)),
    ],
)
def test_each_older_spelling_of_next(written: str, expected: tuple[list[Short], bool]) -> None:
    assert routes(written) == expected


def test_args_of_an_item_go_to_its_targets_and_the_targets_own_win() -> None:
    hot, cold, mild = fixture_arcs("left").arcs
    assert hot.args == {"why": "temperature", "where": "left"}
    assert cold.args == {"why": "temperature", "where": "outside"}
    assert mild.args == {}


def test_the_set_of_an_item_is_written_once() -> None:
    arcs = steps_of("- {step: start, next: [{when: x, then: [start, start], set: {n: 1}}, {when: y, step: start, set: {n: 2}}]}")[0].arcs
    assert [arc.set for arc in arcs] == [(Write("ctx", "n", 1),), (), (Write("ctx", "n", 2),)]


@pytest.mark.parametrize("word", ["args", "with", "input", "data"])
def test_every_word_for_the_args_of_an_item(word: str) -> None:
    arcs = steps_of(f"- {{step: start, next: [{{step: start, {word}: {{x: 1}}}}, {{when: y, then: [start], {word}: {{x: 2}}}}]}}")[0].arcs
    assert [arc.args for arc in arcs] == [{"x": 1}, {"x": 2}]


def test_an_arc_has_the_line_of_its_item() -> None:
    assert [arc.line for arc in fixture_arcs("left").arcs] == [18, 21, 26]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("nowhere", "next step 'nowhere' is not defined"),
        ("[{then: start}]", "'then' needs 'when' beside it"),
        ("[{when: x, then: []}]", "'then' names no step"),
        ("[{when: x, step: start, then: start}]", "'step' stands beside 'then' or 'else'"),
        ("[{when: x, then: {step: start, whn: y}}]", "unknown key 'whn' in a target of next of step 'start'"),
        ("''", "next must be the name of a step, not ''"),
        ("[{step: [x]}]", "next must be the name of a step, not a list"),
        ("[null]", "an item of next is empty: it must be a mapping"),
        ("[[start]]", "an item of next must be a mapping, not a list"),
    ],
)
def test_an_item_that_makes_no_sense_is_an_error(written: str, expected: str) -> None:
    assert errors_of(f"- {{step: start, next: {written}}}") == [expected]

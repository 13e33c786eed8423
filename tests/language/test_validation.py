"""What is told before a run: docs/reference/language.md, 11."""

from __future__ import annotations

import pytest

from noetl.dsl.load import load
from tests.dsl.documents import framed
from tests.language.rehearse import play


@pytest.mark.parametrize(
    ("step", "message", "hint"),
    [
        ("tol: {kind: noop}", "unknown key 'tol' in step 'start'", "did you mean 'tool'?"),
        ("-set: {x: 1}", "unknown key '-set' in step 'start'", "put a space after the dash: '- set'"),
        ("next: {spec: {}, arc: []}", "unknown key 'arc' in next of step 'start'", "did you mean 'arcs'?"),
        ("next: {arcs: [{step: start, wen: x}]}", "unknown key 'wen' in an arc of step 'start'", "did you mean 'when'?"),
        ("loop: {in: [1], itertor: x}", "unknown key 'itertor' in loop of step 'start'", "did you mean 'iterator'?"),
        ("spec: {jion: all}", "unknown key 'jion' in the spec of step 'start'", "did you mean 'join'?"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest_known_one(step: str, message: str, hint: str) -> None:
    (problem,) = load(framed(f"- {{step: start, {step}}}")).errors
    assert (problem.message, problem.hint, problem.line) == (message, hint, 5)


@pytest.mark.parametrize(
    ("steps", "warning"),
    [
        ("- {step: start, set: {ctx.x: '{{ ctx.y }}'}}", "nothing writes 'ctx.y'"),
        ("- {step: start, set: {ctx.x: '{{ nowhere }}'}}", "nothing in this playbook defines 'nowhere'"),
        ("- {step: start, next: {arcs: [{step: start, when: \"{{ event.name == 'call.don' }}\"}]}}", "event 'call.don' is never emitted"),
    ],
)
def test_what_is_only_warned_of_runs(steps: str, warning: str) -> None:
    result = load(framed(steps))
    assert [problem.message for problem in result.warnings] == [warning]
    assert play(steps).status == "completed"

"""A whole document: what stands at the root, and how problems come out."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noetl.dsl.load import Loaded, load
from noetl.dsl.playbook import Keychain, Limits, Playbook
from tests.dsl.documents import PLAYBOOKS, fixture, framed, loaded, messages

ROOT = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: test}\n"
STEP = "workflow: [{step: start}]\n"
VALID = sorted(path for folder in ("dialects", "hello_world") for path in (PLAYBOOKS / folder).glob("*.yaml"))
BROKEN = sorted((PLAYBOOKS / "broken").glob("*.yaml"))
TEXTS = [path.read_text() for path in (*VALID, *BROKEN)]


def root(text: str) -> Playbook:
    return loaded(ROOT + text + STEP)


def warnings(text: str, **options: Any) -> list[str]:
    return messages(load(ROOT + text + STEP, **options), errors=False)


# The fixtures


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_every_playbook_of_the_fixtures_loads(path: Path) -> None:
    assert load(path.read_text()).errors == ()


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_every_error_of_a_broken_playbook_is_told_with_its_line(path: Path) -> None:
    text = path.read_text()
    expected = [line.removeprefix("# expect: ") for line in text.splitlines() if line.startswith("# expect: ")]
    result = load(text)
    assert [f"line {problem.line} column {problem.column}: {problem.message}" for problem in result.errors] == expected
    assert result.playbook is None
    assert not result.valid


def test_hello_world_is_what_its_file_says() -> None:
    playbook = fixture("hello_world/hello_world.yaml")
    assert playbook.path == "tests/fixtures/playbooks/hello_world"
    assert [step.name for step in playbook.steps] == ["start", "end"]
    assert playbook.steps[0].tasks[0].kind == "python"
    assert load((PLAYBOOKS / "hello_world/hello_world.yaml").read_text(), strict=True).warnings == ()


# The result of load


def test_problems_carry_the_file_the_path_the_key_and_a_hint() -> None:
    result = load(framed("- {step: start, tool: {kind: htpp}}"), file="books/one.yaml")
    (problem,) = result.errors
    assert msgspec.to_builtins(problem) == {
        "message": "unknown tool kind 'htpp'",
        "line": 5,
        "column": 32,
        "path": "workflow[0].tool.kind",
        "key": "kind",
        "hint": "did you mean 'http'?",
        "file": "books/one.yaml",
    }


def test_one_broken_step_does_not_hide_errors_of_the_others() -> None:
    result = load(framed("- {step: a, tool: {kind: x}}\n- {step: b, lop: {}}\n- {step: c, next: nowhere}"))
    assert [problem.line for problem in result.errors] == [5, 6, 7]


def test_errors_and_warnings_are_in_the_order_of_the_file() -> None:
    text = framed("- {step: a, tool: {kind: noop, x: 1, y: 2}}\n- {step: b, tool: {kind: noop, z: 1}, lop: 1}\n- {step: a}")
    result = load(text)
    for problems in (result.errors, result.warnings):
        assert len(problems) > 1
        assert [(problem.line, problem.column) for problem in problems] == sorted((problem.line, problem.column) for problem in problems)


def test_an_error_in_an_anchored_part_is_told_once() -> None:
    result = load(framed("- {step: a, tool: &tool {kind: http}, next: b}\n- {step: b, tool: *tool}"))
    assert messages(result, errors=True) == ["5:21 http needs 'url'"]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "text", "- a", "12", "~"])
def test_a_text_that_is_no_mapping_is_not_a_playbook(text: str) -> None:
    assert [problem.message for problem in load(text).errors] == ["a playbook is a mapping"]


def test_the_catalog_path_is_that_of_the_metadata_else_the_one_given_else_the_files_else_the_name() -> None:
    text = ROOT + STEP
    named = text.replace("{name: test}", "{name: test, path: /shop/orders}")
    assert loaded(named).path == "shop/orders"
    for options, path in (({"path": "given/path", "file": "x.yaml"}, "given/path"), ({"file": "books/one.yaml"}, "books/one"), ({}, "test")):
        playbook = load(text, **options).playbook
        assert playbook is not None
        assert playbook.path == path


# Root keys (section 1)


def test_metadata_has_more_keys_than_are_read() -> None:
    playbook = fixture("dialects/standard.yaml")
    assert (playbook.name, playbook.path, playbook.description) == (
        "order_sync",
        "shop/orders/order_sync",
        "Fetch the orders of each region, store them, report.",
    )
    assert (playbook.labels, playbook.tags) == ({"domain": "shop", "tier": "gold"}, ("orders", "nightly"))


def test_the_older_api_version_is_accepted_with_a_warning() -> None:
    result = load((ROOT + STEP).replace("v2", "v1"))
    assert result.valid
    assert messages(result, errors=False) == ["1:1 apiVersion 'noetl.io/v1' is the older one"]


def test_vars_lie_under_the_workload_and_seed_ctx() -> None:
    playbook = root("vars: {a: 1, deep: {x: 1, y: 1}}\nworkload: {b: 2, deep: {y: 2}}\n")
    assert playbook.workload == {"a": 1, "b": 2, "deep": {"x": 1, "y": 2}}
    assert playbook.vars == {"a": 1, "deep": {"x": 1, "y": 1}}


def test_spec_is_kept_and_tracing_has_no_effect() -> None:
    playbook = root('spec: {limit: "{{ workload.n }}"}\ntracing: {anything: [1]}\n')
    assert playbook.spec == {"limit": "{{ workload.n }}"}


def test_keychain_entries_keep_their_fields() -> None:
    entries = fixture("dialects/standard.yaml").keychain
    assert [(entry.name, entry.kind, entry.line) for entry in entries] == [("shop_api", "oauth2", 16), ("shop_db", "postgres_credential", 22)]
    assert entries[1] == Keychain("shop_db", "postgres_credential", {"credential": "pg_shop"}, 22)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{name: a, kind: vault}", "4:12 unknown keychain kind 'vault'"),
        ("{name: a, kind: bearer}, {name: a, kind: bearer}", "4:37 keychain entry 'a' is defined twice (first on line 4)"),
    ],
)
def test_odd_keychain_entries_are_warned_of(entry: str, expected: str) -> None:
    assert warnings(f"keychain: [{entry}]\n") == [expected]


@pytest.mark.parametrize("entry", ["{name: a}", "{kind: bearer}"])
def test_a_keychain_entry_needs_a_name_and_a_kind(entry: str) -> None:
    (problem,) = load(ROOT + f"keychain: [{entry}]\n" + STEP).errors
    assert problem.message.startswith("a keychain entry needs '")


def test_the_executor_says_how_the_whole_playbook_runs() -> None:
    playbook = fixture("dialects/standard.yaml")
    assert (playbook.entry, playbook.final_step, playbook.no_next_is_error, playbook.drain_on_failure) == ("plan", "cleanup", False, True)
    assert (playbook.cancel_grace_s, playbook.priority, playbook.fair_key) == (2, 7, "{{ workload.tenant }}")
    assert playbook.limits == Limits(max_step_runs=5000)
    assert playbook.requires == {"tools": ["http", "postgres", "python"]}


@pytest.mark.parametrize(
    ("steps", "executor", "entry"),
    [
        ("[{step: a}, {step: start}, {step: b}]", "", "start"),
        ("[{step: a}, {step: b}]", "", "a"),
        ("[{step: start}, {step: b}]", "executor: {spec: {entry_step: b}}\n", "b"),
    ],
)
def test_the_entry_is_the_one_that_is_named_else_start_else_the_first_step(steps: str, executor: str, entry: str) -> None:
    assert loaded(f"{ROOT}{executor}workflow: {steps}\n").entry == entry


def test_a_required_tool_that_is_not_available_is_a_warning() -> None:
    text = "executor: {requires: {tools: [http, playbooks, htpp]}}\n"
    assert warnings(text, tools=frozenset({"playbook"})) == [
        "4:31 tool kind 'http' is not available here: a run fails",
        "4:48 unknown tool kind 'htpp'",
    ]
    assert warnings("executor: {requires: {tools: [http]}}\n") == []


def test_unknown_keys_of_the_executor_are_warnings() -> None:
    assert warnings("executor: {profil: x, spec: {entry: y, policy: {on_fail: drain}}}\n") == [
        "4:12 unknown key 'profil' in executor of the playbook",
        "4:30 unknown key 'entry' in executor.spec of the playbook",
        "4:49 unknown key 'on_fail' in executor.spec.policy of the playbook",
    ]


# Older spellings, strictly


def test_an_older_spelling_is_warned_of_once_and_only_when_asked() -> None:
    text = framed("- {step: a, next: b}\n- {step: b, next: [c]}\n- {step: c, tool: noop}")
    assert load(text).warnings == ()
    assert messages(load(text, strict=True), errors=False) == [
        "5:15 'next' without arcs is an older spelling",
        "7:15 a tool's fields on the step is an older spelling",
    ]


# Never raises


def holds(result: Loaded) -> None:
    """What is true of every result; what is valid also survives encoding."""
    assert (result.playbook is None) == bool(result.errors)
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in (*result.errors, *result.warnings))
    if result.playbook is not None:
        encoded = msgspec.msgpack.encode(result.playbook)
        assert msgspec.msgpack.encode(msgspec.msgpack.decode(encoded, type=Playbook)) == encoded


@given(st.text())
@settings(deadline=None)
@example("\ufeff" + ROOT + STEP)
@example("%YAML 1.1\n---\n" + ROOT + STEP)
@example("? {a: b}\n: c")
@example("a: &a [*a, *a]")
@example("\x00")
@example("!<tag:yaml.org,2002:int> x")
def test_any_text_gives_a_result(text: str) -> None:
    holds(load(text))


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_playbook_gives_a_result(text: str, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        text = damaged(text, chance)
    holds(load(text, strict=True))


def damaged(text: str, chance: random.Random) -> str:
    """One line or character taken out, doubled, moved or replaced."""
    lines = text.split("\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at] = chance.choice(["  ", ""]) + lines[at].strip()
        case 3:
            position = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:position] + chance.choice("{}[]:-#&*!|>'\"%@`,? \t~0") + lines[at][position + 1 :]
        case _:
            key, colon, _ = lines[at].partition(":")
            lines[at] = (
                f"{key}{colon} {chance.choice(['', '1', 'true', '[]', '{}', 'text', '[{}]', '{a: 1}', '[null]', '[[x]]', '2024-01-01', '.nan'])}"
            )
    return "\n".join(lines)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "{{ a }}", "{{ a", "http", "retry", "2024-01-01"]),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["step", "then", "when", "kind", "do", "x", "in"]), children, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    (
        *("desc", "spec", "args", "loop", "tool", "set", "output", "next", "case", "retry", "save", "sink", "vars", "enabled", "result", "type"),
        *("url", "collection", "task", "input"),
    )
)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["workload", "workbook", "keychain", "executor", "vars", "spec"]), VALUES),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_values_of_any_type_under_known_keys_give_a_result(step: dict[str, Any], rest: dict[str, Any]) -> None:
    document = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "x"}, "workflow": [{"step": "start", **step}], **rest}
    holds(load(msgspec.json.encode(document).decode()))

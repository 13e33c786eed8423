"""Which value each parameter of `main` gets: the order of docs/reference/language.md as a table. No process is started."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.tools.sandbox.calling import Scope, bind, load_libs, perform
from noetl.tools.sandbox.source import Parameter, Shape, compile_source

CONTEXT = {"execution_id": "1", "fetch": [1], "item": "the item", "loop_index": 3, "url": "from the workload"}
WHOLE = {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("signature", "args", "iterator", "bound"),
    [
        ("a", WHOLE, None, {"a": 1}),
        ("a, b", WHOLE, None, {"a": 1, "b": 2}),
        ("a=5", WHOLE, None, {"a": 1}),
        ("a", {"a": None}, None, {"a": None}),
        ("item", {"item": 7}, "item", {"item": 7}),
        ("item", WHOLE, "item", {"item": "the item"}),
        ("item=5, a=1", WHOLE, "item", {"item": "the item", "a": 1}),
        ("item=5, a=1", WHOLE, None, {"a": 1}),
        ("loop_index=5, a=1", WHOLE, "item", {"loop_index": 3, "a": 1}),
        ("loop_index=5, a=1", WHOLE, None, {"a": 1}),
        ("input_data", WHOLE, None, {"input_data": WHOLE}),
        ("input_data", {}, None, {"input_data": {}}),
        ("input_data, a", WHOLE, None, {"input_data": WHOLE, "a": 1}),
        ("input_data", {"input_data": 5, "a": 1}, None, {"input_data": 5}),
        ("context", WHOLE, None, {"context": CONTEXT}),
        ("context=None, a=1", WHOLE, None, {"context": CONTEXT, "a": 1}),
        ("context, a", {"context": 5, "a": 1}, None, {"context": 5, "a": 1}),
        ("data", WHOLE, None, {"data": WHOLE}),
        ("data=None", WHOLE, None, {"data": WHOLE}),
        ("data=None", {}, None, {}),
        ("data", {}, None, {"data": {}}),
        ("fetch", {}, None, {"fetch": [1]}),
        ("fetch", WHOLE, None, {"fetch": WHOLE}),
        ("fetch, a", WHOLE, None, {"fetch": [1], "a": 1}),
        ("fetch=5, a=1", WHOLE, None, {"a": 1}),
        ("url, execution_id", {}, None, {"url": "from the workload", "execution_id": "1"}),
        ("**rest", WHOLE, None, WHOLE),
        ("a, **rest", WHOLE, None, WHOLE),
        ("fetch, **rest", WHOLE, None, {"fetch": [1], **WHOLE}),
        ("", WHOLE, None, {}),
    ],
)
def test_a_parameter_is_looked_up_in_this_order(signature: str, args: dict[str, Any], iterator: str | None, bound: dict[str, Any]) -> None:
    shape = compile_source(f"def main({signature}): pass", "<step>").shape
    assert bind(shape, Scope(args, CONTEXT, iterator)) == bound


@pytest.mark.parametrize(("signature", "missing"), [("a, nowhere", "nowhere"), ("nowhere, **rest", "nowhere"), ("*, nowhere, a", "nowhere")])
def test_a_parameter_without_any_value_is_an_error_that_names_it(signature: str, missing: str) -> None:
    shape = compile_source(f"def main({signature}): pass", "<step>").shape
    with pytest.raises(TypeError, match=f"missing argument '{missing}'.*args \\(a, b\\)"):
        bind(shape, Scope(WHOLE, {}))


NAMES = st.text("abcdef", min_size=1, max_size=2)


@given(
    parameters=st.lists(st.builds(Parameter, NAMES, st.booleans()), unique_by=lambda parameter: parameter.name),
    args=st.dictionaries(NAMES, st.integers()),
)
def test_with_a_rest_every_arg_arrives_exactly_as_it_is(parameters: list[Parameter], args: dict[str, int]) -> None:
    scope = Scope(args, dict.fromkeys((parameter.name for parameter in parameters), None))
    bound = bind(Shape(tuple(parameters), takes_rest=True), scope)
    assert {name: bound[name] for name in args} == args
    assert bound.keys() - args.keys() <= {parameter.name for parameter in parameters if not parameter.has_default}


def test_a_name_of_python_itself_is_not_taken_from_the_args() -> None:
    program = compile_source("result = __name__", "<step>")
    assert perform(program, Scope({"__name__": "x", "__builtins__": {}}, {}), {}, "1") == "__main__"


def test_libs_may_be_left_out() -> None:
    assert load_libs(None, pytest.fail) == {}
    assert load_libs([], pytest.fail) == {}
    assert load_libs("json", pytest.fail) == {}

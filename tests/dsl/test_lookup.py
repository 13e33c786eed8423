"""How a key is looked up on a result: docs/reference/language.md, 2.3."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.dsl.lookup import SELF_NAMES, Load, not_loaded, see
from noetl.dsl.template import compile_text
from noetl.values import INT_MAX, INT_MIN, Handle, encode, handle_of

RESULT = {
    "status": "ok",
    "items": [1],
    "get": 5,
    "data": {"rows": [1, 2], "status": "inner", "keys": 7, "data": {"deep": 1}},
    "headers": {"content-type": "text"},
}
BODY = {"body": {"hasMore": True, "data": [1]}}


def look(expression: str, x: Any = RESULT, load: Load = not_loaded) -> Any:
    return compile_text("{{ " + expression + " }}").render({"x": see(x, load)}, load)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("x.status", "ok"),
        ("x.items", [1]),
        ("x.rows", [1, 2]),
        ("x.keys", 7),
        ("x.data.status", "inner"),
        ("x.data.deep", 1),
        ("x.data.data.deep", 1),
        ("x.data.data.data.deep", 1),
        ("x.result.status", "ok"),
        ("x.response.rows", [1, 2]),
        ("x.output.body.value.status", "ok"),
        ("x.result", RESULT),
        ("x.headers['Content-Type']", "text"),
        ("x['rows']", [1, 2]),
    ],
)
def test_a_key_is_itself_else_the_one_inside_data_else_the_result_for_the_names_of_a_result(expression: str, value: Any) -> None:
    assert look(expression) == value


@pytest.mark.parametrize("key", ["_ref", "row", "values", "copy", "deep", "hasMore"])
def test_any_other_name_is_undefined(key: str) -> None:
    assert look(f"x.{key} is defined") is False
    assert look(f"x.{key}") is None


def test_a_method_is_a_method_only_where_it_is_called_and_no_key_has_its_name() -> None:
    plain = {"a": 1}
    assert look("x.items() | list", plain) == [["a", 1]]
    assert look("x.items", plain) is None
    assert look("x.items is defined", plain) is False
    assert look("x.items | length") == 1


def test_what_is_reached_through_body_forgives_too() -> None:
    assert look("x.body.result.hasMore", BODY) is True
    assert look("x.body.data", BODY) == [1]
    assert look("x.data.body.hasMore", BODY) is True


def test_other_mappings_inside_a_result_do_not_forgive() -> None:
    assert look("x.inner.rows", {"inner": {"data": {"rows": 1}}}) is None
    assert look("x.inner.result is defined", {"inner": {"a": 1}}) is False


def test_get_knows_keys_and_those_of_data_and_takes_its_default_for_the_rest() -> None:
    plain = {"a": 1, "data": {"b": 2}}
    assert [look(f"x.get('{key}', 'none')", plain) for key in ("a", "b", "data", "result", "c")] == [1, 2, {"b": 2}, "none", "none"]


def test_in_keys_and_iteration_see_the_own_keys_only() -> None:
    plain = {"a": 1, "data": {"b": 2}}
    assert look("['a' in x, 'b' in x, 'result' in x]", plain) == [True, False, False]
    assert look("x | list", plain) == look("x.keys() | list", plain) == ["a", "data"]
    assert look("x | length", plain) == 2


@pytest.mark.parametrize("name", ["data", "result", "value"])
def test_a_list_is_its_own_data_result_and_value(name: str) -> None:
    assert look(f"x.{name}[1]", [1, 2]) == 2
    assert look("x.rows", [1, 2]) is None


def large(value: Any, **more: Any) -> tuple[Handle, Load]:
    """The value in a store that counts nothing and has nothing else."""
    handle = handle_of(value, encode(value), **more)

    def load(wanted: Handle) -> Any:
        assert wanted.hash == handle.hash
        return value

    return handle, load


def test_a_result_that_lies_elsewhere_is_read_like_any_other() -> None:
    handle, load = large(RESULT | {"many": list(range(1000))})
    assert look("x.many[999]", handle, load) == 999
    assert look("x.rows", handle, load) == [1, 2]
    assert look("x.result.status", handle, load) == "ok"
    assert look("x.nowhere is defined", handle, load) is False


def test_small_entries_and_where_it_lies_are_read_without_loading() -> None:
    handle, _ = large({"total": 3, "many": list(range(1000))}, tier="gcs")
    assert look("x.total", handle) == 3
    assert look("[x._store, x._size, x._ref == ref, x._preview is defined]".replace("ref,", f"'{handle.ref}',"), handle) == [
        "gcs",
        handle.data.size_bytes,
        True,
        True,
    ]
    assert look("x.missing is defined", handle) is False


def test_of_a_selection_only_the_selected_keys_are_seen() -> None:
    handle, load = large({"total": 3, "many": list(range(1000)), "big": "x" * 999}, select=("total", "big"))
    assert look("x.total", handle, load) == 3
    assert look("x.big | length", handle, load) == 999
    assert look("x.many is defined", handle, load) is False
    assert look("x | list", handle, load) == ["total", "big", "_ref", "_store", "_size", "_preview"]


def test_a_list_that_lies_elsewhere_says_where() -> None:
    handle, load = large(list(range(1000)))
    assert look("[x[999], x._ref, x._store, x | length]", handle, load) == [999, handle.ref, "kv", 1000]
    assert look("x._ref is defined", [1]) is False


KEYS = st.sampled_from(["a", "b", "data", "result", "body", "items", "keys", "get"])
NUMBERS = st.integers(INT_MIN, INT_MAX)
MAPPINGS = st.recursive(st.dictionaries(KEYS, NUMBERS), lambda inner: st.dictionaries(KEYS, NUMBERS | inner), max_leaves=6)


@given(MAPPINGS, KEYS)
def test_the_rule_in_one_line(result: dict[str, Any], key: str) -> None:
    inner = result.get("data")
    expected = result.get(key, inner.get(key) if isinstance(inner, dict) and key in inner else result if key in SELF_NAMES else None)
    assert look(f"x.{key}", result) == expected

"""The mappings that code is handed: forgiving results, a context that decodes what is touched. No process is started."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.blobs import write_blob
from noetl.tools.sandbox.handed import Lazy, Result, as_result, decoder
from noetl.tools.sandbox.messages import encode_named
from noetl.values import decode, encode, handle_of, to_plain

KEYS = st.sampled_from(["data", "body", "rows", "x"])
TREES = st.recursive(st.integers(-(2**63), 2**63), lambda inner: st.dictionaries(KEYS, inner), max_leaves=8)
MAPPINGS = st.dictionaries(KEYS, TREES)


def by_the_rule(mapping: dict[str, Any], key: str) -> Any:
    """Rules 1 and 2 of the language's reference."""
    inner = mapping.get("data")
    if key in mapping:
        return mapping[key]
    return inner[key] if isinstance(inner, dict) and key in inner else KeyError


@given(mapping=MAPPINGS, key=KEYS)
def test_brackets_and_get_follow_the_rule(mapping: dict[str, Any], key: str) -> None:
    expected = by_the_rule(mapping, key)
    result = Result(mapping)
    if expected is KeyError:
        assert result.get(key, "nothing") == "nothing"
        with pytest.raises(KeyError):
            result[key]
    else:
        assert result[key] == result.get(key) == expected


@given(mapping=MAPPINGS)
def test_everything_else_is_that_of_the_mapping(mapping: dict[str, Any]) -> None:
    result = Result(mapping)
    assert result == mapping
    assert list(result) == list(mapping)
    assert [key in result for key in ("data", "body", "rows", "x")] == [key in mapping for key in ("data", "body", "rows", "x")]
    assert to_plain(result) == mapping
    assert json.loads(json.dumps(result)) == mapping
    assert type(pickle.loads(pickle.dumps(result))) is dict
    assert copy.copy(result) == copy.deepcopy(result) == result.copy() == mapping


@pytest.mark.parametrize(
    ("path", "forgives"), [(["data"], True), (["body"], True), (["data", "body"], True), (["other"], False), (["data", "other"], False)]
)
def test_what_is_reached_through_data_or_body_forgives_too(path: list[str], *, forgives: bool) -> None:
    value: dict[str, Any] = {"data": {"count": 1}}
    for key in reversed(path):
        value = {key: value}
    reached: Any = Result(value)
    for key in path:
        reached = reached[key]
    assert reached.get("count") == (1 if forgives else None)


def test_only_mappings_are_results() -> None:
    assert as_result([{"data": 1}]) == [{"data": 1}]
    assert as_result("text") == "text"


def test_a_context_decodes_only_what_is_touched_and_only_once() -> None:
    touched: list[Any] = []

    def watched(raw: Any) -> Any:
        touched.append(decode(raw))
        return touched[-1]

    lazy = Lazy(encode_named({"a": {"data": {"x": 1}}, "b": [2]}), watched)
    assert (len(lazy), "a" in lazy, "c" in lazy, list(lazy), lazy.keys(), isinstance(lazy, dict)) == (2, True, False, ["a", "b"], {"a", "b"}, True)
    assert repr(lazy) == "<context with a, b>"
    assert touched == []
    assert (lazy["a"]["x"], lazy.get("a"), lazy.get("c", 5)) == (1, {"data": {"x": 1}}, 5)
    assert touched == [{"data": {"x": 1}}]


TAKEN_APART = {
    "dict": dict,
    "stars": lambda lazy: {**lazy},
    "items": lambda lazy: dict(lazy.items()),
    "values": lambda lazy: dict(zip(lazy, lazy.values(), strict=True)),
    "copy": lambda lazy: lazy.copy(),
    "deepcopy": copy.deepcopy,
    "or": lambda lazy: lazy | {},
    "ror": lambda lazy: {} | lazy,
    "update": lambda lazy: (taken := {}, taken.update(lazy))[0],
    "pop": lambda lazy: {key: lazy.pop(key) for key in list(lazy)},
    "popitem": lambda lazy: dict([lazy.popitem(), lazy.popitem()]),
    "setdefault": lambda lazy: {key: lazy.setdefault(key, 0) for key in lazy},
    "json": lambda lazy: json.loads(json.dumps(lazy)),
    "pickle": lambda lazy: pickle.loads(pickle.dumps(lazy)),
    "plain": to_plain,
    "itself": lambda lazy: lazy,
}


@pytest.mark.parametrize("take", TAKEN_APART.values(), ids=TAKEN_APART)
def test_however_a_context_is_taken_apart_its_values_are_values(take: Any) -> None:
    values = {"a": {"x": 1}, "b": [2]}
    assert take(Lazy(encode_named(values), decode)) == values


def test_a_context_can_be_written_to() -> None:
    lazy = Lazy(encode_named({"a": 1}), decode)
    lazy["b"] = 2
    lazy.update(c=3)
    del lazy["a"]
    assert lazy == {"b": 2, "c": 3}


def test_handles_are_replaced_by_their_values_at_any_depth(tmp_path: Path) -> None:
    value = {"rows": [1, 2], "data": {"n": 5}}
    handle = handle_of(value, encode(value))
    write_blob(tmp_path, encode(value))
    read = decoder(tmp_path)(memoryview(encode({"list": [handle], "plain": {"count": 1}})))
    assert read == {"list": [value], "plain": {"count": 1}}
    assert read["list"][0]["n"] == 5
    assert read["list"][0]["_ref"] == handle.ref
    assert "_ref" not in read["list"][0]

"""The JSON Schema for editors."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noetl.dsl.kinds import KINDS
from noetl.dsl.load import load
from noetl.dsl.problem import Report
from noetl.dsl.schema import schema
from noetl.dsl.source import parse
from noetl.dsl.tree import plain
from tests.dsl.documents import PLAYBOOKS, framed
from tests.dsl.test_load import TEXTS, VALID, damaged


@cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def data(text: str) -> Any:
    node = parse(text, Report())
    assert node is not None
    return plain(node)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_every_playbook_that_loads_is_valid_for_editors(path: Path) -> None:
    validator().validate(data(path.read_text()))


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_playbook_that_still_loads_is_still_valid_for_editors(text: str, chance: random.Random) -> None:
    text = damaged(text, chance)
    if load(text).valid:
        validator().validate(data(text))


@pytest.mark.parametrize("name", ["required", "versions", "unknown_keys", "enums", "types", "workflow_mapping"])
def test_editors_see_what_is_wrong_with_the_structure(name: str) -> None:
    assert not validator().is_valid(data((PLAYBOOKS / "broken" / f"{name}.yaml").read_text()))


@pytest.mark.parametrize(
    "step",
    ["lop: {}", "next: {arc: []}", "spec: {jion: all}", "tool: {kind: noop}, url: x", "loop: {in: [1], reducer: x}", "retry: {jitter: 3}"],
)
def test_unknown_keys_are_marked(step: str) -> None:
    assert not validator().is_valid(data(framed(f"- {{step: a, {step}}}")))


def test_every_kind_has_its_fields_described() -> None:
    definitions = schema()["$defs"]
    for name, kind in KINDS.items():
        properties = definitions[f"kind_{name}"]["properties"]
        assert all(properties[field]["description"] for field in kind.fields)
    kinds = definitions["task"]["properties"]["kind"]["anyOf"][0]["enum"]
    assert set(KINDS) < set(kinds)

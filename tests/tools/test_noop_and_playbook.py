"""The two tools that call nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from noetl.blobs import write_blob
from noetl.errors import ToolRefused
from noetl.tools import noop, playbook
from noetl.tools.tool import StartChild
from noetl.values import encode, handle_of
from tests.tools.conftest import MakeContext


@pytest.mark.parametrize(("fields", "result"), [({}, {}), ({"result": None}, None), ({"result": {"a": [1]}}, {"a": [1]}), ({"result": 0}, 0)])
async def test_a_noop_gives_its_result_or_an_empty_mapping(make_context: MakeContext, fields: dict[str, Any], result: Any) -> None:
    assert await noop.run(msgspec.convert(fields, noop.Input), make_context()) == result


@pytest.mark.parametrize(
    ("fields", "args", "child"),
    [
        ({"path": "a/b"}, {}, StartChild("a/b", {})),
        ({"path": "a/b", "payload": {"x": 1, "y": 2}}, {"y": 3, "z": 4}, StartChild("a/b", {"x": 1, "y": 3, "z": 4})),
        ({"path": " a/b ", "payload": None, "return_step": "end", "name": "label", "task": "label"}, {}, StartChild("a/b", {}, "end")),
    ],
)
async def test_a_playbook_asks_for_a_child_with_args_laid_over_the_payload(
    make_context: MakeContext, fields: dict[str, Any], args: dict[str, Any], child: StartChild
) -> None:
    assert await playbook.run(msgspec.convert(fields, playbook.Input), make_context(args=args)) == child


async def test_a_payload_in_the_artifact_store_is_loaded(make_context: MakeContext) -> None:
    ctx = make_context(args={"y": 2})
    encoded = encode({"x": 1})
    write_blob(ctx.resources.artifacts_dir, encoded)
    given = playbook.Input("a/b", payload=handle_of({"x": 1}, encoded))
    assert await playbook.run(given, ctx) == StartChild("a/b", {"x": 1, "y": 2})


@pytest.mark.parametrize(
    ("fields", "message"), [({"path": "a", "payload": [1]}, "'payload' must be a mapping, not list"), ({"path": " "}, "needs a 'path'")]
)
async def test_a_playbook_that_can_not_be_started_is_refused(make_context: MakeContext, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolRefused, match=message):
        await playbook.run(msgspec.convert(fields, playbook.Input), make_context())

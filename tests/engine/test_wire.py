"""An order, and its outcome, on their way to another node and back: the node that runs a call sees what the one that decides would have seen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.engine import messages
from noetl.engine.order import Order
from noetl.engine.wire import WireName, decode_order, decode_outcome, encode_order, encode_outcome, order_of
from noetl.errors import LogCorrupt, TemplateError
from noetl.testing.clock import START
from noetl.testing.rehearsal import Rehearsal
from noetl.values import encode, handle_of
from noetl.vault.keyring import GivenKeys
from noetl.vault.secrets import Secrets

KEY = b"k" * 32
SECRET = "hunter2-hunter2"


class Wired(Rehearsal):
    """Every order goes over the wire before it is run, and every outcome before it is decided on."""

    def __init__(self, text: str, tools: dict[str, Any], secrets: Secrets | None = None, **more: Any) -> None:
        super().__init__(text, tools, **more)
        self.secrets = secrets or Secrets(GivenKeys(b""))
        self.bodies: list[bytes] = []
        self.faces: set[str] = set()

    def _outcome(self, order: Order) -> messages.Decided:
        body = encode_order(order, self.secrets)
        wire = decode_order(body, self.secrets)
        self.faces |= {name.face for name in (*wire.names.values(), *wire.shared.values())}
        arrived = order_of(wire, self.program, self._load)
        assert {name: getattr(arrived, name) for name in PLAIN} == {name: getattr(order, name) for name in PLAIN}
        outcome = encode_outcome(super()._outcome(arrived), self.secrets)  # type: ignore[arg-type]  # what a rehearsal decides on is an outcome here
        self.bodies += (body, outcome)
        return decode_outcome(outcome, self.secrets)


PLAIN = ("call", "key", "place", "program", "args", "inner", "wants", "iterator", "overrides", "output", "pool", "priority", "env", "net", "path")
"""Fields of an order that are the same thing on both ends."""

STORY = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: story, path: demo/story}
workload: {base: 10, who: {name: Ada}, word: WORD}
workflow:
  - step: start
    tool:
      - one: {kind: noop, result: {value: 3, word: "{{ workload.word }}", data: {rows: [1, 2, 3]}}}
      - two: {kind: noop, result: "{{ [one.value, _prev.value, workload.base] }}"}
    next: [{step: each}]
  - step: each
    loop: {in: "{{ [1, 2, 3] }}", iterator: n, spec: {mode: parallel}}
    tool: {kind: noop, result: {n: "{{ n }}", index: "{{ loop_index }}", up: "{{ start }}", word: "{{ word }}"}}
    next: [{step: several}]
  - step: several
    tool:
      - a: {kind: noop, result: {x: 1}}
      - b: {kind: rows}
    next: [{step: use}]
  - step: use
    args: {each: "{{ each }}", first: "{{ each.results[0].n }}"}
    tool:
      - look:
          kind: noop
          result:
            labelled: "{{ start.results.one.data.rows }}{{ start[1] }}{{ start }}"
            large: "{{ several.results.a.x }}{{ several.rows | length }}"
            listed: "{{ each.results | map(attribute='n') | list }}{{ each.results[2].word }}"
            stats: "{{ each.stats }}"
            who: "{{ workload.who.name }}{{ who.name }}{{ nobody is defined }}"
            all: "{{ each }}{{ steps.start }}"
            given: "{{ first }}"
            prev: "{{ _prev }}"
            at: "{{ now() }}"
            execution: "{{ execution_id }}"
      - fail: {kind: broken, spec: {policy: {rules: [{else: {then: {do: continue}}}]}}}
      - after: {kind: noop, result: "{{ look.given }}{{ outcome.status }}{{ outcome.error.message }}{{ outcome.meta.attempt }}{{ error.kind }}"}
"""
"""With `broken` and `rows` for kinds, as the rehearsals' tools are called."""


def broken(call: Any) -> Any:
    raise ValueError("it is broken")


def played(kind: type[Rehearsal], **more: Any) -> Any:
    text = STORY.replace("kind: broken", "kind: python, code: pass").replace("kind: rows", "kind: python, code: pass")
    made: Rehearsal

    def large(call: Any) -> Any:
        """A mapping that lies elsewhere."""
        value = {"rows": [{"n": n, "text": "x" * 100} for n in range(1_000)]}
        handle = handle_of(value, encoded := encode(value))
        made._stored[handle.hash] = encoded
        return handle

    made = kind(text.replace("WORD", more.pop("word", "word")), {"fail": broken, "b": large}, **more)
    return made.play()


def test_a_playbook_goes_the_same_way_whether_its_calls_cross_the_wire_or_not() -> None:
    here, there = played(Rehearsal), played(Wired)
    assert here.status == there.status == "completed", here.state.error
    assert there.events == here.events
    assert [(call.args, call.fields) for call in there.calls] == [(call.args, call.fields) for call in here.calls]
    assert there.faces == {"plain", "seen", "labelled", "list", "results", "outcome", "now"}


def test_a_secret_is_sealed_on_its_way_and_is_itself_where_the_call_runs() -> None:
    secrets = Secrets(GivenKeys(KEY))
    secrets.learn([SECRET])
    here, there = played(Rehearsal, word=SECRET), played(Wired, word=SECRET, secrets=secrets)
    assert [(call.args, call.fields) for call in there.calls] == [(call.args, call.fields) for call in here.calls]
    assert SECRET in str(there.calls)
    assert there.bodies
    for body in there.bodies:
        assert SECRET.encode() not in body


def an_order(secrets: Secrets) -> tuple[Wired, bytes]:
    made = played(Wired, word=SECRET, secrets=secrets)
    return made, made.bodies[0]


def test_an_order_that_was_sealed_with_another_key_can_not_be_read() -> None:
    secrets = Secrets(GivenKeys(KEY))
    secrets.learn([SECRET])
    _, body = an_order(secrets)
    with pytest.raises(LogCorrupt):
        decode_order(body, Secrets(GivenKeys(b"j" * 32)))


def test_a_node_skips_what_a_newer_one_says_and_has_defaults_for_what_an_older_one_does_not() -> None:
    secrets = Secrets(GivenKeys(b""))
    made, body = an_order(secrets)
    said = msgspec.msgpack.decode(body)
    newer = msgspec.msgpack.encode({**said, "tomorrow": [1, 2]})
    older = msgspec.msgpack.encode({name: said[name] for name in ("call", "key", "place", "net", "path", "depth")})
    assert decode_order(newer, secrets) == decode_order(body, secrets)
    order = order_of(decode_order(older, secrets), made.program, made._load)
    assert (order.args, order.names, order.wants, order.is_sink, order.env) == ({}, {}, None, False, {})


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode({"call": 1}), msgspec.msgpack.encode([])])
def test_bytes_that_are_none_are_refused(body: bytes) -> None:
    secrets = Secrets(GivenKeys(b""))
    with pytest.raises(msgspec.MsgspecError):
        decode_order(body, secrets)
    with pytest.raises(msgspec.MsgspecError):
        decode_outcome(body, secrets)


@pytest.mark.parametrize("face", ["keychain", "token"])
def test_what_opens_secrets_is_closed_where_it_arrives(face: Any) -> None:
    secrets = Secrets(GivenKeys(b""))
    made, body = an_order(secrets)
    wire = msgspec.structs.replace(decode_order(body, secrets), names={"it": WireName(face)})
    seen = order_of(decode_order(msgspec.msgpack.encode(msgspec.to_builtins(wire)), secrets), made.program, made._load).names["it"]
    with pytest.raises(TemplateError, match="can be read in the fields and args of a task only"):
        seen.look("x") if face == "keychain" else seen()


# -- outcomes ----------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=8,
)
CALL: dict[str, Any] = {"run": 3, "index": 7, "task": "t", "attempt": 2, "call": 1}


def outcomes(value: Any) -> tuple[messages.OutcomeMessage, ...]:
    times: dict[str, Any] = {"started_at": START, "duration_s": 0.25}
    return (
        messages.Succeeded(**CALL, **times, result=value, helper={"http": {"status": 200}}, node="w1", directory="d"),
        messages.Failed(**CALL, **times, error={"kind": "python", "message": str(value)}, result=value, node="w1"),
        messages.Stopped(**CALL, confirmed=False),
        messages.Lost(**CALL, reason="its node is gone"),
    )


@given(VALUES)
def test_an_outcome_comes_back_as_it_was_sent(value: Any) -> None:
    secrets = Secrets(GivenKeys(b""))
    for outcome in outcomes(value):
        assert decode_outcome(encode_outcome(outcome, secrets), secrets) == outcome


@given(VALUES)
def test_an_outcome_with_a_secret_is_sealed_on_its_way(value: Any) -> None:
    secrets = Secrets(GivenKeys(KEY))
    secrets.learn([SECRET])
    for outcome in outcomes({"value": value, "word": f"a {SECRET} b"})[:2]:
        body = encode_outcome(outcome, secrets)
        assert SECRET.encode() not in body
        assert decode_outcome(body, secrets) == outcome

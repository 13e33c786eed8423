"""An order and its outcome as bytes, for a node that is not the one which decides.

What the author wrote does not travel: whoever has the net's hash has it from the catalog. Names do, as what they stand for and how a template sees
it. A text that holds a secret is sealed on its way.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from noetl.dsl.lookup import Load, ResultList, Results, View, see
from noetl.dsl.sandbox import Function
from noetl.engine.envelope import Envelope, LabelledResult
from noetl.engine.keychain import ClosedKeychain, closed_token
from noetl.engine.messages import OutcomeMessage
from noetl.engine.order import Order, Place, task_at, written
from noetl.engine.program import Program
from noetl.engine.sealing import seal_struct
from noetl.engine.state import Outcome
from noetl.tools.tool import Call
from noetl.values import pack_leaf
from noetl.vault.secrets import Secrets

Face = Literal["plain", "seen", "results", "labelled", "list", "outcome", "now", "token", "keychain"]
"""How a template sees a name's value."""


class WireName(Struct, frozen=True, array_like=True):
    face: Face
    value: Any = None
    labels: Any = None


class WireOrder(Struct, frozen=True, omit_defaults=True):
    """An order without what its net says."""

    call: Call
    key: tuple[str, int, int]
    place: Place
    net: str
    path: str
    depth: int
    args: dict[str, Any] = {}
    names: dict[str, WireName] = {}
    inner: tuple[str, ...] = ()
    wants: tuple[str, ...] | None = None
    overrides: dict[str, Any] = {}
    env: dict[str, Any] = {}
    context: dict[str, Any] = {}
    shared: dict[str, WireName] = {}
    is_sink: bool = False


_VALUES: Final = ("args", "overrides", "env", "context")
_encode = msgspec.msgpack.Encoder(enc_hook=pack_leaf).encode


def encode_order(order: Order, secrets: Secrets) -> bytes:
    wire = WireOrder(
        call=order.call,
        key=order.key,
        place=order.place,
        net=order.net,
        path=order.path,
        depth=order.depth,
        args=order.args,
        names={name: _faced(value) for name, value in order.names.items()},
        inner=tuple(order.inner),
        wants=None if order.wants is None else tuple(order.wants),
        overrides=order.overrides,
        env=order.env,
        context=order.context,
        shared={name: _faced(value) for name, value in order.shared.items()},
        is_sink=order.is_sink,
    )
    encoded = _encode(wire)
    return _encode(_sealed(wire, secrets)) if secrets.found_in(encoded) else encoded


def decode_order(body: bytes, secrets: Secrets) -> WireOrder:
    """Raises `msgspec.MsgspecError`; `LogCorrupt` when it was sealed with a key that is not here."""
    return msgspec.msgpack.decode(body, type=WireOrder, ext_hook=secrets.open_leaf)


def order_of(wire: WireOrder, program: Program, load: Load) -> Order:
    """The order, with what the net says of its task. Raises `KeyError` when the net has no such task."""
    step = program.step(wire.place.step)
    task = task_at(step, wire.place)
    return Order(
        call=wire.call,
        key=wire.key,
        place=wire.place,
        program=task,
        args=wire.args,
        names={name: _seen(value, load) for name, value in wire.names.items()},
        inner=frozenset(wire.inner),
        wants=None if wire.wants is None else frozenset(wire.wants),
        overrides=wire.overrides,
        env=wire.env,
        net=wire.net,
        path=wire.path,
        depth=wire.depth,
        is_sink=wire.is_sink,
        context=wire.context,
        shared={name: _seen(value, load) for name, value in wire.shared.items()},
        **written(program, step, task),
    )


def encode_outcome(outcome: OutcomeMessage, secrets: Secrets) -> bytes:
    encoded = _encode(outcome)
    return _encode(seal_struct(outcome, secrets)) if secrets.found_in(encoded) else encoded


def decode_outcome(body: bytes, secrets: Secrets) -> OutcomeMessage:
    """Raises as `decode_order`."""
    outcome: OutcomeMessage = msgspec.msgpack.decode(body, type=OutcomeMessage, ext_hook=secrets.open_leaf)
    return outcome


def _sealed(wire: WireOrder, secrets: Secrets) -> WireOrder:
    changes: dict[str, Any] = {field: secrets.seal(getattr(wire, field)) for field in _VALUES}
    for field in ("names", "shared"):
        changes[field] = {name: _sealed_name(value, secrets) for name, value in getattr(wire, field).items()}
    return msgspec.structs.replace(wire, **changes)


def _sealed_name(name: WireName, secrets: Secrets) -> WireName:
    value = secrets.seal(msgspec.to_builtins(name.value) if isinstance(name.value, Outcome) else name.value)
    return WireName(name.face, value, secrets.seal(name.labels))


# -- names: what a value is, and how it is seen ------------------------------------------------------------------------


def _faced(value: Any) -> WireName:
    face = _FACES.get(type(value))
    if face is not None:
        return face(value)
    return WireName("seen", value.plain()) if isinstance(value, View) else WireName("plain", value)


def _faced_list(value: ResultList) -> WireName:
    return WireName("list", value.plain(), value.labels)


def _faced_function(value: Function) -> WireName:
    return WireName("token") if value.name == "token" else WireName("now", value())


_FACES: Final[Mapping[type, Callable[[Any], WireName]]] = {
    ClosedKeychain: lambda value: WireName("keychain"),
    Envelope: lambda value: WireName("outcome", value.outcome),
    Function: _faced_function,
    LabelledResult: lambda value: WireName("labelled", value.plain(), value.labels),
    ResultList: _faced_list,
    Results: lambda value: WireName("results", value.plain()),
}


def _seen(name: WireName, load: Load) -> Any:
    return _SEEN[name.face](name, load)


def _labelled(name: WireName, load: Load) -> Any:
    return LabelledResult(see(name.value, load), name.labels, load)


def _now(name: WireName, load: Load) -> Any:
    return Function("now", dt.datetime.fromisoformat(name.value).isoformat)


_SEEN: Final[Mapping[Face, Callable[[WireName, Load], Any]]] = {
    "keychain": lambda name, load: ClosedKeychain(load),
    "labelled": _labelled,
    "list": lambda name, load: ResultList(name.value, load, name.labels),
    "now": _now,
    "outcome": lambda name, load: Envelope(msgspec.convert(name.value, Outcome), load),
    "plain": lambda name, load: name.value,
    "results": lambda name, load: Results(name.value, load),
    "seen": lambda name, load: see(name.value, load),
    "token": lambda name, load: Function("token", closed_token),
}

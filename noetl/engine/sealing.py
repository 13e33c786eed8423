"""Events on their way into the log: texts that hold a secret are sealed where values stand, and scrubbed where only words may stand."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from noetl.events import AnyEvent, LoopPlan, Patch, Token
from noetl.vault.secrets import Secrets

_NAMES: Final = frozenset({"step", "task", "node", "net", "path", "status", "entry", "call_id", "return_step"})
"""Texts that the engine reads again: never changed."""
_MAPPINGS: Final = frozenset({"args", "ctx", "env", "error", "helper", "overrides", "payload", "spec", "workload"})
"""Fields that must stay mappings."""


def seal_events(events: tuple[AnyEvent, ...], secrets: Secrets) -> tuple[AnyEvent, ...]:
    return tuple(seal_struct(event, secrets) for event in events)


def seal_struct(struct: Any, secrets: Secrets) -> Any:
    changes: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        sealed = value if name in _NAMES else _seal_entries(value, secrets) if name in _MAPPINGS else _seal_field(value, secrets)
        if sealed is not value:
            changes[name] = sealed
    return msgspec.structs.replace(struct, **changes) if changes else struct


def _seal_entries(value: Any, secrets: Secrets) -> Any:
    return {secrets.scrub(key): secrets.seal(item) for key, item in value.items()} if value else value


def _seal_field(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, str):
        return secrets.scrub(value)  # a message, a reason: words for readers
    if isinstance(value, Patch):
        return msgspec.structs.replace(value, value=secrets.seal(value.value))
    if isinstance(value, Token):
        return msgspec.structs.replace(value, args=secrets.seal(value.args))
    if isinstance(value, LoopPlan):
        return msgspec.structs.replace(value, items=secrets.seal(value.items))
    if isinstance(value, tuple) and value:
        return tuple(_seal_field(item, secrets) if isinstance(item, (Patch, Token)) else _seal_pair(item, secrets) for item in value)
    return secrets.seal(value) if isinstance(value, (dict, list)) else value


def _seal_pair(item: Any, secrets: Secrets) -> Any:
    """(target, args) of the chosen targets."""
    return (item[0], secrets.seal(item[1])) if isinstance(item, tuple) and len(item) == 2 else item

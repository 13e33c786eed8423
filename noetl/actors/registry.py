"""Names and groups of actors. Names are roles: they stay with the ref while its actor restarts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noetl.actors.ref import Ref
from noetl.errors import ActorDead, CallError


class Registry:
    """One per runtime."""

    def __init__(self) -> None:
        self._names: dict[str, Ref[Any]] = {}
        self._groups: dict[str, dict[Ref[Any], None]] = {}
        self._held: dict[Ref[Any], tuple[set[str], set[str]]] = {}
        """Names and groups of each ref that has any."""

    def register(self, name: str, ref: Ref[Any]) -> None:
        """Give a ref a name. It keeps it while it restarts; the name is free again when its parent forgets the ref, or ends.

        Raises:
            CallError: another ref has the name.
        """
        holder = self._names.setdefault(name, ref)
        if holder is not ref:
            raise CallError(f"the name '{name}' belongs to {holder.path}")
        self._of(ref)[0].add(name)

    def unregister(self, name: str) -> None:
        ref = self._names.pop(name, None)
        if ref is not None:
            self._of(ref)[0].discard(name)

    def find(self, name: str) -> Ref[Any] | None:
        return self._names.get(name)

    def whereis(self, name: str) -> Ref[Any]:
        """The ref of that name.

        Raises:
            ActorDead: nobody has the name.
        """
        ref = self._names.get(name)
        if ref is None:
            raise ActorDead(f"no actor is called '{name}'")
        return ref

    def join(self, group: str, ref: Ref[Any]) -> None:
        self._groups.setdefault(group, {})[ref] = None
        self._of(ref)[1].add(group)

    def leave(self, group: str, ref: Ref[Any]) -> None:
        members = self._groups.get(group, {})
        members.pop(ref, None)
        if not members:
            self._groups.pop(group, None)
        if ref in self._held:
            self._held[ref][1].discard(group)

    def members(self, group: str) -> Iterator[Ref[Any]]:
        """Those of the group that are running, in the order of joining."""
        return (ref for ref in tuple(self._groups.get(group, ())) if ref.is_alive())

    def broadcast(self, group: str, message: Any) -> int:
        """Report a message to every member that is running; how many there were."""
        members = tuple(self.members(group))
        for ref in members:
            ref.report(message)
        return len(members)

    def drop(self, ref: Ref[Any]) -> None:
        """Forget a ref that is gone for good."""
        names, groups = self._held.pop(ref, (set(), set()))
        for name in names:
            del self._names[name]
        for group in groups:
            self.leave(group, ref)

    def _of(self, ref: Ref[Any]) -> tuple[set[str], set[str]]:
        return self._held.setdefault(ref, (set(), set()))

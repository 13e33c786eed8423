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
        self._names_of: dict[Ref[Any], tuple[str, ...]] = {}
        self._groups_of: dict[Ref[Any], tuple[str, ...]] = {}
        """Of each ref that has any. Tuples, since a million actors with one name each have a million of them."""

    def register(self, name: str, ref: Ref[Any]) -> None:
        """Give a ref a name. It keeps it while it restarts; the name is free again when its parent forgets the ref, or ends.

        Raises:
            ActorDead: it is not running.
            CallError: another ref has the name.
        """
        _check_runs(ref)
        holder = self._names.setdefault(name, ref)
        if holder is not ref:
            raise CallError(f"the name '{name}' belongs to {holder.path}")
        _add(self._names_of, ref, name)

    def unregister(self, name: str) -> None:
        ref = self._names.pop(name, None)
        if ref is not None:
            _discard(self._names_of, ref, name)

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
        """Make a ref a member, once. It stays one while it restarts. Raises `ActorDead` when it is not running."""
        _check_runs(ref)
        self._groups.setdefault(group, {})[ref] = None
        _add(self._groups_of, ref, group)

    def leave(self, group: str, ref: Ref[Any]) -> None:
        members = self._groups.get(group, {})
        members.pop(ref, None)
        if not members:
            self._groups.pop(group, None)
        _discard(self._groups_of, ref, group)

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
        for name in self._names_of.pop(ref, ()):
            del self._names[name]
        for group in self._groups_of.pop(ref, ()):
            self.leave(group, ref)


def _check_runs(ref: Ref[Any]) -> None:
    if not ref.is_alive():
        raise ActorDead(f"{ref.path} is not running")


def _add(held: dict[Ref[Any], tuple[str, ...]], ref: Ref[Any], word: str) -> None:
    words = held.get(ref, ())
    if word not in words:
        held[ref] = (*words, word)


def _discard(held: dict[Ref[Any], tuple[str, ...]], ref: Ref[Any], word: str) -> None:
    words = tuple(other for other in held.get(ref, ()) if other != word)
    if words:
        held[ref] = words
    else:
        held.pop(ref, None)

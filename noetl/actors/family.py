"""Parents and children: who is in the tree under whom, and how children end before their parent."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from noetl.actors.actor import AnyActor, Reason, Start
from noetl.actors.ref import Ref
from noetl.actors.ties import Tied
from noetl.errors import ActorDead

if TYPE_CHECKING:
    from noetl.actors.cell import Cell
    from noetl.actors.loop import Runtime

M = TypeVar("M")
N = TypeVar("N")

INIT, RUNNING, STOPPING, DEAD = range(4)
"""The states of a cell, in the order of a life."""


def _no_more() -> AnyActor[Any]:
    raise ActorDead("a forgotten child can't be started again")


class Relative(Tied[M]):
    """The part of a cell that has a parent and children. A child is linked to its parent for life, and never outlives it."""

    __slots__ = ("_children", "_shutdown_s", "_start", "_state", "id", "parent")

    def __init__(self, runtime: Runtime, start: Start[M], id_: str | int, parent: Cell[Any] | None, shutdown_s: float) -> None:
        super().__init__(runtime)
        self.id = id_
        self.parent = parent
        self._start = start
        self._shutdown_s = shutdown_s
        self._state = DEAD
        self._children: dict[Cell[Any], Any] | None = None

    def is_dead(self) -> bool:
        return self._state == DEAD

    @property
    def path(self) -> str:
        return str(self.id) if self.parent is None else f"{self.parent.path}/{self.id}"

    @abstractmethod
    def stops_in_order(self) -> bool:
        """Whether its children are stopped one after the other, the last one first."""

    @abstractmethod
    def child_ended(self, child: Cell[Any], reason: Reason) -> None: ...

    @abstractmethod
    def children_ended(self) -> None:
        """`stop_children` is done."""

    @abstractmethod
    def make_child(self, start: Start[N], id_: str | int, shutdown_s: float) -> Cell[N]: ...

    def is_related(self, other: Ref[Any]) -> bool:
        return other is self.parent or self._child(other) is not None

    def _child(self, ref: Ref[Any]) -> Cell[Any] | None:
        return ref if self._children is not None and ref in self._children else None

    def spawn(self, start: Start[N], id_: str | int, *, shutdown_s: float, record: Any = None) -> Cell[N]:
        child: Cell[N] = self.make_child(start, id_, shutdown_s)
        child.launch()
        if self._children is None:
            self._children = {}
        self._children[child] = record
        return child

    def respawn(self, child: Ref[Any]) -> None:
        cell = self._child(child)
        if cell is None:
            raise ActorDead(f"{child.path} is no child of {self.path}")
        if cell.is_dead():
            cell.launch()

    def forget_child(self, child: Ref[Any]) -> None:
        cell = self._child(child)
        if cell is not None and cell.is_dead():
            self._children.pop(cell)  # type: ignore[union-attr]  # it has this one
            cell.retire()

    def child_records(self) -> dict[Ref[Any], Any]:
        return {child: record for child, record in (self._children or {}).items()}  # noqa: C416  a dict of refs, not of relatives

    def is_child_ready(self, child: Ref[Any]) -> bool:
        """Whether its start is over."""
        cell = self._child(child)
        return cell is not None and cell.is_ready()

    def shutdown_child(self, child: Ref[Any], reason: Reason) -> None:
        cell = self._child(child)
        if cell is not None:
            cell.shutdown(reason)

    def child_record(self, child: Ref[Any]) -> Any:
        cell = self._child(child)
        return None if cell is None else (self._children or {})[cell]

    def living_children(self) -> list[Cell[Any]]:
        return [child for child in self._children or () if not child.is_dead()]

    def stop_children(self) -> None:
        """Shut down all at once or, in order, one after the other."""
        living = self.living_children() if self._children else None
        if not living:
            self.children_ended()
            return
        ties, in_order = self._tie(), self.stops_in_order()
        ties.pending = 1  # ourselves, as long as we ask: a child may end within the call
        for child in reversed(living) if in_order else living:
            ties.pending += 1
            child.shutdown()
            if in_order and not child.is_dead():
                break
        self.one_less_to_end()

    def one_less_to_end(self) -> None:
        if self._ties is not None:
            self._ties.pending -= 1
            if self._ties.pending == 0:
                self.stop_children()

    def drop_children(self) -> None:
        """The parent is gone, so its children are: for good."""
        children = self._children
        if children is None:
            return
        self._children = None
        for child in children:
            child.kill()
            child.retire()

    def retire(self) -> None:
        """Nobody can start it again under this ref. What its start holds, often the parent that holds this ref, is let go."""
        self._start = _no_more
        self.runtime.registry.drop(self)

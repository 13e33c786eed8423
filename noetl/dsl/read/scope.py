"""What the readers of one step share."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Map, Node


class StepScope(Struct, frozen=True):
    """`specs` are the layers of runtime settings around the step's tasks, outermost first: those of the executor, the step, the loop.

    `workbook` holds the workbook's tasks, each as one flat mapping of a task; `args` are the names that the step's own args give.
    """

    read: Reader
    name: str
    specs: tuple[Map, ...] = ()
    workbook: Mapping[str, Map] = {}
    args: frozenset[str] = frozenset()

    def setting(self, own: Map, *keys: str) -> Node | None:
        """The innermost value of a setting; `own` is the innermost layer. Several keys lead into nested mappings."""
        for layer in (own, *reversed(self.specs)):
            value: Node | None = layer
            for key in keys:
                value = value.get(key) if isinstance(value, Map) else None
            if value is not None:
                return value
        return None

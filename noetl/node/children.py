"""Sub-playbooks: where their playbook is found, and how deep they may be."""

from __future__ import annotations

from noetl.engine.library import Library
from noetl.engine.order import Order
from noetl.errors import Invalid, NotFound, PlaybookError, ToolError
from noetl.ids import ExecutionId, ExecutionIds
from noetl.store.patience import patiently


class SubPlaybooks:
    def __init__(self, library: Library, ids: ExecutionIds) -> None:
        self._library = library
        self._ids = ids

    async def resolve(self, path: str, order: Order) -> tuple[str, str]:
        """Catalog path and net hash of the playbook that a call names; its net is in the store then."""
        limit = order.max_depth
        if order.depth + 1 > limit:
            raise ToolError(f"playbooks may call each other {limit} levels deep, not deeper", kind="limit")
        try:
            found = await patiently(lambda: self._library.find(path, relative_to=self._library.folder_of(order.net)))
        except NotFound as error:
            raise ToolError(str(error), kind="not_found") from error
        except Invalid as error:
            raise ToolError(f"playbook '{path}' is not valid: {error}", kind="config") from error
        except PlaybookError as error:
            raise ToolError(f"playbook '{path}': {error}", kind="config") from error
        return found.path, found.program.hash

    def new_id(self) -> ExecutionId:
        return self._ids.new()

"""Who has changed something, or was not allowed to."""

from __future__ import annotations

from typing import Literal

from noetl.api.route import Call
from noetl.store.access import AuditRow


async def note(call: Call, action: str, subject: str, outcome: Literal["done", "denied"]) -> None:
    await call.deps.audit.note(AuditRow(at=call.deps.now(), actor=call.principal.name, action=action, subject=subject, outcome=outcome))

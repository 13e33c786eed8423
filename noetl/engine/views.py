"""Rows, states and problems as the structs of `noetl.engine.client`. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from noetl.engine.client import ExecutionReport, ExecutionView, PlaybookEntry, ProblemView, SchemaEntry, StepView
from noetl.engine.recovery import Folded
from noetl.engine.report import Report, StepReport
from noetl.engine.state import StepState
from noetl.errors import Flaw
from noetl.store.catalog import PlaybookVersion, SchemaVersion
from noetl.store.log import ExecutionRow


def execution_view(row: ExecutionRow) -> ExecutionView:
    return ExecutionView(
        execution_id=str(row.id),
        path=row.path,
        version=row.version,
        status=row.status,
        requested_at=row.requested_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        requested_by=row.requested_by,
        labels=row.labels,
        parent_id=None if row.parent_id is None else str(row.parent_id),
        error=row.error,
    )


def report_view(found: Folded, report: Report, result: Any, family: list[ExecutionRow]) -> ExecutionReport:
    """`report` and `result` are those of the state. Of one that was put in quarantine only the row knows the error."""
    row = found.row
    own = msgspec.structs.asdict(execution_view(row))
    own["error"] = report.error or (None if row.error is None else {"kind": "internal", "message": row.error})
    steps = {name: _step_view(step, found.state.steps[name]) for name, step in report.steps.items()}
    children = tuple(execution_view(member) for member in family if member.parent_id == row.id)
    return ExecutionReport(**own, result=result, steps=steps, children=children)


def _step_view(step: StepReport, about: StepState) -> StepView:
    return StepView(
        status=step.status,
        runs=step.runs,
        started_at=about.started_at,
        ended_at=about.ended_at,
        result=None if step.result is msgspec.UNSET else step.result,
        error=None if step.error is msgspec.UNSET else step.error,
    )


def problem_view(problem: Flaw) -> ProblemView:
    return msgspec.convert(problem, ProblemView, from_attributes=True)


def playbook_entry(version: PlaybookVersion) -> PlaybookEntry:
    return PlaybookEntry(
        path=version.path,
        version=version.version,
        hash=version.hash,
        labels=version.labels,
        registered_at=version.registered_at,
        registered_by=version.registered_by,
    )


def schema_entry(row: SchemaVersion, *, new: bool = False) -> SchemaEntry:
    return SchemaEntry(**msgspec.structs.asdict(row), new=new)

"""How templates see what a call or a step gave: `outcome`, and the result of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.dsl.lookup import MISSING, SELF_NAMES, Load, Results, View, see, settle
from noetl.engine.state import Outcome


class Envelope(View):
    """`outcome`: what a call gave, with what it took."""

    __slots__ = ("_outcome",)

    def __init__(self, outcome: Outcome, load: Load) -> None:
        super().__init__(load)
        self._outcome = outcome

    @property
    def outcome(self) -> Outcome:
        return self._outcome

    def look(self, key: Any) -> Any:
        outcome = self._outcome
        match key:
            case "status":
                return outcome.status
            case "result":
                return see(outcome.result, self._load)
            case "data" | "body":
                return self._data()
            case "error":
                return outcome.error
            case "ref":
                return getattr(outcome.result, "ref", None)
            case "meta":
                return self._meta()
            case _ if key in outcome.helper:
                return outcome.helper[key]
        for seen in (self._data(), see(outcome.result, self._load)):
            found = seen.look(key) if isinstance(seen, View) else MISSING
            if found is not MISSING and found is not seen:
                return found
        return self if key in SELF_NAMES else MISSING

    def _data(self) -> Any:
        seen = see(self._outcome.result, self._load)
        return seen.look("data") if "http" in self._outcome.helper and isinstance(seen, View) else seen

    def _meta(self) -> dict[str, Any]:
        outcome = self._outcome
        started_at = None if outcome.started_at is None else outcome.started_at.isoformat()
        return {"attempt": outcome.attempt, "duration_s": outcome.duration_s, "started_at": started_at}

    def mapping(self) -> Mapping[str, Any]:
        keys = ("status", "data", "result", "ref", "error", "meta", *self._outcome.helper)
        return {key: self.look(key) for key in keys}

    def plain(self) -> Any:
        return {key: settle(value) for key, value in self.mapping().items()}


class LabelledResult(View):
    """A large result of a pipeline: its tasks' results are beside it."""

    __slots__ = ("_labels", "_result")

    def __init__(self, result: View, labels: dict[str, Any], load: Load) -> None:
        super().__init__(load)
        self._result = result
        self._labels = labels

    @property
    def labels(self) -> dict[str, Any]:
        return self._labels

    def look(self, key: Any) -> Any:
        return Results(self._labels, self._load) if key == "results" else self._result.look(key)

    def mapping(self) -> Mapping[str, Any]:
        return self._result.mapping()

    def plain(self) -> Any:
        return self._result.plain()

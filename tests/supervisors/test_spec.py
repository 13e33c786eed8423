"""Specs that can't be meant are refused."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.supervisors.spec import Backoff, ChildSpec, SupervisorSpec
from tests.supervisors.children import Worker, spec

CHILD: dict[str, Any] = {"id": "a", "start": Worker}


@pytest.mark.parametrize(
    ("kind", "fields", "error"),
    [
        (ChildSpec, {"restart": "always"}, "restart of 'a' is 'always': it is one of permanent, transient, temporary"),
        (ChildSpec, {"shutdown_s": -1.0}, "shutdown_s of child 'a'"),
        (ChildSpec, {"shutdown_s": float("nan")}, "shutdown_s of child 'a'"),
        (ChildSpec, {"start": 3}, "start of child 'a' is not callable"),
        (ChildSpec, {"significant": True}, "significant of 'a': a permanent child"),
        (SupervisorSpec, {"strategy": "all"}, "strategy of supervisor 'a' is 'all': it is one of one_for_one, one_for_all, rest_for_one"),
        (SupervisorSpec, {"auto_shutdown": "yes"}, "auto_shutdown of supervisor 'a' is 'yes'"),
        (SupervisorSpec, {"restart": "always"}, "restart of 'a'"),
        (SupervisorSpec, {"intensity": -1}, "intensity of supervisor 'a'"),
        (SupervisorSpec, {"period_s": 0.0}, "period_s of supervisor 'a'"),
        (SupervisorSpec, {"children": (spec("x"), spec("y"), spec("x"))}, "children of supervisor 'a': two have the id 'x'"),
        (SupervisorSpec, {"children": (spec("x", "transient", significant=True),)}, "significant of child 'x'"),
        (Backoff, {"initial_s": -1.0}, "initial_s"),
        (Backoff, {"factor": 0.5}, "factor"),
        (Backoff, {"max_s": 0.1}, "max_s"),
        (Backoff, {"jitter": 2.0}, "jitter"),
        (Backoff, {"reset_after_s": -1.0}, "reset_after_s"),
    ],
)
def test_a_spec_that_can_not_be_meant_is_refused_when_it_is_made_and_the_field_is_named(kind: Any, fields: dict[str, Any], error: str) -> None:
    given = {ChildSpec: CHILD, SupervisorSpec: {"id": "a", "children": ()}, Backoff: {}}[kind]
    kind(**given)
    with pytest.raises(ValueError, match=error):
        kind(**given | fields)

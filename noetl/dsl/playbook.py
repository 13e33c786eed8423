"""The canonical playbook: what every dialect becomes at load time, and all that the engine knows.

Values named `Raw` are JSON-like data whose texts may hold templates; they are rendered when they are needed. `line` and `column` count from 1 and are
those of the source that the item came from, also after rewriting.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Raw = Any
Join = Literal["auto", "all", "any"] | int
Scope = Literal["ctx", "iter", "step"]


class Write(Struct, frozen=True, omit_defaults=True):
    """One entry of a `set`: where to, which key, what."""

    scope: Scope
    key: str
    value: Raw


class Target(Struct, frozen=True, omit_defaults=True):
    """A step that a `case` rule sends a token to."""

    step: str
    args: dict[str, Raw] = {}


# What a rule does when it matches. A policy rule of a task has writes and one directive; a `case` rule may have several actions.


class Action(Struct, frozen=True, omit_defaults=True, tag_field="do", tag=str.lower):
    """One action of a rule."""


class Set(Action, frozen=True):
    """Render all values, then write them."""

    writes: tuple[Write, ...]


class Collect(Action, frozen=True):
    """Gather pages of results in `ctx.<into>`.

    `value` is an expression (`from`) or None with `path`, a dotted path into the HTTP body, else into the result. With `path` the gathered list also
    becomes the step's result.
    """

    into: str
    mode: Literal["append", "extend", "replace"]
    value: Raw = None
    path: str | None = None


class Sink(Action, frozen=True):
    """Run one more task; its failure fails the step."""

    task: Task


class Result(Action, frozen=True):
    """Replace the step's result by the value of an expression or template."""

    value: Raw


class Retry(Action, frozen=True):
    """Run the task again.

    The n-th retry (from 1) waits `delay` (`backoff` none or fixed), `delay * n` (linear) or `delay * factor ** (n - 1)` (exponential) seconds, at
    most `max_delay`. `attempts` counts all tries including the first; None: after a success no bound but the execution's limits, after an error
    three. `overrides` are merged over the task's fields and stay for later calls of the run. `spent` says what happens when the attempts are used
    up: `pass`: the rule no longer matches; `end`: the pipeline ends, after an error with it, after a success with what it has.
    """

    attempts: Raw = 3
    delay: Raw = 0
    backoff: Literal["none", "fixed", "linear", "exponential"] = "none"
    factor: Raw = 2.0
    max_delay: Raw = 60
    jitter: bool = False
    overrides: dict[str, Raw] = {}
    spent: Literal["pass", "end"] = "pass"


class Continue(Action, frozen=True):
    """Go to the next task. After an error: swallow it."""


class Jump(Action, frozen=True):
    """Go on at the task labelled `to`."""

    to: str


class Break(Action, frozen=True):
    """Leave the pipeline, success."""


class Fail(Action, frozen=True):
    """Leave the pipeline, failure."""

    message: Raw = None


class Skip(Action, frozen=True):
    """End the step successfully without its own arcs."""


class Emit(Action, frozen=True):
    """Choose the steps that get a token when the step is done, instead of the step's own arcs."""

    targets: tuple[Target, ...]


AnyAction = Set | Collect | Sink | Result | Retry | Continue | Jump | Break | Fail | Skip | Emit


class Rule(Struct, frozen=True, omit_defaults=True):
    """Read top to bottom, the first match wins. `when` is a guard; None for a rule that closes the list (`else`).

    A rule without a directive (`Retry`, `Continue`, ... `Emit`) leaves the outcome to itself: after its actions it is as if no rule had matched.
    `legacy` marks a guard of a step's `retry`, which sees `error` as text, `status_code`, `success`, `data` and `attempt`.
    """

    actions: tuple[AnyAction, ...]
    when: Raw = None
    line: int = 0
    legacy: bool = False


class Output(Struct, frozen=True, omit_defaults=True):
    """How a large result is kept."""

    select: tuple[str, ...] | None = None
    store: str = "auto"
    inline_max_bytes: int | None = None


class Task(Struct, frozen=True, omit_defaults=True):
    """One call of a tool. `fields` are the tool's own; `rules` are its policy.

    `expects` and `returns` come from a workbook task's `assert`; `workbook` is the name of the workbook task that this one was made from.
    """

    label: str
    kind: str
    fields: dict[str, Raw] = {}
    args: dict[str, Raw] = {}
    defaults: dict[str, Raw] = {}
    """Inputs that a workbook task declares: for what nobody gives."""
    timeout: Raw = None
    rules: tuple[Rule, ...] = ()
    set: tuple[Write, ...] = ()
    output: Output | None = None
    retry_on_loss: bool = True
    memory_bytes: Raw = None
    expects: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    workbook: str | None = None
    sink: bool = False
    """It stores what the task before it gave. Its own result is nobody's business; its failure fails the step."""
    line: int = 0
    column: int = 0


class Loop(Struct, frozen=True, omit_defaults=True):
    """Run the pipeline once for each element of `items`. `cursor` is set instead of `items` for a cursor loop."""

    items: Raw = None
    iterator: str = "item"
    mode: Literal["sequential", "parallel", "cursor"] = "sequential"
    max_in_flight: Raw = 8
    best_effort: bool = False
    cursor: dict[str, Raw] | None = None
    frame: dict[str, Raw] = {}
    line: int = 0


class AdmitRule(Struct, frozen=True, omit_defaults=True):
    allow: bool
    when: Raw = None


class Admission(Struct, frozen=True, omit_defaults=True):
    """Asked when the step is about to fire. No rule matches: allowed. Denied with `wait`: the token stays until `ctx` changes."""

    rules: tuple[AdmitRule, ...]
    wait: bool = False


class Arc(Struct, frozen=True, omit_defaults=True):
    """From this step to `step`. `unless` are the positions of earlier arcs of the step: this one is for when none of their guards held."""

    step: str
    when: Raw = None
    args: dict[str, Raw] = {}
    set: tuple[Write, ...] = ()
    unless: tuple[int, ...] = ()
    line: int = 0


class Step(Struct, frozen=True, omit_defaults=True):
    """A transition of the net: admission guard, ordered tool pipeline, router."""

    name: str
    desc: str = ""
    args: dict[str, Raw] = {}
    tasks: tuple[Task, ...] = ()
    rules: tuple[Rule, ...] = ()
    """The `case` rules: for every boundary event of the step the first one that matches."""
    loop: Loop | None = None
    set: tuple[Write, ...] = ()
    output: Output | None = None
    arcs: tuple[Arc, ...] = ()
    inclusive: bool = False
    fail_on_no_match: bool = False
    join: Join = "auto"
    timeout: Raw = None
    admission: Admission | None = None
    pool: str | None = None
    priority: int | None = None
    resources: dict[str, Raw] = {}
    requires: dict[str, Raw] = {}
    duration_hint_s: float | None = None
    line: int = 0
    column: int = 0


class Keychain(Struct, frozen=True, omit_defaults=True):
    """A declared credential: `fields` as written, without `name` and `kind`."""

    name: str
    kind: str
    fields: dict[str, Raw] = {}
    line: int = 0


class Limits(Struct, frozen=True, omit_defaults=True):
    max_step_runs: int = 100_000
    max_tasks_per_run: int = 100_000
    max_depth: int = 16


class Playbook(Struct, frozen=True, omit_defaults=True):
    """A whole playbook. `path` is its catalog path; `entry` the step that gets the first token."""

    name: str
    path: str
    steps: tuple[Step, ...]
    entry: str
    description: str = ""
    labels: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    payload_schema: str | None = None
    """Name of a JSON Schema in the catalog that the payload of an execution must fit."""
    workload: dict[str, Raw] = {}
    vars: dict[str, Raw] = {}
    spec: dict[str, Raw] = {}
    keychain: tuple[Keychain, ...] = ()
    final_step: str | None = None
    no_next_is_error: bool = False
    drain_on_failure: bool = False
    cancel_grace_s: float = 5.0
    limits: Limits = Limits()
    priority: int = 5
    fair_key: Raw = None
    requires: dict[str, Any] = {}

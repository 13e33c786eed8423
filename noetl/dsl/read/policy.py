"""A task's policy: rules that are read after every attempt."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from noetl.dsl.playbook import AnyAction, Break, Continue, Fail, Jump, Retry, Rule, Set
from noetl.dsl.problem import nearest
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.writes import SET_KEYS, read_sets
from noetl.dsl.tree import Map, Node, Row, Scalar, is_null

DIRECTIVES: Final = ("continue", "retry", "jump", "break", "fail")
BACKOFFS: Final = ("none", "fixed", "linear", "exponential")
THEN_KEYS: Final = ("do", "attempts", "delay", "backoff", "max_delay", "jitter", "to", "message", *SET_KEYS)
_ONLY_WITH: Final = {**dict.fromkeys(("attempts", "delay", "backoff", "max_delay", "jitter"), "retry"), "to": "jump", "message": "fail"}
RULE_KEYS: Final = ("when", "then", "else")


class Pipeline(Struct, frozen=True):
    """The labels of a pipeline, and which of them is the task that is read."""

    labels: tuple[str, ...]
    current: int = 0


def read_rules(read: Reader, node: Node | None, pipeline: Pipeline) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for item in read.rows(node, "rules"):
        table = read.item(item, "a rule")
        if table is None:
            continue
        read.keys(table, RULE_KEYS, "a rule")
        warn_if_closed(read, rules, table)
        then = read.mapping(branch(read, table), "then")
        actions = () if then is None else _actions(read, then, pipeline)
        rules.append(Rule(actions, read.guard(table.get("when")), line=table.line))
    return tuple(rules)


def branch(read: Reader, rule: Map) -> Node | None:
    """What a rule does: its `then`, or that of any spelling of the closing `else`. None, with a note, when there is nothing."""
    if "else" in rule and "when" in rule:
        read.error(rule.entries["else"], "a rule has 'when' or 'else', not both", key="else", hint="put 'else' into a rule of its own, the last")
    closing = rule.get("else")
    if isinstance(closing, Scalar) and closing.value not in (None, True):
        read.error(closing, f"else must be a mapping, not '{closing.text}'", key="else")
        return None
    if isinstance(closing, Row) or (isinstance(closing, Map) and "then" not in closing):
        return closing
    then = (closing if isinstance(closing, Map) else rule).get("then")
    if is_null(then):
        read.require(rule, "then", "a rule needs 'then'")
    return then


def warn_if_closed(read: Reader, rules: list[Rule], at: Map) -> None:
    if rules and rules[-1].when is None:
        read.warn(at, "this rule is never read: the one before it has no guard")


def _actions(read: Reader, then: Map, pipeline: Pipeline) -> tuple[AnyAction, ...]:
    read.keys(then, THEN_KEYS, "a rule's then")
    writes = read_sets(read, then, "step")
    directive = _directive(read, then, pipeline)
    return (Set(writes), directive) if writes else (directive,)


def _directive(read: Reader, then: Map, pipeline: Pipeline) -> AnyAction:
    directive = read.choice(then.get("do"), "do", DIRECTIVES, "continue")
    for key in then.entries:
        if key in _ONLY_WITH and directive != _ONLY_WITH[key]:
            read.warn(then.entries[key], f"'{key}' has no effect without 'do: {_ONLY_WITH[key]}'", key=key)
    match directive:
        case "retry":
            return read_retry(read, then)
        case "jump":
            return Jump(_jump_target(read, then, pipeline))
        case "break":
            return Break()
        case "fail":
            return Fail(read.raw(then.get("message")))
        case _:
            return Continue()


def read_retry(read: Reader, then: Map) -> Retry:
    return Retry(
        attempts=read.quantity(then.get("attempts"), "attempts", 3, least=1),
        delay=read.quantity(then.get("delay"), "delay", 0),
        backoff=_backoff(read, then.get("backoff")),
        max_delay=read.quantity(then.get("max_delay"), "max_delay", 60),
        jitter=read.flag(then.get("jitter"), "jitter", default=False),
    )


def _backoff(read: Reader, node: Node | None) -> Any:
    return read.choice(node, "backoff", BACKOFFS, "none")


def _jump_target(read: Reader, then: Map, pipeline: Pipeline) -> str:
    node = then.get("to")
    label = read.text(node, "to")
    if label is None:
        read.require(then, "to", "'to' is required: jump needs the label of a task")
        return ""
    assert node is not None
    if label == "previous" and label not in pipeline.labels:
        if pipeline.current == 0:
            read.error(node, "'previous' needs a task before this one", key="to")
        return pipeline.labels[max(pipeline.current - 1, 0)]
    if label not in pipeline.labels:
        read.error(node, f"jump target '{label}' is not a task of {read.where}", key="to", hint=nearest(label, pipeline.labels))
    return label

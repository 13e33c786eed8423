"""`retry` of a step, of a tool and of a `case` rule: how often, how long to wait, and when (docs/reference/language.md, 10.3, 10.4 and 10.7)."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from noetl.dsl.playbook import Retry, Rule
from noetl.dsl.read.policy import BACKOFFS
from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Map, Node, Row, Scalar, is_null

TIMING_KEYS: Final = ("max_attempts", "attempts", "initial_delay", "delay", "backoff_multiplier", "backoff", "max_delay", "jitter")
ERROR_KEYS: Final = (*TIMING_KEYS, "retry_when", "when", "stop_when")
STEP_KEYS: Final = (*TIMING_KEYS, "retry_when", "stop_when", "on_error", "on_success")
TOOL_KEYS: Final = (*TIMING_KEYS, "retry_on")
ON_FAILURE: Final = "{{ outcome.status == 'error' }}"

_ERROR_KINDS: Final = frozenset(
    (
        *("connection", "timeout", "rate_limit", "server_error", "auth", "not_found", "client_error", "database", "python", "template", "config"),
        *("unsupported", "playbook", "policy", "limit", "cancelled", "worker_lost"),
    )
)
_ANY_ERROR: Final = frozenset({"all", "any", "error", "*"})


def is_off(node: Node | None) -> bool:
    """Whether a `retry` says that there is none: missing, null, false or 0."""
    return is_null(node) or (isinstance(node, Scalar) and (node.value is False or node.value == 0))


def read_timing(read: Reader, node: Node | None, default: Retry) -> Retry:
    """`true`, a number of attempts, or a mapping of `TIMING_KEYS` (other keys are left to the caller)."""
    if isinstance(node, Row):
        read.mistyped(node, "retry", "true, a number of attempts or a mapping")
    if isinstance(node, Scalar) and node.value is not True:
        return replace(default, attempts=read.quantity(node, "retry", 3, least=1))
    if not isinstance(node, Map):
        return default
    delay = read.either(node, ("initial_delay", "delay"))
    named = node.get("backoff")
    if isinstance(named, Scalar) and isinstance(named.value, (int, float)) and not isinstance(named.value, bool):
        backoff, delay = "fixed", named
    else:
        grows = "backoff_multiplier" in node or "initial_delay" in node
        backoff = read.choice(named, "backoff", BACKOFFS, "exponential" if grows else default.backoff)
    return replace(
        default,
        attempts=read.quantity(read.either(node, ("max_attempts", "attempts")), "max_attempts", default.attempts, least=1),
        delay=read.quantity(delay, "delay", default.delay),
        backoff=backoff,
        factor=read.quantity(node.get("backoff_multiplier"), "backoff_multiplier", default.factor),
        max_delay=read.quantity(node.get("max_delay"), "max_delay", default.max_delay),
        jitter=read.flag(node.get("jitter"), "jitter", default=default.jitter),
    )


def tool_retry(read: Reader, node: Node | None) -> tuple[Rule, ...]:
    """The rule of a `retry` inside a tool."""
    if node is None or is_off(node):
        return ()
    retry = read_timing(read, node, Retry())
    if not isinstance(node, Map):
        return (Rule((retry,), ON_FAILURE, line=node.line),)
    read.keys(node, TOOL_KEYS, "retry")
    kinds = [_error_kind(text) for text in read.texts(node.get("retry_on"), "retry_on")]
    when = f"{{{{ outcome.status == 'error' and error.kind in {kinds} }}}}" if kinds and not _ANY_ERROR.intersection(kinds) else ON_FAILURE
    return (Rule((retry,), when, line=node.line),)


def _error_kind(text: str) -> str:
    """`connection_error` is the error kind `connection`."""
    short = text.removesuffix("_error")
    return short if text not in _ERROR_KINDS and short in _ERROR_KINDS else text


_STEP_DEFAULT: Final = Retry(delay=1, backoff="exponential")


def step_retry(read: Reader, node: Node | None) -> tuple[Rule, ...]:
    """The rules of a step's `retry` after an error; those of its `on_success` are `paging`'s. What stops comes first."""
    if node is None or is_off(node) or isinstance(node, Row):
        return ()
    if not isinstance(node, Map):
        return (Rule((read_timing(read, node, _STEP_DEFAULT),), ON_FAILURE, line=node.line),)
    read.keys(node, STEP_KEYS, "retry")
    table = node.without("on_error", "on_success")
    if (on_error := read.mapping(node.get("on_error"), "on_error")) is not None:
        read.keys(on_error, ERROR_KEYS, "on_error")
        table = table.plus(on_error.entries)
    if "on_success" in node and not table.entries:
        return ()
    stop = table.get("stop_when")
    stops = () if stop is None else (Rule((), read.guard(stop), legacy=True, line=stop.line),)
    return (*stops, _again(read, table, _STEP_DEFAULT))


def _again(read: Reader, node: Map, default: Retry) -> Rule:
    retry = read_timing(read, node, default)
    when = read.either(node, ("retry_when", "when"))
    return Rule((retry,), ON_FAILURE, line=node.line) if when is None else Rule((retry,), read.guard(when), legacy=True, line=when.line)

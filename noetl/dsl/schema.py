"""The JSON Schema of a playbook, for editors. It accepts every playbook that `load` accepts, in all spellings, and says what may stand where.

`load` is the judge: the schema knows nothing of names that must exist and templates that must parse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from noetl.dsl.check.names import EVENTS
from noetl.dsl.dialects import case, flat, next_list, retry
from noetl.dsl.kinds import COMMON_FIELDS, KINDS, SAME_KINDS, Kind
from noetl.dsl.read import admission, arcs, document, executor, loop, output, policy, shapes, step, task, writes

Schema = dict[str, Any]

_ANY: Final[Schema] = {}
_TEXT: Final[Schema] = {"type": ["string", "number", "boolean", "null"]}
_TEXTS: Final[Schema] = {"type": ["array", "string", "number", "boolean", "null"], "items": _TEXT}
_NUMBER: Final[Schema] = {"type": ["number", "string", "null"]}
_FLAG: Final[Schema] = {"type": ["boolean", "null"]}
_VALUES: Final[Schema] = {"type": ["object", "null"]}


def schema() -> Schema:
    """JSON Schema, draft 2020-12."""
    root = _mapping(
        {
            **dict.fromkeys(document.ROOT_KEYS, _VALUES),
            "apiVersion": _enum((document.API, document.OLDER_API)),
            "kind": {"const": "Playbook"},
            "metadata": _ref("metadata"),
            "executor": _ref("executor"),
            "keychain": _list(_ref("keychain"), "Declared credentials, read as keychain.<name>.<field>"),
            "workload": _about(_VALUES, "Default inputs; a payload is merged over them"),
            "workbook": _about({"type": ["array", "object", "null"]}, "Reusable tasks: a list of {name, tool}, or name -> task"),
            "workflow": {"type": "array", "minItems": 1, "items": _ref("step"), "description": "The steps. The first token goes to `start`"},
            "tracing": _ANY,
        },
        required=("apiVersion", "kind", "metadata", "workflow"),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "NoETL playbook", **root, "type": "object", "$defs": _definitions()}


def _definitions() -> Schema:
    return {
        "metadata": _mapping({"name": _TEXT, "path": _TEXT, "version": _TEXT, "description": _TEXT, "labels": _VALUES, "tags": _TEXTS}, open_=True),
        "keychain": _mapping({"name": _TEXT, "kind": _known(document.KEYCHAIN_KINDS), "type": _TEXT}, open_=True, required=("name",)),
        "executor": _executor(),
        "step": _step(),
        "step_spec": _step_spec(),
        "guard": _guard(),
        "set": {"type": ["object", "array", "null"], "description": "Values to write, by key: ctx.x, iter.x, step.x"},
        "output": _mapping({"store": {"anyOf": [_known(output.STORES), _VALUES]}}, output.OUTPUT_KEYS, open_=True),
        "loop": _loop(),
        "next": _next(),
        "arc": _arc(arcs.ARC_KEYS),
        "next_item": _arc(next_list.ITEM_KEYS),
        "policy_rules": _list(_rule(_then())),
        "case_rule": _rule({"anyOf": [_ref("actions"), {"type": ["array", "null"], "items": _ref("actions")}]}),
        "actions": _actions(),
        "tool": _tool(),
        "task": _task(),
        "sink": {"type": ["object", "array"], "items": {"type": "object"}, "description": "Where the result is stored: {tool, table, ...}"},
        "retry": _retry(),
        **{f"kind_{name}": _kind(kind) for name, kind in KINDS.items()},
    }


def _executor() -> Schema:
    limits = _mapping(dict.fromkeys(executor.LIMITS, _NUMBER))
    rules = _mapping({"on_failure": _enum(("cancel", "drain")), "cancel_grace_s": _NUMBER}, executor.POLICY_KEYS, open_=True)
    spec = {"entry_step": _TEXT, "final_step": _TEXT, "no_next_is_error": _FLAG, "limits": limits, "policy": rules, "priority": _NUMBER}
    requires = _mapping({"tools": {"type": ["array", "null"], "items": _known((*KINDS, *SAME_KINDS))}}, executor.REQUIRES_KEYS, open_=True)
    return _mapping({"spec": _mapping(spec, executor.SPEC_KEYS, open_=True), "requires": requires}, executor.EXECUTOR_KEYS, open_=True)


def _step() -> Schema:
    """A step whose `tool` is a text, or that has a `type`, holds the fields of its tool itself."""
    own = {
        "step": _about(_TEXT, "Name, unique in the playbook"),
        "desc": _about(_TEXT, "What the step is for"),
        "description": _TEXT,
        "spec": _ref("step_spec"),
        "args": _about(_VALUES, "Inputs of the step's tasks"),
        "loop": _ref("loop"),
        "tool": _ref("tool"),
        "set": _ref("set"),
        "next": _ref("next"),
        "case": {"type": ["array", "object", "null"], "items": _ref("case_rule")},
        "retry": _ref("retry"),
        "sink": _ref("sink"),
        "save": _ref("sink"),
        "vars": _VALUES,
        "enabled": _ref("guard"),
    }
    keys = (*flat.STEP_KEYS, *flat.OLDER_STEP_KEYS)
    is_flat = {"anyOf": [{"properties": {"tool": {"type": "string"}}, "required": ["tool"]}, {"required": ["type"]}]}
    fields = [_if_kind(name, key) for name in KINDS for key in ("tool", "type")]
    return {
        "type": "object",
        "required": ["step"],
        "properties": {**dict.fromkeys(keys, _ANY), **own, "type": _known((*KINDS, "iterator"))},
        "if": is_flat,
        "then": {"allOf": fields},
        "else": {"propertyNames": {"enum": list(keys)}},
    }


def _step_spec() -> Schema:
    admit = _mapping(
        {"on_deny": _enum(("skip", "wait")), "rules": _list(_rule(_mapping({"allow": _FLAG})))},
        admission.ADMIT_KEYS,
    )
    failure = _mapping({"mode": _enum(loop.FAILURE_MODES)})
    return _mapping(
        {
            "join": _about({"anyOf": [_enum(step.JOINS), _NUMBER]}, "When the step fires if several arcs lead to it"),
            "timeout": _about(_NUMBER, "Seconds for the whole step"),
            "priority": _about(_NUMBER, "0 to 9, default 5"),
            "pool": _about(_TEXT, "Node pool"),
            "resources": _about(_VALUES, "Units of capacity, by name"),
            "requires": _about(_VALUES, "What the node must have: gpu, memory_bytes, region, labels"),
            "policy": _mapping({"admit": admit, "failure": failure, "rules": _ref("policy_rules")}, step.POLICY_KEYS),
        },
        step.SPEC_KEYS,
    )


def _guard() -> Schema:
    text = f"Expression or template that is true when this applies. Values of event.name: {', '.join(EVENTS)}"
    return {"type": ["string", "boolean", "number", "null"], "description": text}


def _loop() -> Schema:
    mode = _about(_enum((*loop.MODES, "async")), "Whether iterations run one after the other or at once")
    window = _about(_NUMBER, "Iterations at once, default 8")
    frame = _mapping({"process": _enum(("row", "frame"))}, loop.FRAME_KEYS)
    rules = _mapping({"failure": _mapping({"mode": _enum(loop.FAILURE_MODES)}), "rules": _ref("policy_rules")}, loop.POLICY_KEYS)
    spec = _mapping({"mode": mode, "max_in_flight": window, "frame": frame, "policy": rules}, loop.SPEC_KEYS)
    return _mapping(
        {
            "in": _about(_ANY, "The elements: a list, or a template for one"),
            "iterator": _about(_TEXT, "Name of the element in templates, default item"),
            "mode": mode,
            "max_in_flight": window,
            "spec": spec,
            "cursor": _mapping({"claim": _about(_TEXT, "SQL that claims rows; no row ends the loop")}, loop.CURSOR_KEYS),
        },
        loop.LOOP_KEYS,
    )


def _next() -> Schema:
    spec = {"mode": _about(_enum(arcs.MODES), "exclusive: the first arc whose guard holds; inclusive: all of them")}
    quiet = {"on_no_match": _enum(("quiet", "fail"))}
    routes = {
        **spec,
        **quiet,
        "spec": _mapping({**spec, **quiet, "policy": _mapping({**spec, **quiet})}, arcs.NEXT_SPEC_KEYS),
        "arcs": _list(_ref("arc"), "Where tokens go when the step is done"),
    }
    item = {"anyOf": [_TEXT, _ref("next_item")]}
    return {"anyOf": [_mapping(routes, arcs.NEXT_KEYS), _ref("next_item"), {"type": "array", "items": item}, _TEXT]}


def _arc(keys: Iterable[str]) -> Schema:
    own = {
        "step": _about(_TEXT, "The step that gets a token"),
        "when": _ref("guard"),
        "cond": _ref("guard"),
        "args": _about(_VALUES, "Inputs that the token carries"),
        "set": _ref("set"),
    }
    return _mapping({key: own.get(key, _ANY) for key in keys})


def _rule(then: Schema) -> Schema:
    return _mapping(
        {"when": _ref("guard"), "then": then, "else": _about(_ANY, "Closes the list: what is done when no rule matched")}, policy.RULE_KEYS
    )


def _then() -> Schema:
    return _mapping(
        {
            "do": _about(_enum(policy.DIRECTIVES), "What happens next, default continue"),
            "attempts": _about(_NUMBER, "Tries in all, default 3"),
            "delay": _about(_NUMBER, "Seconds before the next try"),
            "backoff": _enum(policy.BACKOFFS),
            "max_delay": _about(_NUMBER, "Seconds at most, default 60"),
            "jitter": _FLAG,
            "to": _about(_TEXT, "Label of the task to go on at, or previous"),
            "set": _ref("set"),
        },
        policy.THEN_KEYS,
    )


def _actions() -> Schema:
    own = {
        "set": _ref("set"),
        "collect": _mapping({"mode": _enum(case.CASE_MODES), "strategy": _enum(case.CASE_MODES)}, case.COLLECT_KEYS),
        "sink": _ref("sink"),
        "retry": _ref("retry"),
        "skip": _FLAG,
    }
    return {**_mapping({**dict.fromkeys(next_list.TARGET_KEYS, _ANY), **own}, case.ACTION_KEYS), "type": "object"}


def _retry() -> Schema:
    own = {**dict.fromkeys(retry.TIMING_KEYS, _NUMBER), "jitter": _FLAG, "retry_on": _TEXTS, "retry_when": _ref("guard"), "stop_when": _ref("guard")}
    return {"type": ["boolean", "number", "string", "object", "array", "null"], "properties": own}


def _tool() -> Schema:
    return {"anyOf": [_ref("task"), {"type": "array", "items": {"type": "object"}}, _known((*KINDS, *SAME_KINDS, "iterator"))]}


def _task() -> Schema:
    own = {
        "kind": _known((*KINDS, *SAME_KINDS)),
        "name": _about(_TEXT, "Label of the task"),
        "spec": _mapping({"policy": _mapping({"rules": _ref("policy_rules")}, task.POLICY_KEYS)}, shapes.SETTINGS, open_=True),
        "set": _ref("set"),
        "output": _ref("output"),
        "sink": _ref("sink"),
        "save": _ref("sink"),
    }
    described = {name: {"description": text} for name, text in COMMON_FIELDS.items()}
    properties = {**dict.fromkeys((*task.OWN_KEYS, *writes.SET_KEYS), _ANY), **described, **own}
    return {"type": "object", "properties": properties, "allOf": [_if_kind(name, "kind") for name in KINDS]}


def _if_kind(name: str, key: str) -> Schema:
    """The fields of a kind, where `key` names it."""
    spellings = [name, *(other for other, canonical in SAME_KINDS.items() if canonical == name)]
    return {"if": {"properties": {key: {"enum": spellings}}, "required": [key]}, "then": _ref(f"kind_{name}")}


def _kind(kind: Kind) -> Schema:
    fields = {name: _field(text, kind.choices.get(name)) for name, text in kind.fields.items()}
    older = {old: {"description": f"Older spelling of {new}", "deprecated": True} for old, new in kind.same.items() if old not in fields}
    return {"description": kind.about, "properties": {**fields, **older}}


def _field(text: str, choices: tuple[str, ...] | None) -> Schema:
    return _about(_known(choices), text) if choices else {"description": text}


# Pieces


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _about(what: Schema, text: str) -> Schema:
    return {**what, "description": text}


def _enum(words: Iterable[str]) -> Schema:
    """One of the words, or nothing."""
    return {"enum": [*words, None]}


def _known(words: Iterable[str]) -> Schema:
    """A text. The words are offered, others are left to `load`."""
    return {"anyOf": [{"enum": list(words)}, _TEXT]}


def _list(items: Schema, text: str = "") -> Schema:
    return {"type": ["array", "null"], "items": items, **({"description": text} if text else {})}


def _mapping(own: Mapping[str, Schema], keys: Iterable[str] = (), *, open_: bool = False, required: tuple[str, ...] = ()) -> Schema:
    """A mapping, or nothing. `keys` are further keys; `open_` allows any others."""
    properties = {**dict.fromkeys(keys, _ANY), **own}
    closed: Schema = {} if open_ else {"additionalProperties": False}
    return {"type": ["object", "null"], "properties": properties, **closed, **({"required": list(required)} if required else {})}

"""`spec.policy.admit`: whether a step may fire."""

from __future__ import annotations

from typing import Final

from noetl.dsl.playbook import Admission, AdmitRule
from noetl.dsl.read.policy import RULE_KEYS, branch
from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Map, Node, is_null

ADMIT_KEYS: Final = ("mode", "rules", "on_deny")


def read_admission(read: Reader, node: Node | None) -> Admission | None:
    table = read.mapping(node, "admit")
    if table is None:
        return None
    read.keys(table, ADMIT_KEYS, "admit")
    read.choice(table.get("mode"), "mode", ("exclusive",), "exclusive")
    wait = read.choice(table.get("on_deny"), "on_deny", ("skip", "wait"), "skip") == "wait"
    rules = (read.item(item, "a rule") for item in read.rows(table.get("rules"), "rules"))
    return Admission(tuple(_rule(read, rule) for rule in rules if rule is not None), wait)


def _rule(read: Reader, rule: Map) -> AdmitRule:
    read.keys(rule, RULE_KEYS, "a rule")
    then = read.mapping(branch(read, rule), "then")
    if then is not None:
        read.keys(then, ("allow",), "a rule's then")
        if is_null(then.get("allow")):
            read.require(then, "allow")
    allow = read.flag(then.get("allow"), "allow", default=True) if then is not None else True
    return AdmitRule(allow, read.guard(rule.get("when")))


def enabled(read: Reader, node: Node) -> Admission | None:
    """The older `enabled` of a step: false, or a template."""
    value = read.guard(node)
    if value is None or value is True:
        return None
    closed = AdmitRule(allow=False)
    return Admission((closed,) if value is False else (AdmitRule(allow=True, when=value), closed))

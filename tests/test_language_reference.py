"""docs/reference/language.md: each rule has an id and is shown by tests or playbooks that exist, and its examples are valid."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from noetl.dsl.kinds import KINDS, LOADED_KIND
from noetl.dsl.load import load
from noetl.errors import ToolError
from noetl.testing.rehearsal import Rehearsal, SimulatedCall
from noetl.tools.tool import BUILT
from tests.dsl.documents import framed

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs/reference/language.md").read_text()
LEAST: Final = {
    "1": 19, "2.1": 28, "2.2": 22, "2.3": 8, "3": 16, "4.1": 14, "4.2": 7, "4.3": 30, "4.4": 2, "5.1": 7, "5.2": 15, "5.3": 5, "5.4": 3,
    "6.1": 15, "6.2": 14, "6.3": 3, "6.4": 11, "6.5": 8, "6.6": 11, "7.1": 6, "7.2": 13, "7.3": 3, "7.4": 10, "8": 16, "8.10": 8, "9": 24,
    "10": 3, "10.1": 5, "10.2": 6, "10.3": 22, "10.4": 6, "10.5": 4, "10.6": 2, "10.7": 1, "10.8": 2, "10.9": 3, "11": 30,
}  # fmt: skip
"""Sections of the language, and how many rules each has at least: a rule may be reworded, but not lost."""


class Rule(NamedTuple):
    id: str
    text: str
    shown: tuple[str, ...]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(*columns: str) -> list[list[str]]:
    """The rows of all tables with these columns."""
    rows: list[list[str]] = []
    inside = False
    for line in PAGE.splitlines():
        row = cells(line)
        if row == list(columns):
            inside = True
        elif not row:
            inside = False
        elif inside and set(row[0]) != {"-"}:
            rows.append(row)
    return rows


def rules() -> list[Rule]:
    return [Rule(row[0], row[1], tuple(re.findall(r"`([^`]+)`", row[-1]))) for row in tables("id", "rule", "shown by")]


@cache
def names_of(file: Path) -> frozenset[str]:
    """The names of the tests in a module."""
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"))


@cache
def run_by_tests() -> str:
    """The sources of the tests that run the examples."""
    return "".join(path.read_text() for path in sorted((ROOT / "tests/examples").glob("*.py")))


def exists(shown: str) -> bool:
    if shown.endswith(".yaml"):
        return (ROOT / shown).is_file() and shown in run_by_tests()
    file, _, test = shown.partition("::")
    return (ROOT / file).is_file() and test in names_of(ROOT / file)


def test_every_rule_is_shown_by_something_that_exists() -> None:
    assert [(rule.id, shown) for rule in rules() for shown in rule.shown or ("nothing",) if not exists(shown)] == []


def test_every_row_has_an_id_of_its_section_and_a_sentence() -> None:
    assert [rule for rule in rules() if not re.fullmatch(r"\d+(\.\d+)?-[a-z0-9-]+", rule.id) or not rule.text.endswith((".", "…"))] == []


def test_no_id_is_given_twice() -> None:
    assert [id_ for id_, count in Counter(rule.id for rule in rules()).items() if count > 1] == []


def test_no_section_of_the_language_has_lost_rules() -> None:
    counts = Counter(rule.id.partition("-")[0] for rule in rules())
    assert set(counts) == set(LEAST)
    assert {section: counts[section] for section, least in LEAST.items() if counts[section] < least} == {}


def test_every_decision_names_its_rules() -> None:
    decisions = tables("question", "decision", "rules")
    assert [row[0].split()[0] for row in decisions] == [f"D-{number}" for number in range(1, 17)]
    named = {id_.strip() for row in decisions for id_ in row[2].split(",")}
    assert named - {rule.id for rule in rules()} == set()


def test_the_kinds_are_those_of_the_loader() -> None:
    shown = [tuple(row) for row in tables("kind", "what it does", "it needs", "runs here")]
    assert shown == [
        (f"`{name}`", kind.about, ", ".join(map(alternatives, kind.needs)), "yes" if name in {*BUILT, LOADED_KIND} else "")
        for name, kind in KINDS.items()
    ]


def alternatives(fields: tuple[str, ...]) -> str:
    return " or ".join(f"`{field}`" for field in fields)


EXAMPLES: Final = [(PAGE[: match.start()].count("\n") + 1, match[1]) for match in re.finditer(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize(("line", "text"), EXAMPLES, ids=[f"line {line}" for line, _ in EXAMPLES])
def test_every_example_is_a_valid_playbook_or_a_list_of_valid_steps(line: int, text: str) -> None:
    whole = text.startswith("apiVersion")
    result = load(text if whole else framed(text))
    assert result.errors == ()
    assert not whole or result.warnings == ()


def test_every_link_leads_somewhere() -> None:
    headings = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    targets = re.findall(r"\]\(([^)\s]+)\)", PAGE)
    dead = [target for target in targets if target.startswith("#") and target[1:] not in headings]
    dead += [target for target in targets if not target.startswith(("#", "http")) and not (ROOT / "docs/reference" / target).is_file()]
    assert dead == []


def example(section: str) -> str:
    """The first example of a section, as a whole playbook."""
    text = re.search(rf"^#+ {re.escape(section)} .*?^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert text is not None
    return text[1] if text[1].startswith("apiVersion") else framed(text[1])


def pages(call: SimulatedCall) -> Any:
    """Three pages; the second is refused once."""
    page = call.fields["params"]["page"]
    if call.number == 2:
        raise ToolError("busy", kind="server_error", extra={"status": 503})
    body = {"has_more": page < 3, "items": [page], "paging": {"hasMore": page < 3, "page": page}}
    return {"status": 200, "data": body, "body": body}


def missing(call: SimulatedCall) -> Any:
    raise ToolError("no report", kind="not_found", extra={"status_code": 404})


@pytest.mark.parametrize(
    ("section", "tools", "payload", "order", "calls"),
    [
        ("1", {}, {}, ["start", "end"], 3),
        ("2", {"http": lambda call: {"data": {"orders": [{"id": 7}]}}}, {}, ["start", "report", "end"], 2),
        ("3", {"http": lambda call: {"data": {"items": []}}}, {}, ["fetch", "done"], 1),
        ("4.1", {"fetch": lambda call: {"data": [1, 2]}, "count": lambda call: {"n": len(call.args["people"])}}, {}, ["start", "after"], 3),
        ("4.3", {"page": pages}, {}, ["start"], 7),
        ("5.1", {"http": lambda call: {}}, {"cities": ["a", "b"]}, ["start", "report"], 3),
        ("6.1", {"http": lambda call: {"data": {"orders": [1]}}}, {}, ["start", "store", "log"], 2),
        ("6.1", {"http": lambda call: {"data": {"orders": []}}}, {}, ["start", "log"], 1),
        ("6.4", {"http": missing}, {}, ["start", "missing"], 1),
        ("6.4", {"http": lambda call: {}}, {}, ["start", "show"], 1),
        ("10.1", {"http": lambda call: {}}, {}, ["start", "end"], 1),
        ("10.3", {"http": pages}, {}, ["fetch", "check"], 4),
    ],
)
def test_examples_do_what_the_page_says(section: str, tools: Any, payload: dict[str, Any], order: list[str], calls: int) -> None:
    run = Rehearsal(example(section), tools, payload).play()
    assert (run.status, run.order, len(run.calls)) == ("completed", order, calls)


def test_the_first_example_says_hello() -> None:
    assert Rehearsal(example("1")).play().result("end") == "Hello, Ada! Hello, Grace!"

"""Templates: docs/reference/language.md, 2.2."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.dsl.lookup import Load, not_loaded, see
from noetl.dsl.sandbox import Function
from noetl.dsl.template import compile_code, compile_guard, compile_raw, holds, names
from noetl.errors import TemplateError
from noetl.values import Handle, encode, handle_of

NAMES: dict[str, Any] = {
    "n": 5,
    "five": "5",
    "text": "text",
    "yes": True,
    "nothing": None,
    "list": [1, "a", None],
    "map": {"a": 1, "items": [9], "b": {"c": None}},
    "now": Function("now", lambda: "2026-01-01T00:00:00+00:00"),
}


def render(raw: Any, load: Load = not_loaded, **more: Any) -> Any:
    return compile_raw(raw).render({**NAMES, **more}, load)


def refusal(raw: Any, **more: Any) -> str:
    with pytest.raises(TemplateError) as caught:
        render(raw, **more)
    return caught.value.message


# What is rendered


@pytest.mark.parametrize("text", ["", "text", "{ n }", "a } b }}", "{# no comment without a template #}", "5", "$n", "%s"])
def test_a_text_without_a_template_is_itself(text: str) -> None:
    assert render(text) == text


@pytest.mark.parametrize("value", [None, True, 0, 1.5, [], {}, [1, {"a": None}]])
def test_what_is_no_text_is_itself(value: Any) -> None:
    assert render(value) is value


def test_mappings_and_lists_are_rendered_element_by_element_and_so_are_keys() -> None:
    assert render({"a": ["{{ n }}", {"{{ text }}": "{{ nothing }}", "{{ n }}": 1}], "b": "x"}) == {"a": [5, {"text": None, "5": 1}], "b": "x"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ n }}", 5),
        ("  {{ n }}\n", 5),
        ("{{- n -}}", 5),
        ("{{ five }}", "5"),
        ("{{ '5' }}", "5"),
        ("{{ yes }}", True),
        ("{{ nothing }}", None),
        ("{{ list }}", [1, "a", None]),
        ("{{ map }}", {"a": 1, "items": [9], "b": {"c": None}}),
        ("{{ n > 3 and 'big' }}", "big"),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ map.b.keys() }}", ["c"]),
        ("{{ list | map('string') }}", ["1", "a", "None"]),
        ("{{ {1: n} }}", {"1": 5}),
        ("{{ 2 ** 62 }}", 2**62),
    ],
)
def test_a_sole_expression_yields_its_value_with_its_type(text: str, value: Any) -> None:
    assert render(text) == value
    assert type(render(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ n }}{{ n }}", "55"),
        ("<{{ five }}>", "<5>"),
        ("{{ n }} ", 5),
        ("{{ n }}.", "5."),
        ("{% if yes %}{{ n }}{% endif %}", "5"),
        ("{{ nothing }} {{ yes }} {{ not yes }} {{ 1.0 }}", "None True False 1.0"),
        ("{{ list }} {{ map }}", "[1, 'a', None] {'a': 1, 'items': [9], 'b': {'c': None}}"),
        ("{% for item in list %}{{ loop.index }}={{ item }}{{ '' if loop.last else ',' }}{% endfor %}", "1=1,2=a,3=None"),
        ("a\n{{ n }}\n", "a\n5\n"),
    ],
)
def test_everything_else_yields_text(text: str, rendered: Any) -> None:
    assert render(text) == rendered


def test_what_was_rendered_is_not_rendered_again() -> None:
    assert render("{{ text }}", text="{{ n }}") == "{{ n }}"
    assert render("<{{ text }}>", text="{{ n }}") == "<{{ n }}>"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_goes_through_a_sole_expression_unchanged(value: Any) -> None:
    assert render("{{ value }}", value=value) == value
    assert render("{{ [value] }}", value=value) == [value]
    assert render("{{ value | tojson | fromjson }}", value=value) == value


# Filters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ '7' | int }}", 7),
        ("{{ 'x' | int }}", 0),
        ("{{ '1.5' | float }}", 1.5),
        ("{{ -3 | abs }}", 3),
        ("{{ 2.567 | round(1) }}", 2.6),
        ("{{ unknown | default(3) }}", 3),
        ("{{ nothing | default(3) }}", None),
        ("{{ nothing | default(3, true) }}", 3),
        ("{{ 'a-b' | replace('-', '+') }}", "a+b"),
        ("{{ list | length }}", 3),
        ("{{ 5 | string }}", "5"),
        ("{{ 'A' | lower }}", "a"),
        ("{{ list | first }}", 1),
        ("{{ [1, 2] | join('/') }}", "1/2"),
        ("{{ [{'n': 1}, {'n': 2}] | join(',', attribute='n') }}", "1,2"),
        ("{{ [2, 1] | sort }}", [1, 2]),
        ("{{ [1, 1, 2] | unique }}", [1, 2]),
        ("{{ [{'n': 1}, {'n': 2}] | map(attribute='n') }}", [1, 2]),
        ("{{ [0, 1] | select }}", [1]),
        ("{{ [{'n': 1}, {'n': 2}] | selectattr('n', 'gt', 1) }}", [{"n": 2}]),
        ("{{ {'a': 1} | items }}", [["a", 1]]),
        ("{{ '{\"a\": [1]}' | fromjson }}", {"a": [1]}),
        ("{{ 'hi' | b64encode }}", "aGk="),
        ("{{ 'aGk=' | b64decode }}", "hi"),
        ("{{ '%s-%03d' | format('a', 7) }}", "a-007"),
    ],
)
def test_each_filter(text: str, value: Any) -> None:
    assert render(text) == value


def test_tojson_writes_plain_json_without_html_escapes() -> None:
    assert render("{{ value | tojson }}", value={"q": "a < b & 'c' > é", "n": None, "y": True}) == '{"q": "a < b & \'c\' > é", "n": null, "y": true}'
    assert render("{{ [unknown] | tojson }}") == "[null]"


# Unknown names


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ unknown }}", None),
        ("{{ unknown.a.b[0]['c'] }}", None),
        ("{{ map.b.c.d.e }}", None),
        ("{{ list[7].x }}", None),
        ("{{ 5 if not yes }}", None),
        ("{{ (5 if not yes).a.b is defined }}", False),
        ("{{ [unknown, {'a': unknown}] }}", [None, {"a": None}]),
        ("<{{ unknown.a }}>", "<>"),
        ("{{ unknown == 1 }}", False),
        ("{{ unknown != 1 }}", True),
        ("{{ unknown == none }}", False),
        ("{{ unknown.a is defined }}", False),
        ("{{ not unknown.a }}", True),
        ("{{ unknown in [1] }}", False),
        ("{{ 1 in unknown }}", False),
        ("{{ unknown | length }}", 0),
        ("{{ unknown ~ 'x' }}", "x"),
        ("{% for x in unknown %}{{ x }}{% else %}none{% endfor %}", "none"),
    ],
)
def test_an_unknown_name_is_undefined_and_so_is_what_is_in_it(text: str, value: Any) -> None:
    assert render(text) == value


@pytest.mark.parametrize("expression", ["unknown < 1", "1 >= unknown.a", "unknown + 1", "1 - unknown", "-unknown", "unknown * 2", "unknown | int"])
def test_ordering_and_arithmetic_with_an_unknown_name_are_errors(expression: str) -> None:
    assert refusal("{{ " + expression + " }}").endswith(f"is undefined: in {{{{ {expression} }}}}")


def test_an_error_names_the_place_and_the_expression() -> None:
    with pytest.raises(TemplateError) as caught:
        render({"headers": [{"a": "x"}, {"b": "{{ 1 / 0 }}"}]})
    assert (caught.value.path, caught.value.message) == ("headers[1].b", "ZeroDivisionError: division by zero: in {{ 1 / 0 }}")


# Guards


@pytest.mark.parametrize("value", [True, 1, -0.5, [0], {"a": 0}, "true", "True", "YES", " 1 ", "yes"])
def test_a_guard_is_true_for(value: Any) -> None:
    assert holds(value)


@pytest.mark.parametrize("value", [False, None, 0, 0.0, [], {}, "", "no", "on", "2", "false", "text"])
def test_a_guard_is_false_for(value: Any) -> None:
    assert not holds(value)


@pytest.mark.parametrize(
    ("value", "true"), [(list(range(50)), True), ({"a": 1}, True), ("x" * 50, False), ("yes", False)], ids=["list", "mapping", "text", "short text"]
)
def test_a_value_that_lies_elsewhere_is_judged_without_reading_it(value: Any, true: bool) -> None:
    assert holds(handle_of(value, encode(value))) is true


def test_the_results_of_a_loop_over_nothing_are_false() -> None:
    assert not holds(Handle.of_loop(1, 1, 0, 0))


@pytest.mark.parametrize(
    ("guard", "true"),
    [("n == 5", True), ("{{ n == 5 }}", True), (True, True), (1, True), (0, False), ("unknown", False), ("{% if yes %}yes{% endif %}", True)],
)
def test_a_guard_without_braces_is_one_expression(guard: Any, true: bool) -> None:
    assert holds(compile_guard(guard).render(NAMES)) is true


# What a template can not do


@pytest.mark.parametrize(
    "expression",
    ["''.__class__", "map.__class__", "now._function", "list.__len__()", "''['__class__']", "'%s'.__mod__(1)", "'{0.__class__}'.format(1)"],
)
def test_no_attribute_that_starts_with_an_underscore_can_be_read(expression: str) -> None:
    with pytest.raises(TemplateError, match=r"not offered|unsafe|undefined"):
        render("{{ " + expression + " }}")


def test_a_key_that_starts_with_an_underscore_can_be_read() -> None:
    assert render("{{ map._ref }}", map={"_ref": "x"}) == "x"
    assert render("{{ map._ref is defined }}") is False


@pytest.mark.parametrize("expression", ["map.update({'a': 2})", "map.pop('a')", "map.clear()", "list.append(1)", "list.sort()", "list.insert(0, 1)"])
def test_no_method_that_changes_data_can_be_called(expression: str) -> None:
    assert "is not offered in templates" in refusal("{{ " + expression + " }}")
    assert NAMES["map"]["a"] == 1


@pytest.mark.parametrize("name", ["cycler", "joiner", "lipsum", "unknown", "self"])
def test_nothing_can_be_called_but_the_globals(name: str) -> None:
    assert refusal("{{ " + name + "() }}")


@pytest.mark.parametrize(("expression", "value"), [("'a,b'.split(',')", ["a", "b"]), ("map.get('zz', 4)", 4), ("list.index('a')", 1)])
def test_methods_of_texts_lists_and_mappings_that_change_nothing_can_be_called(expression: str, value: Any) -> None:
    assert render("{{ " + expression + " }}") == value


def test_what_is_no_data_can_not_leave_a_template() -> None:
    assert refusal("{{ now }}") == "a Function is no value; what a template can call needs its parentheses, as in now()"
    assert refusal("{{ self }}").startswith("a TemplateReference is no value")
    assert refusal("{{ namespace(a=1) }}").startswith("a Namespace is no value")
    assert render("{{ now() }}") == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("text", ["{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% block x %}{% endblock %}"])
def test_there_are_no_other_templates(text: str) -> None:
    assert "is not offered in playbooks" in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 99999999 }}",
        "{{ [0] * 99999999 }}",
        "{{ 2 ** 99999 }}",
        "{{ '%9999999d' % 1 }}",
        "{{ '%*d' | format(99999999, 1) }}",
        "{{ '{:>99999999}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 99999999) }}",
        "{{ 'x'.ljust(99999999) }}",
        "{{ 'x' | center(99999999) }}",
        "{{ 'x' | indent(99999999) }}",
        "{{ [1] | batch(99999999, 0) | list }}",
        "{{ [1] | slice(99999999) | list }}",
        "{{ [1] | tojson(indent=99999999) }}",
        "{{ ('x' * 9999).replace('x', 'y' * 9999) }}",
        "{{ ('x' * 9999) | replace('x', 'y' * 9999) }}",
        "{{ range(9999) | join('y' * 9999) }}",
        "{{ ('y' * 9999).join('x' * 9999 | list) }}",
        "{{ 'x'.translate({120: 'y' * 99999}) }}",
        "{% for i in range(2000) %}{% for j in range(2000) %}{% endfor %}{% endfor %}",
        "{% set s = namespace(a='xxxxxxxx') %}{% for i in range(99) %}{% set s.a = s.a + s.a %}{% endfor %}",
        "{% set s = namespace(a='xxxxxxxx') %}{% for i in range(99) %}{% set s.a = s.a ~ s.a %}{% endfor %}",
        "{% set s = namespace(a=[1]) %}{% for i in range(99) %}{% set s.a = s.a + s.a %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{{ range(999999999) | list }}",
    ],
)
def test_what_would_take_too_much_time_or_room_is_refused(text: str) -> None:
    refusal(text)


def test_a_number_of_more_than_64_bits_is_no_value() -> None:
    assert refusal("{{ 2 ** 70 }}") == "a number of 71 bits is too large: values hold 64"


# A value that lies in the artifact store


def test_a_value_that_lies_elsewhere_is_shown_whole_in_texts_and_as_json() -> None:
    inner = {"rows": [1, 2]}
    handle = handle_of(inner, encode(inner))
    value = {"big": handle, "n": 1}
    given = {"value": value, "seen": see(value, lambda wanted: inner)}
    for template in ("{{ value }}!", "{{ value | string }}!", "{{ value ~ '!' }}", "{{ seen }}!", "{{ seen | string }}!", "{{ seen ~ '!' }}"):
        assert render(template, lambda wanted: inner, **given) == "{'big': {'rows': [1, 2]}, 'n': 1}!"
    assert render("{{ value | tojson }}", lambda wanted: inner, **given) == '{"big": {"rows": [1, 2]}, "n": 1}'
    assert render("{{ seen == {'big': {'rows': [1, 2]}, 'n': 1} }}", lambda wanted: inner, **given) is True


# Source text of other languages


@pytest.mark.parametrize(
    ("code", "rendered"),
    [
        ("result = {{ n }}", "result = 5"),
        ("x = '{%s}' % 1", "x = '{%s}' % 1"),
        ("{% if yes %}", "{% if yes %}"),
        ("f'{{a b}}'", "f'{{a b}}'"),
        (["echo {{ n }}", "docker ps --format '{{.Names}}'", "ls"], ["echo 5", "docker ps --format '{{.Names}}'", "ls"]),
    ],
)
def test_code_is_rendered_only_where_it_has_double_braces_and_is_a_template(code: Any, rendered: Any) -> None:
    assert compile_code(code).render(NAMES) == rendered


# Which names a template reads


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("{{ a.b + c }}", {"a", "c"}),
        ({"{{ k }}": ["{{ v }}"]}, {"k", "v"}),
        ("{% for x in xs %}{{ x.y }}{{ z }}{% endfor %}", {"xs", "z"}),
        ("{{ broken", set()),
        ("plain", set()),
    ],
)
def test_the_names_that_a_template_reads(raw: Any, expected: set[str]) -> None:
    assert names(raw) == expected

"""What is read from the author's source before it runs. No process is started."""

from __future__ import annotations

import pytest

from noetl.tools.sandbox.source import Parameter, Shape, compile_source, names_needed


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("result = 1", Shape(None)),
        ("def helper(a): pass", Shape(None)),
        ("class main: pass", Shape(None)),
        ("if x:\n    def main(a): pass", Shape(None)),
        ("def main(): pass", Shape(())),
        ("async def main(a): pass", Shape((Parameter("a"),))),
        ("def main(a, b=1): pass", Shape((Parameter("a"), Parameter("b", has_default=True)))),
        ("def main(a, *rest, b, c=None): pass", Shape((Parameter("a"), Parameter("b"), Parameter("c", has_default=True)))),
        ("def main(a, **rest): pass", Shape((Parameter("a"),), takes_rest=True)),
        ("def main(a): pass\ndef main(b): pass", Shape((Parameter("b"),))),
        ("def main(context): pass", Shape((Parameter("context"),), reads_context=True)),
        ("def main(a):\n    return [context[x] for x in a]", Shape((Parameter("a"),), reads_context=True)),
        ("context = 1", Shape(None, reads_context=True)),
        ("exec(code)", Shape(None, reads_context=True)),
        ("x.context = y.globals", Shape(None)),
    ],
)
def test_the_shape_of_a_source(source: str, shape: Shape) -> None:
    assert compile_source(source, "<step>").shape == shape


@pytest.mark.parametrize(
    ("source", "is_function"),
    [
        ("return 1", True),
        ("with a:\n    if b:\n        try:\n            return 1\n        finally:\n            pass", True),
        ("match a:\n    case 1:\n        return 1", True),
        ("def f(): return 1", False),
        ("class A:\n    def f(self): return 1", False),
        ("f = lambda: 1", False),
    ],
)
def test_only_a_script_that_returns_becomes_a_function(source: str, *, is_function: bool) -> None:
    assert compile_source(source, "<step>").is_function is is_function


def test_a_source_is_compiled_once() -> None:
    assert compile_source("x = 1", "<step>") is compile_source("x = " + str(1), "<step>")
    assert names_needed("def main(a): pass") == {"a"}


@pytest.mark.parametrize("source", ["return 1\nasync for x in y: pass", "return 1\nfrom os import *", "return 1\nnonlocal x", "return 1\nyield 2 if"])
def test_what_python_forbids_in_a_script_that_returns_is_a_syntax_error_with_its_line(source: str) -> None:
    with pytest.raises(SyntaxError) as caught:
        compile_source(source, "<step>")
    assert caught.value.lineno == 2
    assert caught.value.text is not None
    assert caught.value.filename == "<step>"

"""The python tool as an author meets it: forms, parameters, results, errors, output. Every call runs in a real process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from noetl.blobs import blob_path, read_blob, write_blob
from noetl.errors import ToolError, ToolRefused, ToolTimeout
from noetl.settings import PythonSettings, Settings, ValueLimits
from noetl.tools import python
from noetl.tools.tool import ToolContext
from noetl.values import Handle, decode, encode, handle_of
from tests.tools.conftest import LogLines, MakeContext
from tests.tools.sandbox_news import exists

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def run(make_context: MakeContext) -> Run:
    """`run(code, args={...}, names={...}, ...)`: one call of the tool."""

    async def call(code: str, *, libs: Any = None, **over: Any) -> Any:
        return await python.run(python.Input(code=dedent(code), libs=libs), make_context(**over))

    return call


async def failure(run: Run, code: str, **over: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await run(code, **over)
    return caught.value


# How code is called


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def main(x): return x + 1", 3),
        ("async def main(x): return x + 1", 3),
        ("import asyncio\nasync def main(x):\n    await asyncio.sleep(0)\n    return [x]", [2]),
        ("def main(): return 7", 7),
        ("def main(x, **rest): return sorted(rest)", ["y", "z"]),
        ("def main(**rest): return sorted(rest)", ["x", "y", "z"]),
        ("def main(*, x, y): return x + y", 7),
        ("def main(x, missing=9): return missing", 9),
        ("def helper(v): return v * 2\ndef main(x): return helper(x)", 4),
        ("def main(input_data): return input_data", {"x": 2, "y": 5, "z": [1]}),
        ("def main(data): return data", {"x": 2, "y": 5, "z": [1]}),
        ("def main(x): pass", None),
        ("result = x + y", 7),
        ("x = int(x) + 1\nresult = x", 3),
        ("if x: return 'early'\nresult = 'late'", "early"),
        ("if not x: return 'early'\nresult = 'late'", "late"),
        ("return", None),
        ("pass", None),
        ('"""What this does."""\nreturn x', 2),
        ('"""What this does."""\nresult = x', 2),
        ("from __future__ import annotations\nx: int = x + 1\nreturn x", 3),
        ("def f():\n    return total\ntotal = 5\nreturn f()", 5),
        ("total = 0\nfor n in z:\n    total += n\nreturn [total, n]", [1, 1]),
        ("with open('f', 'w') as f:\n    return f.name", "f"),
        ("try:\n    1/0\nexcept ZeroDivisionError as error:\n    return str(error)", "division by zero"),
        ("if (n := x) > 1: return [n for n in z] + [n]", [1, 2]),
        ("class A:\n    def get(self): return x\nreturn A().get()", 2),
        ("import math\nreturn math.floor(x)", 2),
        ("global total\ntotal = 1\nreturn total", 1),
        ("return input_data['x'] + args['y']", 7),
        ("if __name__ == '__main__':\n    result = 'as a script'", "as a script"),
        ("def main(x): return x\nif __name__ == '__main__': raise SystemExit", 2),
        ("from dataclasses import dataclass, asdict\n@dataclass\nclass P:\n    a: 'int'\ndef main(x): return asdict(P(x))", {"a": 2}),
        ("for i in range(3):\n    pass\nresult = {'execution_id': int(execution_id)}", {"execution_id": 1}),
    ],
)
async def test_code_is_called_by_its_form(run: Run, code: str, expected: Any) -> None:
    assert await run(code, args={"x": 2, "y": 5, "z": [1]}) == expected


async def test_an_argument_called_input_data_is_that_and_not_the_whole_mapping(run: Run) -> None:
    assert await run("result = [input_data, args]", args={"input_data": 5, "x": 1}) == [5, {"input_data": 5, "x": 1}]


async def test_a_return_inside_with_ends_it_as_a_success(run: Run) -> None:
    code = """
        seen = []
        class Transaction:
            def __enter__(self): return self
            def __exit__(self, kind, error, where): seen.append(kind)
        def look(): return seen
        try:
            with Transaction():
                return seen
        except:
            seen.append("caught")
    """
    assert await run(code) == [None]


async def test_a_missing_argument_is_named_with_what_there_is(run: Run) -> None:
    error = await failure(run, "def main(url, x): return url", args={"x": 1})
    assert error.kind == "python"
    assert error.message == "TypeError: missing argument 'url': main() needs it, and neither args (x) nor a visible name gives it"


async def test_main_gets_the_iterator_by_name_before_its_default(run: Run) -> None:
    assert await run("def main(item, loop_index=9): return [item, loop_index]", names={"item": "a", "loop_index": 4}, iterator="item") == ["a", 4]


async def test_main_gets_a_visible_name_after_its_default(run: Run) -> None:
    assert await run("def main(fetch, other=1): return [fetch, other]", names={"fetch": {"a": 1}, "other": 2}) == [{"a": 1}, 1]


async def test_context_shows_the_scope(run: Run) -> None:
    names = {"workload": {"url": "u"}, "ctx": {"n": 1}, "fetch": {"data": {"count": 3}}, "steps": {"a/b": [1]}}
    code = """
        result = [context["workload"]["url"], context["url"], context["vars"]["n"], context["fetch"]["count"], context["steps"]["a/b"],
                  context["execution_id"]]
    """
    assert await run(code, names=names) == ["u", "u", 1, 3, [1], "1"]
    assert await run("def main(context): return sorted(context)", names=names) == ["ctx", "execution_id", "fetch", "steps", "url", "vars", "workload"]


# Results as code sees them


async def test_a_result_forgives_a_missing_level_with_brackets_and_get(run: Run) -> None:
    envelope = {"status": 200, "data": {"count": 3, "data": {"rows": [1]}}, "body": {"data": {"x": 1}}}
    code = """
        result = [reply["count"], reply.get("count"), reply["data"]["rows"], reply["body"]["x"], reply.get("missing", "no"),
                  "count" in reply, sorted(reply), sorted(reply.keys())]
    """
    keys = ["body", "data", "status"]
    assert await run(code, args={"reply": envelope}) == [3, 3, [1], 1, "no", False, keys, keys]


async def test_a_key_that_is_nowhere_is_still_a_key_error(run: Run) -> None:
    error = await failure(run, "reply['nope']", args={"reply": {"data": {"a": 1}}})
    assert error.message == "KeyError: 'nope'"


async def test_a_forgiving_mapping_comes_back_as_the_plain_mapping_it_is(run: Run) -> None:
    reply = {"data": {"count": 3}, "status": 200}
    assert (
        await run(
            "import json, copy, pickle\nresult = [reply, json.loads(json.dumps(reply)), copy.deepcopy(reply), pickle.loads(pickle.dumps(reply))]",
            args={"reply": reply},
        )
        == [reply] * 4
    )


async def test_a_large_result_goes_to_the_artifact_store_and_its_handle_comes_back(make_context: MakeContext) -> None:
    ctx = make_context()
    value = await python.run(python.Input(code="result = {'rows': list(range(100_000)), 'count': 5}"), ctx)
    assert isinstance(value, Handle)
    assert value.data.visible == {"count": 5}
    assert decode(read_blob(ctx.resources.artifacts_dir, value.hash)) == {"rows": list(range(100_000)), "count": 5}


def keep(ctx: ToolContext, value: Any, select: tuple[str, ...] | None = None) -> Handle:
    encoded = encode(value)
    write_blob(ctx.resources.artifacts_dir, encoded)
    return handle_of(value, encoded, select=select)


async def test_arguments_that_are_handles_are_loaded_by_the_worker(make_context: MakeContext) -> None:
    handle = keep(make_context(), {"data": {"rows": [1, 2]}})
    code = "result = [sum(big['rows']), big['_ref'], '_ref' in big, len(many), many[0]['data']['rows']]"
    ctx = make_context(args={"big": handle, "many": [handle, 5]})
    assert await python.run(python.Input(code=code), ctx) == [3, handle.ref, False, 2, [1, 2]]


async def test_a_handle_with_a_selection_shows_only_that_and_where_the_rest_is(make_context: MakeContext) -> None:
    handle = keep(make_context(), {"count": 2, "rows": ["x" * 1000]}, select=("count",))
    ctx = make_context(args={"big": handle})
    assert await python.run(python.Input(code="result = sorted(big)"), ctx) == ["_preview", "_ref", "_size", "_store", "count"]


async def test_a_handle_in_the_context_is_loaded_only_when_it_is_touched(make_context: MakeContext) -> None:
    here, gone = keep(make_context(), {"rows": [1]}), keep(make_context(), {"rows": [2]})
    ctx = make_context(names={"here": here, "gone": gone, "steps": {"gone": gone, "here": here}})
    blob_path(ctx.resources.artifacts_dir, gone.hash).unlink()
    code = "result = [context['here']['rows'], 'gone' in context, len(context), context['steps']['here']['rows']]"
    assert await python.run(python.Input(code=code), ctx) == [[1], True, 4, [1]]
    with pytest.raises(ToolError, match="can't be read here") as caught:
        await python.run(python.Input(code="context['gone']"), ctx)
    assert caught.value.kind == "not_found"


# Results that code gives


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("datetime.datetime(2026, 1, 2, 3, 4, 5)", "2026-01-02T03:04:05"),
        ("datetime.date(2026, 1, 2)", "2026-01-02"),
        ("decimal.Decimal('3')", 3),
        ("decimal.Decimal('3.5')", 3.5),
        ("b'abc'", "YWJj"),
        ("{1, }", [1]),
        ("(1, 2)", [1, 2]),
        ("{1: 'a', None: 'b', True: 'c'}", {"1": "c", "null": "b"}),
        ("numpy.int64(3)", 3),
        ("numpy.float32(0.5)", 0.5),
        ("numpy.bool_(True)", True),
        ("numpy.arange(4).reshape(2, 2)", [[0, 1], [2, 3]]),
        ("{'a': numpy.array([1.5])}", {"a": [1.5]}),
        ("collections.OrderedDict(a=1)", {"a": 1}),
        ("2**63", 2**63),
    ],
)
async def test_values_with_an_agreed_form_become_json_like(run: Run, logged: LogLines, expression: str, expected: Any) -> None:
    assert await run(f"import collections, datetime, decimal, numpy\nresult = {expression}") == expected
    assert logged == []


async def test_what_has_no_json_form_becomes_text_with_a_warning(run: Run, logged: LogLines) -> None:
    code = "class Money:\n    def __str__(self): return '5 EUR'\nresult = {'price': Money(), 'big': 2**70, 'also': Money()}"
    assert await run(code) == {"price": "5 EUR", "big": str(2**70), "also": "5 EUR"}
    assert logged == [("warning", "the result holds what has no JSON form and became text: Money, int of more than 64 bits")]


async def test_deep_nesting_is_fine_up_to_a_depth_and_then_an_error(run: Run) -> None:
    code = "result = []\nfor _ in range({}): result = [result]"
    value = await run(code.format(150))
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 150
    for depth in (1_000, 100_000):
        error = await failure(run, code.format(depth))
        assert error.message == "the result is nested too deeply, or contains itself"


async def test_a_result_that_contains_itself_is_an_error(run: Run) -> None:
    assert "contains itself" in (await failure(run, "result = []\nresult.append(result)")).message


async def test_text_that_is_not_unicode_is_an_error_that_shows_it(run: Run) -> None:
    error = await failure(run, r"result = 'a\udc80b'")
    assert error.message == r"the result holds text that is not Unicode: '\udc80'"


async def test_a_result_over_the_limit_names_size_and_limit(make_context: MakeContext) -> None:
    ctx = make_context(settings=Settings(values=ValueLimits(result_max_bytes=2**20)))
    with pytest.raises(ToolError) as caught:
        await python.run(python.Input(code="result = 'x' * 3_000_000"), ctx)
    assert caught.value.kind == "limit"
    assert caught.value.message == "the result has 2.9 MiB; the limit is 1.0 MiB (values.result_max_bytes)"


async def test_a_result_of_300_mb_is_over_the_default_limit(run: Run) -> None:
    error = await failure(run, "result = 'x' * 300_000_000")
    assert (error.kind, error.message) == ("limit", "the result has 286.1 MiB; the limit is 256.0 MiB (values.result_max_bytes)")


async def test_arguments_over_the_limit_are_refused_before_they_are_sent(make_context: MakeContext) -> None:
    ctx = make_context(settings=Settings(values=ValueLimits(result_max_bytes=2**20)), args={"x": "x" * 3_000_000})
    with pytest.raises(ToolError, match=r"the arguments have 2\.9 MiB") as caught:
        await python.run(python.Input(code="result = 1"), ctx)
    assert caught.value.kind == "limit"


# Errors


async def test_an_exception_shows_type_text_and_the_authors_lines_only(run: Run) -> None:
    code = """
        import json

        def parse(text):
            return json.loads(text)

        def main(text):
            return parse(text)
    """
    error = await failure(run, code, args={"text": "{"}, step="load")
    assert error.kind == "python"
    assert not error.retryable
    assert error.message.startswith("JSONDecodeError: Expecting property name")
    assert error.extra["exception_type"] == "JSONDecodeError"
    assert error.extra["line"] == 5
    shown = [line for line in error.extra["traceback"].splitlines() if "^^" not in line]
    assert shown[1:4] == ['  File "<load>", line 8, in main', "    return parse(text)", '  File "<load>", line 5, in parse']
    assert [line for line in shown if "File" in line and "<load>" not in line] == []


async def test_the_cause_of_an_exception_is_shown_too(run: Run) -> None:
    code = "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('no a') from error"
    shown = (await failure(run, code)).extra["traceback"]
    assert "KeyError: 'a'" in shown
    assert "ValueError: no a" in shown
    assert shown.count('File "<fetch>"') == 2


async def test_a_return_at_top_level_keeps_line_numbers(run: Run) -> None:
    error = await failure(run, "if args:\n    return 1\n\nboom()", args={})
    assert error.extra["line"] == 4
    assert '  File "<fetch>", line 4, in <module>\n    boom()' in error.extra["traceback"]


@pytest.mark.parametrize(
    ("code", "line", "text"),
    [
        ("x = 1\ny = = 2", 2, "SyntaxError: invalid syntax (<fetch>, line 2)"),
        ("x = 1\nif x:\nreturn x", 3, "IndentationError: expected an indented block after 'if' statement on line 2 (<fetch>, line 3)"),
        ("def main():\n    pass\nreturn 5", 3, "SyntaxError: 'return' outside function (<fetch>, line 3)"),
        ("return 1\nbreak", 2, "SyntaxError: 'break' outside loop (<fetch>, line 2)"),
    ],
)
async def test_a_syntax_error_names_its_line(run: Run, code: str, line: int | None, text: str) -> None:
    error = await failure(run, code)
    assert error.kind == "python"
    assert error.message == text
    assert error.extra["line"] == line


async def test_source_that_is_no_text_is_an_error_of_the_author(run: Run) -> None:
    error = await failure(run, "x = 1\0")
    assert error.kind == "python"
    assert "source code string cannot contain null bytes" in error.message


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("import sys\nsys.exit(3)", "SystemExit: 3", "SystemExit"),
        ("import sys\nsys.exit('done')", "SystemExit: done", "SystemExit"),
        ("import sys\nsys.exit()", "SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("assert False", "AssertionError", "AssertionError"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded", "RecursionError"),
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'", "ModuleNotFoundError"),
        ("class E(Exception):\n    def __str__(self): 1/0\nraise E", "E: <its text can't be had: ZeroDivisionError>", "E"),
        ("raise ExceptionGroup('many', [ValueError(1)])", "ExceptionGroup: many (1 sub-exception)", "ExceptionGroup"),
        ("class Odd:\n    def __str__(self): raise ValueError('odd')\nresult = Odd()", "ValueError: odd", "ValueError"),
    ],
)
async def test_whatever_is_raised_fails_the_call_and_not_the_worker(run: Run, code: str, message: str, kind: str) -> None:
    error = await failure(run, code)
    assert (error.kind, error.message, error.extra["exception_type"]) == ("python", message, kind)
    assert await run("result = 1") == 1


async def test_a_message_or_traceback_without_end_is_cut(run: Run) -> None:
    error = await failure(run, "raise ValueError('x' * 10_000_000)")
    assert len(error.message) < 5_000
    assert len(error.extra["traceback"]) < 9_000
    assert "characters left out" in error.message


async def test_without_a_timeout_of_the_task_the_settings_one_holds(make_context: MakeContext) -> None:
    ctx = make_context(settings=Settings(python=PythonSettings(timeout_s=0.3)))
    with pytest.raises(ToolTimeout, match=r"stopped after 0\.3 s"):
        await python.run(python.Input(code="while True: pass"), ctx)


@pytest.mark.parametrize("given", [python.Input(), python.Input(code="1", script={"uri": "a.py"})])
async def test_code_and_script_are_one_or_the_other(make_context: MakeContext, given: python.Input) -> None:
    with pytest.raises(ToolRefused, match="one of 'code' and 'script'"):
        await python.run(given, make_context())


# Libraries


async def test_libs_bind_modules_and_what_is_in_them(run: Run) -> None:
    libs = {
        "js": "json",
        "dt": {"from": "datetime", "import": "datetime"},
        "path": {"from": "os", "import": "path"},
        "abc": {"from": "collections", "import": "abc"},
    }
    assert await run("result = [js.dumps([1]), dt(2026, 1, 1).year, path.basename('a/b'), abc.Mapping.__name__]", libs=libs) == [
        "[1]",
        2026,
        "b",
        "Mapping",
    ]


async def test_a_module_of_libs_that_is_not_there_fails_the_call(run: Run) -> None:
    assert (await failure(run, "result = 1", libs={"x": "nosuchmodule"})).message == "ModuleNotFoundError: No module named 'nosuchmodule'"


async def test_a_list_of_libs_only_warns_of_what_is_missing(run: Run, logged: LogLines) -> None:
    assert await run("result = 1", libs=["json", "ruamel.yaml", "pytest-asyncio>=1", "nosuchpackage==2"]) == 1
    assert logged == [("warning", "libs: the package 'nosuchpackage' is not installed where this step runs")]


# Output


async def test_what_is_printed_is_delivered_line_by_line_before_the_call_returns(run: Run, logged: LogLines) -> None:
    await run("import sys\nprint('one')\nprint('two\\nthree', end='')\nsys.stderr.write('wrong')\nprint('é' * 3)")
    assert sorted(logged) == [("stderr", "wrong"), ("stdout", "one"), ("stdout", "threeééé"), ("stdout", "two")]


async def test_the_output_of_subprocesses_and_c_code_is_caught(run: Run, logged: LogLines) -> None:
    await run(
        "import ctypes, subprocess\nsubprocess.run(['echo', 'from a child'])\nctypes.CDLL(None).printf(b'from C\\n')\nimport os; os.write(2, b'raw')"
    )
    assert sorted(logged) == [("stderr", "raw"), ("stdout", "from C"), ("stdout", "from a child")]


async def test_output_before_an_error_is_delivered(run: Run, logged: LogLines) -> None:
    await failure(run, "print('before')\n1/0")
    assert logged == [("stdout", "before")]


async def test_100_mb_of_output_are_cut_and_the_rest_is_counted(run: Run, logged: LogLines) -> None:
    assert await run("line = 'x' * 999\nfor _ in range(100_000): print(line)\nresult = 'done'") == "done"
    *lines, (stream, notice) = logged
    assert stream == "warning"
    assert notice == "output: 98,951,424 bytes dropped after the first 1,048,576 (python.log_max_bytes)"
    assert sum(len(line) + 1 for _, line in lines) == pytest.approx(1_048_576, abs=1)


async def test_a_call_may_close_or_replace_its_streams_and_the_next_prints_as_ever(run: Run, logged: LogLines) -> None:
    for spoil in (
        "sys.stdout.close()",
        "os.close(1)",
        "sys.stdout.close(); os.close(1)",
        "sys.stdout = None",
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
        "sys.stdout = open(1, 'w')",
    ):
        await run(f"import os, sys\n{spoil}")
        await run("print('still here')")
    assert logged == [("stdout", "still here")] * 6


# Surroundings


async def test_a_call_has_an_empty_directory_that_is_gone_afterwards(run: Run) -> None:
    code = """
        import os, tempfile
        found = os.listdir()
        open("left", "w").close()
        os.mkdir("d")
        result = [os.getcwd(), found, os.environ["TMPDIR"], tempfile.gettempdir()]
    """
    first, second = await run(code), await run(code)
    for directory, found, tmpdir, tempdir in (first, second):
        assert (tmpdir, tempdir, found) == (directory, directory, [])
        assert not exists(directory)
    assert first[0] != second[0]


async def test_a_call_sees_only_the_allowed_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    seen = await run("import os\nresult = dict(os.environ)", env={"REGION": "eu"})
    assert set(seen) <= {"PATH", "HOME", "LANG", "LC_TIME", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "REGION"}
    assert (seen["REGION"], seen["LC_TIME"]) == ("eu", "C")
    printed = await run("import subprocess\nresult = subprocess.run(['env'], capture_output=True, text=True).stdout")
    assert "secret" not in printed
    assert "REGION" not in printed


async def test_a_call_leaves_nothing_of_its_own_behind_for_the_next(run: Run, make_context: MakeContext) -> None:
    make_context(settings=Settings(python=PythonSettings(processes=1)))
    await run("""
        import os, signal, sys, time
        os.environ["X"] = "1"
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        os.chdir("/")
        sys.path.insert(0, "/nowhere")
        sys.argv.append("x")
        sys.setrecursionlimit(5000)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.alarm(1000)
        os.umask(0o077)
        leftover = 1
    """)
    seen = await run("""
        import os, signal, sys, time
        result = [
            os.environ.get("X"), os.environ.get("TZ"), os.getcwd() == os.environ["TMPDIR"], "/nowhere" in sys.path, sys.argv,
            sys.getrecursionlimit(), callable(signal.getsignal(signal.SIGTERM)), signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
            len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), signal.alarm(0), os.umask(0o022), "leftover" in globals(),
            "noetl_task" in sys.modules,
        ]
    """)
    assert seen == [None, None, True, False, ["<fetch>"], 1000, True, True, 0, 0, 0o022, False, False]


async def test_installed_packages_are_importable_and_the_nodes_directory_is_not(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_the_node.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert await run("import msgspec, sys, os\nresult = [p for p in sys.path if p in ('', '.') or p == os.getcwd()]") == []
    assert "of_the_node" in (await failure(run, "import of_the_node")).message


async def test_stdin_is_empty_and_subprocesses_get_no_descriptor_of_ours(run: Run) -> None:
    code = """
        import subprocess, sys
        listed = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=False)
        result = [sys.stdin.read(), listed.stdout.split()]
    """
    text, descriptors = await run(code)
    assert text == ""
    assert descriptors == ["0", "1", "2", "3"]  # 3 is that of ls, on the directory


async def test_dates_in_results_of_async_main_are_text_too(run: Run) -> None:
    code = "import datetime\nasync def main(): return {'at': datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)}"
    assert await run(code) == {"at": dt.datetime(2026, 5, 1, tzinfo=dt.UTC).isoformat()}


# Names


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"code": "def main(a, b=1, *, c, **rest): return a"}, {"a", "b", "c"}),
        ({"code": "result = 1"}, set()),
        ({"code": "def main(a, context): return a"}, None),
        ({"code": "result = context['x']"}, None),
        ({"code": "def main(a):\n    return globals()['context']"}, None),
        ({"code": "def f(b): pass\ndef main(a): return a.context"}, {"a"}),
        ({"code": "def main(a): return '{{ x }}'"}, {"a"}),
        ({"code": "{{ code }} x"}, None),
        ({"code": "this is no python"}, set()),
        ({"script": {"uri": "a.py"}}, None),
        ({}, None),
    ],
)
def test_the_names_a_call_needs_are_read_from_its_source(fields: dict[str, Any], expected: set[str] | None) -> None:
    assert python.names(fields) == expected

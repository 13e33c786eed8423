"""Rules that only a whole node shows: docs/reference/language.md, 2.1, 6.4 to 6.6 and 7.2."""

from __future__ import annotations

from pathlib import Path

import pytest

from noetl.settings import Settings
from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook


async def test_the_environment_is_that_of_the_start_also_for_a_resume(boot: Boot) -> None:
    first = await boot(environment={"REGION": "eu"})
    text = playbook("""
        - step: start
          tool: {kind: python, args: {place: "{{ workload.place }}"}, code: "if not __import__('os').path.exists(place): open(place, 'w'); raise SystemExit('not yet')"}
          next: {arcs: [{step: look}]}
        - {step: look, tool: {kind: noop, result: "{{ env.REGION }}"}}
    """)
    id_ = await first.start(text, {"place": str(first.folder / "place")})
    assert (await first.client.ended(id_)).status == "failed"
    second = await boot(environment={"REGION": "us"})
    await second.left.take_up(id_, lambda owner: False)
    assert (await second.client.ended(id_)).results["look"] == "eu"


async def test_a_run_that_fails_leaves_others_alone(boot: Boot) -> None:
    bench = await boot()
    good = await bench.start(playbook('- {step: start, tool: {kind: python, code: "import time; time.sleep(0.3); return 1"}}'), name="good")
    bad = await bench.run(playbook('- {step: start, tool: {kind: python, code: "import os; os.abort()"}}'))
    state = await bench.client.ended(good)
    assert (bad.status, state.status, state.results["start"]) == ("failed", "completed", 1)


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os; os._exit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"])
async def test_code_that_ends_its_process_spends_the_authors_attempts(boot: Boot, code: str) -> None:
    bench = await boot()
    state = await bench.run(playbook(f"""
        - step: start
          tool:
            kind: python
            args: {{place: "{{{{ workload.place }}}}"}}
            code: |
              open(place, "a").write("x")
              {code}
            spec: {{policy: {{rules: [{{when: "{{{{ error.kind == 'python' }}}}", then: {{do: retry, attempts: 2}}}}]}}}}
    """), {"place": str(bench.folder / "calls")})  # fmt: skip
    assert state.error is not None
    assert (state.error["kind"], state.error["attempt"]) == ("python", 2)
    assert (bench.folder / "calls").read_text() == "xx"


async def test_a_timeout_can_be_retried(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("""
        - step: start
          tool:
            kind: python
            timeout: 0.5
            args: {place: "{{ workload.place }}"}
            code: |
              import os, time
              if not os.path.exists(place):
                  open(place, "w")
                  time.sleep(1000)
              return "second"
            spec: {policy: {rules: [{when: "{{ error.kind == 'timeout' and error.retryable }}", then: {do: retry, attempts: 2}}]}}
    """), {"place": str(bench.folder / "place")})  # fmt: skip
    assert state.results["start"] == "second"


@pytest.mark.parametrize("auth", ["nobody", "{key: nobody, type: bearer}", "{a: {source: credential, key: nobody}}"])
async def test_a_credential_that_is_missing_is_an_error_of_kind_auth_that_names_it(boot: Boot, auth: str) -> None:
    bench = await boot()
    state = await bench.run(playbook(f"- {{step: start, tool: {{kind: http, url: 'http://127.0.0.1:9/', auth: {auth}}}}}"))
    assert state.error is not None
    assert (state.error["kind"], state.error["retryable"]) == ("auth", False)
    assert "'nobody'" in state.error["message"]


# Sub-playbooks


def written(folder: Path, name: str, steps: str, head: str = "") -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(playbook(steps, head))


CHILD = "- {step: start, tool: {kind: noop, result: %s}}"


async def test_a_child_sees_nothing_of_its_caller_but_what_it_is_given(boot: Boot) -> None:
    bench = await boot()
    shown = '{given: "{{ workload.given }}", secret: "{{ workload.secret }}", ctx: "{{ ctx }}", own: "{{ workload.own }}", before: "{{ steps | length }}"}'
    child = f"- {{step: start, tool: {{kind: noop, result: {shown}}}, set: {{ctx.x: 2}}}}"
    written(bench.folder, "child.yaml", child, "workload: {own: 1, given: 0}")
    state = await bench.run(playbook("""
        - {step: start, set: {ctx.x: 1}, next: {arcs: [{step: call}]}}
        - {step: call, args: {given: 5}, tool: {kind: playbook, path: child, payload: {extra: 1}}, next: {arcs: [{step: look}]}}
        - {step: look, tool: {kind: noop, result: "{{ ctx.x }}"}}
    """, "workload: {secret: mine}"))  # fmt: skip
    assert state.results["call"] == {"given": 5, "secret": None, "ctx": {}, "own": 1, "before": 0}
    assert state.results["look"] == 1


ONE = "- {step: start, tool: {kind: noop, result: 1}, next: [%s]}"
TWO = "- {step: end, tool: {kind: noop, result: 2}, next: [%s]}"
THREE = "- {step: after, tool: {kind: noop, result: 3}, next: []}"


@pytest.mark.parametrize(
    ("steps", "result"),
    [((ONE % "end", TWO % "after", THREE), 2), ((ONE % "after", THREE), 3), ((ONE % "", TWO % ""), 1)],
    ids=["end", "the last", "end did not run"],
)
async def test_without_return_step_it_is_the_result_of_end_or_of_the_last_step(boot: Boot, steps: tuple[str, ...], result: int) -> None:
    bench = await boot()
    written(bench.folder, "child.yaml", "\n".join(steps))
    state = await bench.run(playbook("- {step: call, tool: {kind: playbook, path: child}}"))
    assert state.results["call"] == result


@pytest.mark.parametrize(
    ("file", "head", "path"),
    [
        ("where.yaml", "shop/orders", "shop/orders"),
        ("where.yaml", "shop/orders", "/shop/orders"),
        ("where.yaml", "/shop/orders", "shop/orders"),
        ("where.yaml", "shop/orders/orders", "shop/orders"),
        ("shop/orders/orders.yaml", "", "shop/orders"),
        ("shop/orders.yaml", "", "shop/orders"),
        ("shop/orders.yaml", "", "shop/orders.yaml"),
        ("shop/orders.yml", "", "shop/orders"),
        ("../roots/shop/orders.yaml", "", "shop/orders"),
        ("../roots/shop/orders.yaml", "", "shop/orders.yaml"),
        ("../roots/any/where.yaml", "shop/orders", "shop/orders"),
    ],
)
async def test_each_way_to_find_a_playbook(boot: Boot, tmp_path: Path, file: str, head: str, path: str) -> None:
    bench = await boot(settings=Settings(playbook_path=(str(tmp_path / "roots"),)))
    bench.folder = tmp_path / "callers"
    bench.folder.mkdir()
    written(bench.folder, file, CHILD % "found")
    if head:
        child = bench.folder / file
        child.write_text(child.read_text().replace("metadata: {name: test}", f"metadata: {{name: test, path: {head}}}"))
    state = await bench.run(playbook(f"- {{step: call, tool: {{kind: playbook, path: {path}}}}}"))
    assert state.status == "completed", state.error
    assert state.results["call"] == "found"


async def test_a_file_of_that_name_comes_before_a_catalog_path(boot: Boot) -> None:
    bench = await boot()
    written(bench.folder, "shop/orders.yaml", CHILD % "file")
    written(bench.folder, "any.yaml", CHILD % "catalog")
    child = bench.folder / "any.yaml"
    child.write_text(child.read_text().replace("metadata: {name: test}", "metadata: {name: test, path: shop/orders}"))
    state = await bench.run(playbook("- {step: call, tool: {kind: playbook, path: shop/orders}}"))
    assert state.results["call"] == "file"

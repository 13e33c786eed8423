"""What a user waits for: the command line, process start to exit. Medians of several runs, in seconds.

python bench/cli.py [--json]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: bench}\nworkflow:\n"
ONE = HEAD + "  - {step: only, tool: {kind: noop}}\n"
FORTY = HEAD + "".join(
    f'  - {{step: s{number}, tool: {{kind: python, code: "result = {number}"}}{f", next: [s{number + 1}]" if number < 39 else ""}}}\n'
    for number in range(40)
)
LOOP = (
    HEAD
    + """  - step: all
    loop: {in: "{{ range(1000) | list }}", iterator: n, spec: {mode: parallel}}
    tool: {kind: python, args: {n: "{{ n }}"}, code: "result = n + 1"}
"""
)
HELLO = Path("tests/fixtures/playbooks/hello_world/hello_world.yaml").absolute()


def seconds(command: list[str], cwd: Path) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    noetl = str(Path(sys.executable).with_name("noetl"))
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name).absolute()
        for playbook, text in {"one": ONE, "forty": FORTY, "loop": LOOP}.items():
            (directory / f"{playbook}.yaml").write_text(text)
        python = seconds([sys.executable, "-c", "pass"], directory)
        one = seconds([noetl, "run", "one.yaml"], directory)
        figures = {
            "python_s": python,
            "help_s": seconds([noetl, "--help"], directory),
            "hello_world_s": seconds([noetl, "run", str(HELLO)], directory),
            "one_noop_s": one,
            "forty_python_steps_after_start_s": seconds([noetl, "run", "forty.yaml"], directory) - one,
            "loop_of_1000_python_items_after_start_s": seconds([noetl, "run", "loop.yaml"], directory) - one,
        }
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:42} {value:8.3f}  {value / python:6.1f} x python")


if __name__ == "__main__":
    main()

"""Large values on nodes that share no directory: every machine has its own."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from noetl.errors import SettingsError
from noetl.events import AttemptLost
from noetl.node.artifacts import open_artifacts
from noetl.node.profile import load_profile, load_settings
from tests.cluster.conftest import Cluster
from tests.s3 import S3

LARGE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: large, path: demo/large}
workload: {pause: 0}
workflow:
  - step: start
    tool:
      kind: python
      args: {pause: "{{ workload.pause }}"}
      code: |
        import time
        print("begun", flush=True)
        time.sleep(pause)
        result = {"rows": [{"n": n, "text": "x" * 100} for n in range(2000)]}
    next: each
  - step: each
    loop: {in: "{{ start.rows[:12] }}", iterator: row, spec: {mode: parallel, max_in_flight: 4}}
    tool: {kind: python, args: {start: "{{ start }}", row: "{{ row }}"}, code: "result = {'rows': start['rows'], 'n': row['n']}"}
    next: sum
  - step: sum
    tool:
      kind: python
      args: {each: "{{ each.results }}"}
      code: "result = {'parts': len(each), 'rows': sum(len(one['rows']) for one in each), 'n': sum(one['n'] for one in each)}"
"""
SUM = {"parts": 12, "rows": 24_000, "n": 66}


def machines(cluster: Cluster, tmp_path: Path, environment: dict[str, str] | None = None) -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    for name in ("s1", "w1", "w2"):
        home = tmp_path / name / "home"
        home.mkdir(parents=True)
        cluster.start(name, home=home, environment={"VAULT_KEY": key, "NOETL_VAULT_KEY_ENV": "VAULT_KEY", **(environment or {})})


async def test_large_values_reach_every_machine_through_nats(cluster: Cluster, tmp_path: Path) -> None:
    machines(cluster, tmp_path)
    await cluster.register(LARGE)
    report = await cluster.ended(await cluster.execute("demo/large"), "s1")
    assert report.steps["sum"].result == SUM
    for name in ("s1", "w1", "w2"):
        assert not (tmp_path / name / "home" / "artifacts").exists()
    assert (tmp_path / "s1" / "home" / "copies").is_dir()
    await cluster.check()


async def test_large_values_reach_every_machine_through_s3(cluster: Cluster, tmp_path: Path) -> None:
    with S3() as s3:
        machines(cluster, tmp_path, {**s3.environment, "NOETL_ARTIFACTS_URL": s3.bucket("cluster")})
        await cluster.register(LARGE)
        report = await cluster.ended(await cluster.execute("demo/large"), "s1")
        assert report.steps["sum"].result == SUM
        await cluster.check()


async def test_a_large_result_that_is_ready_while_nats_is_down_is_stored_when_it_is_back(cluster: Cluster, tmp_path: Path) -> None:
    machines(cluster, tmp_path)
    await cluster.register(LARGE)
    id_ = await cluster.execute("demo/large", pause=1.5)
    await cluster.until(id_, lambda events: len(events) > 1)
    printed = [tmp_path / name / "home" / "logs" / f"{id_}.jsonl" for name in ("w1", "w2")]
    await cluster.eventually(lambda: any(file.exists() for file in printed))
    cluster.nats.kill()
    await cluster.eventually(lambda: any((tmp_path / name / "home" / "copies").is_dir() for name in ("w1", "w2")))
    cluster.nats.start()
    assert (await cluster.ended(id_, "s1")).steps["sum"].result == SUM
    history = await cluster.check()
    assert not any(isinstance(event, AttemptLost) for event in history.events[id_])


@pytest.mark.parametrize("url", ["s3:/bucket", "nats:", "ftp://x"])
def test_a_place_that_is_none_is_refused_at_the_start(url: str, tmp_path: Path) -> None:
    settings, _ = load_settings({"NOETL_ARTIFACTS_URL": url})
    with pytest.raises(SettingsError, match=r"artifacts\.url is .*: it must be one of nats:BUCKET"):
        open_artifacts(load_profile("server"), settings, tmp_path, lambda function, *args: function(*args))

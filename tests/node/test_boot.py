"""Trees are data; a node that boots and stops leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noetl.clock import SystemClock
from noetl.errors import LogUnavailable, SettingsError
from noetl.ids import ExecutionIds
from noetl.node.boot import running_node
from noetl.node.incarnation import this_process
from noetl.node.parts import Parts
from noetl.node.profile import Profile, load_profile
from noetl.node.tree import tree
from noetl.probe import ActorStarted, Happening, Probe, SupervisorGaveUp
from noetl.settings import Settings
from noetl.store.store import Store
from noetl.supervisors.spec import SupervisorSpec
from noetl.vault.keyring import GivenKeys
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault

PROFILES = sorted(file.stem for file in (Path(__file__).parents[2] / "nodes").glob("*.yaml"))


async def _not_opened(more: Callable[[], bool]) -> Store:
    raise AssertionError("building a tree opens nothing")


def parts(profile: Profile, folder: Path) -> Parts:
    clock = SystemClock()
    return Parts(
        owner=this_process("test"),
        settings=Settings(),
        profile=profile,
        directory=folder,
        open_store=_not_opened,
        vault=FileVault({}),
        keys=GivenKeys(bytes(32)),
        secrets=Secrets(GivenKeys(b"")),
        clock=clock,
        probe=Probe(),
        ids=ExecutionIds(clock),
        environment={},
    )


def ids(spec: SupervisorSpec) -> list[Any]:
    return [child.id if not isinstance(child, SupervisorSpec) else {child.id: ids(child)} for child in spec.children]


@pytest.mark.parametrize("name", PROFILES)
def test_every_tree_is_built_without_starting_anything(name: str, tmp_path: Path) -> None:
    spec = tree(parts(load_profile(name), tmp_path))
    assert spec.id == name
    assert list(tmp_path.iterdir()) == []


def test_the_branches_of_solo_stand_in_start_order(tmp_path: Path) -> None:
    spec = tree(parts(load_profile("solo"), tmp_path))
    assert ids(spec) == ["store", "tools", {"pools": ["python", "default"]}, "lease", "shard"]
    assert spec.strategy == "rest_for_one"


def booting(folder: Path, **more: Any) -> Any:
    settings = more.pop("settings", Settings())
    return running_node(load_profile("solo"), settings, home=folder / "home", environment={}, **({"store": None} | more))


async def test_a_node_that_ran_gives_its_shard_up(tmp_path: Path) -> None:
    async with booting(tmp_path) as node:
        lease = node.parts.lease
    async with booting(tmp_path) as later:
        assert not await later.parts.store.shards.is_ours(lease)
        assert later.parts.lease.id != lease.id


async def test_a_store_that_can_not_be_opened_is_the_reason_that_one_reads(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(LogUnavailable, match=f"the store can't be made: {tmp_path / 'home'}: Not a directory"):
        async with booting(tmp_path):
            pass


async def test_credentials_that_can_not_be_read_stop_the_boot_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"NOETL_CREDENTIALS: none\.json can't be read"):
        async with booting(tmp_path, settings=Settings(credentials="none.json")):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_the_processes_of_a_boot_that_fails_are_ended(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    before = children()
    with pytest.raises(LogUnavailable):
        async with booting(tmp_path, kinds=("python",)):
            pass
    assert children() == before


def children() -> set[str]:
    return set(Path("/proc/self/task").joinpath(str(Path("/proc/self").readlink()), "children").read_text().split())


async def test_processes_for_python_are_there_when_the_node_is(tmp_path: Path) -> None:
    before = children()
    async with booting(tmp_path, store="memory", kinds=("python", "noop")):
        assert len(children() - before) == 1
    assert children() == before


async def test_a_store_that_comes_back_gets_new_tools(tmp_path: Path) -> None:
    """The tools lean on the store: when it restarts so do they, and what was made before the boot is not used twice."""
    async with booting(tmp_path) as node:
        first = node.parts.resources
        store = next(child for child in node.root.child_records() if child.id == "store")
        settled = node.runtime.loop.create_future()
        node.probe.subscribe(lambda happening: settled.set_result(happening) if is_the_end_of_it(happening) and not settled.done() else None)
        store.crash(RuntimeError("lost"))
        assert isinstance(await settled, ActorStarted)
        assert node.parts.resources is not first


def is_the_end_of_it(happening: Happening) -> bool:
    """The last branch is up again, or the root has given up."""
    match happening:
        case ActorStarted(path="solo/shard") | SupervisorGaveUp(supervisor="solo"):
            return True
    return False

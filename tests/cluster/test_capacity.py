"""Which pool serves a call, which nodes can run it, and which of them has the database that calls share."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from noetl.cluster.capacity import capable, has, keeper, pool_for
from noetl.store.members import Member, PoolRow
from tests.cluster.members import member


def worker(id_: str, pools: dict[str, tuple[str, ...]] | None = None, **more: Any) -> Member:
    rows = {name: PoolRow(4, tools, rank) for rank, (name, tools) in enumerate((pools or {"default": ("*",)}).items())}
    return member(id_, roles=("steps",), pools=rows, **more)


CPU = worker("cpu", {"default": ("http", "postgres"), "engines": ("duckdb",)})
PYTHON = worker("python", {"python": ("python",)})
ANY = worker("any", {"any": ("*",)})
SECOND = worker("second", {"zeta": ("http",), "alpha": ("http",)})


@pytest.mark.parametrize(
    ("members", "kind", "named", "pool"),
    [
        ([CPU, PYTHON], "http", None, "default"),
        ([CPU, PYTHON], "python", None, "python"),
        ([CPU, PYTHON], "duckdb", None, "engines"),
        ([CPU, PYTHON], "snowflake", None, None),
        ([CPU, PYTHON, ANY], "snowflake", None, "any"),
        ([ANY, PYTHON], "python", None, "python"),
        ([CPU, PYTHON], "http", "python", "python"),
        ([CPU, PYTHON], "http", "gpu", None),
        ([SECOND, CPU], "http", None, "zeta"),
        ([], "http", None, None),
        ([worker("gone", lease_left_s=-1.0)], "http", None, None),
        ([worker("draining", draining=True)], "http", None, None),
        ([member("server", roles=("shards",), pools={"default": PoolRow(1, ("*",))})], "http", None, None),
    ],
)
def test_the_pool_of_a_call(members: list[Member], kind: str, named: str | None, pool: str | None) -> None:
    assert pool_for(members, kind, named) == pool


def test_pools_keep_the_order_of_their_profile_whatever_the_store_makes_of_it() -> None:
    pools = SECOND.node.pools
    shuffled = worker("second", {})
    shuffled = member("second", roles=("steps",), pools=dict(sorted(pools.items())))
    assert pool_for([shuffled], "http", None) == "zeta"


@pytest.mark.parametrize(
    ("given", "wanted", "enough"),
    [
        ({}, {}, True),
        ({"gpu": 2}, {"gpu": 1}, True),
        ({"gpu": 1}, {"gpu": 2}, False),
        ({"gpu": 1.5}, {"gpu": 1}, True),
        ({}, {"gpu": 1}, False),
        ({"gpu": True}, {"gpu": True}, True),
        ({"gpu": 2}, {"gpu": True}, True),
        ({"gpu": 0}, {"gpu": True}, False),
        ({}, {"gpu": False}, True),
        ({"region": "eu"}, {"region": "eu"}, True),
        ({"region": "eu"}, {"region": "us"}, False),
        ({"regions": ["eu", "us"]}, {"regions": "us"}, True),
        ({"regions": ("eu",)}, {"regions": "us"}, False),
        ({"labels": {"zone": "a", "disk": "ssd"}}, {"labels": {"zone": "a"}}, True),
        ({"labels": {"zone": "a"}}, {"labels": {"zone": "b"}}, False),
        ({"labels": {"cores": 8}}, {"labels": {"cores": 4}}, True),
        ({}, {"labels": {"zone": "a"}}, False),
        ({}, {"labels": {}}, True),
        ({"gpu": 1, "region": "eu"}, {"gpu": 1, "region": "us"}, False),
    ],
)
def test_what_a_node_has_and_what_is_required(given: dict[str, Any], wanted: dict[str, Any], enough: bool) -> None:
    assert has(given, wanted) is enough
    assert (capable([worker("w", capabilities=given)], wanted) != []) is enough


WORKERS = [worker(f"w{number}", directory=f"d{number}") for number in range(5)]


def test_who_has_the_database_is_asked_and_nobody_else() -> None:
    assert keeper(WORKERS, 1, "w3", "d3") is WORKERS[3]
    assert keeper(WORKERS[:3], 1, "w3", "d3") is None
    assert keeper([], 1, None, "") is None


def test_who_shares_the_directory_of_a_lost_node_has_its_database() -> None:
    sharing = worker("other", directory="d3")
    assert keeper([*WORKERS[:3], sharing], 1, "w3", "d3") is sharing
    assert keeper([*WORKERS, sharing], 1, "w3", "d3") is WORKERS[3]


def test_all_choose_the_same_node_and_executions_are_spread() -> None:
    chosen = [keeper(WORKERS, id_, None, "") for id_ in range(1_000)]
    assert chosen == [keeper(list(reversed(WORKERS)), id_, None, "") for id_ in range(1_000)]
    counted = Counter(each.node.id for each in chosen if each is not None)
    assert all(120 < counted[each.node.id] < 290 for each in WORKERS)


def test_a_node_that_joins_changes_the_choice_of_its_own_share_only() -> None:
    joined = worker("new", directory="new")
    for id_ in range(1_000):
        assert keeper([*WORKERS, joined], id_, None, "") in (joined, keeper(WORKERS, id_, None, ""))

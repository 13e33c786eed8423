"""Who owns which shard, and in which format: decided from what all see."""

from __future__ import annotations

import datetime as dt

import pytest

from noetl.cluster.formats import common_format, oldest_of, to_raise
from noetl.cluster.membership import Vicinity
from noetl.cluster.shares import Moves, moves
from noetl.store.lease import Shard
from noetl.store.members import Cluster, Incarnation, Member, NodeRow, ShardRow


def member(number: int, newest: int, *, left_s: float = 1.0, draining: bool = False, roles: tuple[str, ...] = ("shards",)) -> Member:
    row = NodeRow(
        id=f"s{number}", profile="p", roles=roles, host="h", pid=1, version="1", format=newest, started_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    )
    return Member(node=row, incarnation=Incarnation(row.id, number), lease_left_s=left_s, draining=draining)


def shards(*formats: int, owner: Member | None = None) -> tuple[ShardRow, ...]:
    return tuple(ShardRow(Shard(number, 1), None if owner is None else owner.incarnation, newest) for number, newest in enumerate(formats, 1))


def settled(cluster: Cluster) -> dict[str, list[int]]:
    """Formats of the shards of each server, when all have done what they want, again and again, and nobody wants more."""
    for _ in range(10):
        for each in cluster.members:
            wanted = moves(cluster, each.incarnation)
            owners = {shard.id: None for shard in wanted.give} | dict.fromkeys(wanted.take, each.incarnation)
            rows = tuple(ShardRow(row.shard, owners.get(row.shard.id, row.owner), row.format) for row in cluster.shards)
            cluster = Cluster(cluster.members, rows)
    assert all(moves(cluster, each.incarnation) == moves(cluster, Incarnation("stranger", 0)) for each in cluster.members), "nobody wants more"
    return {each.node.id: sorted(row.format for row in cluster.shards if row.owner == each.incarnation) for each in cluster.members}


OLD, NEW, OTHER = member(1, 1), member(2, 2), member(3, 2)


@pytest.mark.parametrize(
    ("formats", "owned"),
    [
        ([1] * 6, {"s1": [1, 1], "s2": [1, 1], "s3": [1, 1]}),
        ([2] * 6, {"s1": [], "s2": [2, 2, 2], "s3": [2, 2, 2]}),
        ([1, 1, 1, 2, 2, 2, 2], {"s1": [1], "s2": [1, 2, 2], "s3": [1, 2, 2]}),
        ([3] * 4, {"s1": [], "s2": [], "s3": []}),
    ],
    ids=["all read all", "the old one reads none", "the old one reads some", "nobody reads any"],
)
def test_shards_are_shared_by_those_who_read_them(formats: list[int], owned: dict[str, list[int]]) -> None:
    assert settled(Cluster((OLD, NEW, OTHER), shards(*formats))) == owned


def test_a_shard_that_its_owner_does_not_read_is_given_back() -> None:
    assert {shard.id for shard in moves(Cluster((OLD, NEW), shards(2, 2, owner=OLD)), OLD.incarnation).give} == {1, 2}


def test_shards_do_not_move_while_they_are_raised_one_by_one() -> None:
    mine, others = shards(1, 2, 1, 2, owner=NEW), tuple(ShardRow(Shard(number, 1), OTHER.incarnation, 1) for number in (5, 6, 7, 8))
    for each in (NEW, OTHER):
        assert moves(Cluster((NEW, OTHER), mine + others), each.incarnation) == moves(Cluster((), ()), each.incarnation)


@pytest.mark.parametrize(
    ("older", "common"),
    [
        ((), 2),
        ((OLD,), 1),
        ((member(1, 1, draining=True),), 1),
        ((member(1, 1, left_s=-1.0),), 1),
        ((member(1, 1, roles=("steps",)),), 1),
        ((member(1, 3),), 2),
    ],
    ids=["nobody", "alive", "draining", "may be back", "a worker", "a newer one"],
)
def test_the_format_of_the_cluster_is_the_newest_that_all_members_read(older: tuple[Member, ...], common: int) -> None:
    vicinity = Vicinity()
    vicinity.see(Cluster((*older, NEW), ()))
    assert common_format((*older, NEW)) == vicinity.format == common


def test_a_node_raises_its_own_shards_once_all_read_the_newer_format() -> None:
    rows = (*shards(1, 2, owner=NEW), ShardRow(Shard(3, 1), OTHER.incarnation, 1), ShardRow(Shard(4, 1), None, 1))
    assert to_raise(Cluster((OLD, NEW, OTHER), rows), NEW.incarnation).shards == ()
    wanted = to_raise(Cluster((NEW, OTHER), rows), NEW.incarnation)
    assert (wanted.shards, wanted.to) == ((Shard(1, 1),), 2)
    assert oldest_of(Cluster((), rows)) == 1


def test_servers_whose_leases_have_run_out_have_their_shares_until_they_are_buried() -> None:
    """As all have when the store is back after a while: the first that renews its lease must not think that it is alone, nor the others that they are gone."""
    first, late = member(1, 1), member(2, 1, left_s=-1.0)
    rows = shards(1, 1, owner=first)[:1] + shards(1, 1, owner=late)[1:]
    both = Cluster((first, late), rows)
    assert moves(both, first.incarnation) == moves(both, late.incarnation) == Moves()
    free = Cluster((first, late), shards(1, 1))
    assert len(moves(free, first.incarnation).take) == 1
    buried = Cluster((first,), shards(1, 1))
    assert set(moves(buried, first.incarnation).take) == {1, 2}

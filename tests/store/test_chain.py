"""The hash chain of a log."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.errors import LogCorrupt
from noetl.store.log import StoredAppend, check_chain
from tests.store.appends import AT, stored

logs = st.lists(st.text(max_size=20), min_size=1, max_size=8).map(stored)


@given(logs)
def test_a_chain_that_nobody_touched_is_whole(log: list[StoredAppend]) -> None:
    check_chain(log)


@given(logs, st.data())
def test_a_chain_may_be_checked_from_any_point_of_it(log: list[StoredAppend], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(log) - 1))
    if start:
        check_chain(log[start:], log[start - 1].hash, start)


@given(logs, st.data())
def test_any_changed_byte_is_found(log: list[StoredAppend], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    field = data.draw(st.sampled_from(["body", "hash"]))
    content = bytearray(getattr(log[place], field))
    byte = data.draw(st.integers(0, len(content) - 1))
    content[byte] ^= data.draw(st.integers(1, 255))
    log[place] = msgspec.structs.replace(log[place], **{field: bytes(content)})
    with pytest.raises(LogCorrupt, match="does not hold what was written"):
        check_chain(log)


@given(logs, st.data())
def test_a_row_that_is_missing_in_the_middle_is_found(log: list[StoredAppend], data: st.DataObject) -> None:
    del log[data.draw(st.integers(0, len(log) - 1))]
    if log and log[-1].version > len(log):
        with pytest.raises(LogCorrupt, match="is missing"):
            check_chain(log)


@given(logs, st.data())
def test_rows_that_changed_places_are_found_though_their_versions_are_in_order(log: list[StoredAppend], data: st.DataObject) -> None:
    first, second = data.draw(st.integers(0, len(log) - 1)), data.draw(st.integers(0, len(log) - 1))
    if log[first].body == log[second].body:
        return
    swapped = list(log)
    swapped[first] = msgspec.structs.replace(log[second], version=first + 1)
    swapped[second] = msgspec.structs.replace(log[first], version=second + 1)
    with pytest.raises(LogCorrupt):
        check_chain(swapped)


def test_events_that_can_not_be_read_are_a_corrupt_log() -> None:
    with pytest.raises(LogCorrupt, match="the events of version 3 can't be read"):
        StoredAppend(3, 3, AT, b"\xc1", b"").events()

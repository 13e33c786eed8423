"""Server-sent events as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.client.eventstream import Frame, Frames


def frames(*pieces: bytes) -> list[Frame]:
    reader = Frames()
    return [frame for piece in pieces for frame in reader.feed(piece)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: x\n\n", [Frame("", "x")]),
        ("event:a\ndata:b\r\n\r\n", [Frame("a", "b")]),
        ("data: 1\ndata:  2\n\n", [Frame("", "1\n 2")]),
        (": comment\n\n", []),
        ("id: 3\nretry: 5\nunknown\n\n", []),
        ("event: end\n\n", [Frame("end", "")]),
        ("data: not ended yet\n", []),
        ("data: a:b\n\ndata: ü\n\n", [Frame("", "a:b"), Frame("", "ü")]),
    ],
)
def test_a_text_is_read_as_frames(text: str, expected: list[Frame]) -> None:
    assert frames(text.encode()) == expected


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)), st.data())
def test_it_does_not_matter_where_a_stream_is_cut(texts: list[str], data: st.DataObject) -> None:
    whole = "".join(f"event: e\ndata: {text}\n\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert frames(*pieces) == [Frame("e", text) for text in texts]

"""Bytes to lines, and frames from pieces. No process is started."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.tools.sandbox.frames import Frames, FrameTooLarge, header
from noetl.tools.sandbox.output import Output

Lines = list[tuple[str, str]]


def fed(pieces: list[bytes], max_bytes: int = 1_000_000) -> Lines:
    lines: Lines = []
    output = Output(lambda stream, line: lines.append((stream, line)), max_bytes)
    for piece in pieces:
        output.feed("stdout", piece)
    output.finish()
    return lines


@given(lines=st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))), data=st.data())
def test_lines_are_the_same_however_the_bytes_arrive(lines: list[str], data: st.DataObject) -> None:
    text = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert fed(pieces) == [("stdout", line) for line in lines]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"no newline"], ["no newline"]),
        ([b"a\n", b"\n", b"b"], ["a", "", "b"]),
        ([b"windows\r\n"], ["windows"]),
        ([b"10%\r20%\r"], ["10%\r20%"]),
        ([b"\xff\xfe\n"], ["\ufffd\ufffd"]),
        ([b"x" * 16_384 + b"\n"], ["x" * 16_384]),
        ([b"x" * 40_000], ["x" * 16_384, "x" * 16_384, "x" * 7_232]),
        ([b"x" * 40_000 + b"\ny"], ["x" * 16_384, "x" * 16_384, "x" * 7_232, "y"]),
        (["é".encode() * 10_000], ["é" * 8_192, "é" * 1_808]),
        ([("x" + "é" * 10_000).encode()], ["x" + "é" * 8_191, "é" * 1_809]),
    ],
)
def test_bytes_become_lines(pieces: list[bytes], lines: list[str]) -> None:
    assert fed(pieces) == [("stdout", line) for line in lines]


def test_both_streams_share_one_bound_and_one_notice() -> None:
    lines: Lines = []
    output = Output(lambda stream, line: lines.append((stream, line)), 10)
    output.feed("stdout", b"12345\n")
    output.feed("stderr", b"abcdefgh\n")
    output.feed("stdout", b"more\n" * 1000)
    output.finish()
    assert lines == [("stdout", "12345"), ("stderr", "abcd"), ("warning", "output: 5,005 bytes dropped after the first 10 (python.log_max_bytes)")]


def masked(pieces: list[bytes], max_bytes: int = 1_000_000) -> Lines:
    """As `fed`, where there is a secret."""
    lines: Lines = []
    output = Output(lambda stream, line: lines.append((stream, line)), max_bytes, lambda text: text.replace("hunter-22", "***"))
    for piece in pieces:
        output.feed("stdout", piece)
    output.finish()
    return lines


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("arrives", [1_000_000, 16_384, 777])
@pytest.mark.parametrize("before", [16_375, 16_380, 32_760, 17_400])
def test_a_secret_is_not_torn_where_a_long_line_is_cut(before: int, arrives: int, end: str) -> None:
    data = ("x" * before + "hunter-22" + "y" * 20_000 + end).encode()
    text = "".join(line for _, line in masked([data[start : start + arrives] for start in range(0, len(data), arrives)]))
    assert text == "x" * before + "***" + "y" * 20_000


@pytest.mark.parametrize("bound", range(100, 112))
def test_a_secret_is_not_torn_where_the_output_is_cut_off(bound: int) -> None:
    lines = masked([b"first\n", b"x" * 94 + b"hunter-22 and more\n"], bound)
    assert "hunt" not in "".join(line for _, line in lines)
    assert lines[-1][0] == "warning"


@given(frames=st.lists(st.binary(max_size=100)), data=st.data())
def test_frames_are_the_same_however_the_bytes_arrive(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(header(len(frame)) + frame for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader = Frames(100)
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == frames


def test_a_frame_over_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameTooLarge):
        list(Frames(100).feed(header(101)))

"""What a page may leave open of an output, and what it may not."""

from __future__ import annotations

import pytest

from tests.docs.reading import Reader

ID, OTHER = "250771715965034099", "250771715965034100"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ([f"execution {ID} hello"], ["execution 1250771715965034055 hello"]),
        (["completed greet  0.06 s"], ["completed greet  12.06 s"]),
        ([f"{ID}  failed     2026-11-23 23:59:59     0.39 s  hello"], ["7  failed     2027-01-02 03:04:05    10.39 s  hello"]),
        (["process   run-796cb6b1 (pid 12907 on laptop)"], ["process   run-00000000 (pid 7 on a.b-c)"]),
        (["    9  23:59:59.625876  ExecutionStarted"], ["   10  00:00:00.000001  ExecutionStarted"]),
        (["first", "…", "last"], ["first", "second", "third", "last"]),
        (["first", "…"], ["first", "second"]),
        (["…", "last"], ["last"]),
        (['  {"results":[…'], ['  {"results":[1,2]}']),
    ],
)
def test_ids_times_and_what_is_left_out_may_differ(shown: list[str], printed: list[str]) -> None:
    assert Reader().difference(shown, printed) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["completed greet  0.06 s"], ["failed    greet  0.06 s"]),
        (["1620"], ["1621"]),
        (["one"], []),
        ([], ["one"]),
        (["one", "two"], ["one"]),
        (["first", "…", "last"], ["first", "second"]),
        (["first", "…", "last"], ["first", "last", "later"]),
        ([f"{ID} and {ID}"], ["7 and 8"]),
        (["broken.yaml:7:18: error"], ["broken.yaml:7:19: error"]),
    ],
)
def test_anything_else_is_a_difference(shown: list[str], printed: list[str]) -> None:
    assert Reader().difference(shown, printed) is not None


def test_an_id_of_the_page_means_the_same_one_ever_after() -> None:
    reader = Reader()
    assert reader.difference([f"execution {ID}", f"execution {OTHER}"], ["execution 7", "execution 8"]) is None
    assert reader.meant(f"noetl run --resume {ID}") == "noetl run --resume 7"
    assert reader.difference([f"child {OTHER}"], ["child 8"]) is None
    assert reader.difference([f"child {OTHER}"], ["child 7"]) is not None

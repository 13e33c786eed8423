"""Addresses are words between dots, whatever names are in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.mailbox.address import commands, dead, events, node_address, pool_commands, unword, word
from noetl.mailbox.subjects import matches

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_a_word_is_one_word_and_says_what_it_stands_for(text: str) -> None:
    made = word(text)
    assert re.fullmatch(r"[A-Za-z0-9_@=-]+", made)
    assert unword(made) == text


@given(TEXTS, TEXTS)
def test_two_texts_have_two_words(one: str, other: str) -> None:
    assert (word(one) == word(other)) == (one == other)


@given(TEXTS)
def test_the_parts_of_an_address_can_not_be_taken_for_others(text: str) -> None:
    assert len(node_address(text).split(".")) == 3
    assert len(commands(text, 5).split(".")) == 4
    assert len(events(text, 7).split(".")) == 4
    assert matches(pool_commands(text), commands(text, 5))


def test_dead_letters_lie_under_what_they_were_sent_to() -> None:
    assert dead("noetl.commands.python.5") == "noetl.dead.python.5"
    assert dead("noetl.mailbox.3.12") == "noetl.dead.mailbox.3.12"
    assert dead("noetl.nodes") == "noetl.dead.nodes"


@pytest.mark.parametrize(
    ("pattern", "subject", "found"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c.d", True),
        ("a.>", "a", False),
        ("a.>", "b.c", False),
        (">", "a", True),
        ("*.>", "a.b", True),
        ("*.>", "a", False),
    ],
)
def test_a_pattern_matches_as_in_nats(pattern: str, subject: str, found: bool) -> None:
    assert matches(pattern, subject) is found

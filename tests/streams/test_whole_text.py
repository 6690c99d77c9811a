"""Texts put together from pieces, and the memory that they are said to take."""

from __future__ import annotations

import sys
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc.streams.whole_text import WholeText

pytestmark = pytest.mark.rule("B4")

_ALPHABET: Final = "aé語😀"
_PIECES: Final = st.lists(
    st.builds(
        lambda letter, length, last: letter * length + last,
        st.sampled_from(_ALPHABET),
        st.sampled_from([0, 1, 7, 100, 5_000, 70_000]),
        st.sampled_from(["", *_ALPHABET]),
    ),
    max_size=30,
)


@given(_PIECES)
def test_a_text_is_its_pieces_and_takes_no_more_than_is_said(pieces: list[str]) -> None:
    whole = WholeText()
    for piece in pieces:
        whole.add(piece)
    expected = "".join(pieces)
    assert sys.getsizeof(expected) <= whole.whole_bytes
    text = whole.take()
    assert text == expected
    # What was held, block by block, was at least the characters of each, in its own width.
    assert whole.held_bytes >= sum(
        len(piece) * max(1, sys.getsizeof(piece) // max(len(piece), 1_000)) for piece in pieces
    )


def test_many_small_pieces_are_held_as_one() -> None:
    whole = WholeText()
    for _ in range(10_000):
        whole.add("語")
    assert 20_000 <= whole.held_bytes <= 26_000
    assert whole.take() == "語" * 10_000


def test_one_wide_character_widens_its_own_piece_alone() -> None:
    whole = WholeText()
    for _ in range(100):
        whole.add("a" * 10_000)
    whole.add("😀")
    assert whole.held_bytes < 1_150_000
    assert whole.whole_bytes == pytest.approx(4_000_004, abs=200)

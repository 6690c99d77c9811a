"""The ends of WebSocket frames, found in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from trio_rpc.server.http.frame_cutter import MAX_FRAMES, FrameCutter

pytestmark = pytest.mark.rule("B7")

sizes = st.sampled_from([0, 1, 5, 124, 125, 126, 127, 300, 65_535, 65_536, 70_000])


def frame(size: int, *, mask: bool = True) -> bytes:
    return Frame(Opcode.BINARY, bytes(size)).serialize(mask=mask)


def pieces_of(cutter: FrameCutter, data: bytes) -> list[bytes]:
    """Feed `data` to a cutter, and return the pieces that it is cut into."""
    cutter.feed(data)
    pieces: list[bytes] = []
    while cutter:
        pieces.append(cutter.next_piece())
    return pieces


def test_a_read_of_few_frames_is_one_piece() -> None:
    data = frame(10) * MAX_FRAMES
    assert pieces_of(FrameCutter(), data) == [data]


def test_a_read_of_many_frames_is_cut_at_their_ends() -> None:
    part, large = frame(0) * MAX_FRAMES, frame(70_000)
    assert pieces_of(FrameCutter(), part * 3 + large) == [part, part, part, large]


def test_a_frame_that_goes_on_in_the_next_read_is_counted_where_it_began() -> None:
    cutter = FrameCutter()
    large = frame(1_000)
    assert pieces_of(cutter, large[:500]) == [large[:500]]
    many = frame(0) * MAX_FRAMES
    assert pieces_of(cutter, large[500:] + many + b"\x89") == [large[500:] + many, b"\x89"]


@given(
    st.lists(st.tuples(sizes, st.booleans()), max_size=100),
    st.lists(st.integers(1, 50) | st.just(1_000)),
)
def test_frames_are_the_same_however_they_come(
    frames: list[tuple[int, bool]], reads: list[int]
) -> None:
    encoded = [frame(size, mask=mask) for size, mask in frames]
    ends = {0}
    for each in encoded:
        ends.add(max(ends) + len(each))
    data, cutter, position, turn = b"".join(encoded), FrameCutter(), 0, 0
    reads = [*reads, 50_000]
    read_ends: set[int] = set()
    cuts: list[int] = []
    while position < len(data):
        read = data[position : position + reads[turn % len(reads)]]
        read_ends.add(position + len(read))
        for piece in pieces_of(cutter, read):
            assert piece == data[position : position + len(piece)]
            cuts.append(position + len(piece))
            began = [end for end in ends if position <= end < position + len(piece)]
            assert len(began) <= MAX_FRAMES
            position += len(piece)
        turn += 1
    # Nothing is cut but where a frame ends, and where the peer has cut itself.
    assert {*cuts} <= ends | read_ends


@given(st.lists(st.binary(min_size=1, max_size=100)))
def test_nonsense_is_given_back_as_it_came(reads: list[bytes]) -> None:
    cutter = FrameCutter()
    for read in reads:
        assert b"".join(pieces_of(cutter, read)) == read

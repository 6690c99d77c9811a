"""The turns of other tasks while a framed link receives (rule B7)."""

from __future__ import annotations

import pytest

from trio_rpc.links import Channel, Frame, open_framed_link
from trio_rpc.links.framed import (
    SLICE_FRAMES,
    TURN_FRAMES,
)
from trio_rpc.links.frames import encode_frames

from ..support.turns import CountedTurns
from .scripted_stream import SMALL, ScriptedStream

pytestmark = pytest.mark.anyio


# A turn for everybody


TINY = Frame(Channel.LOSSY, b"x")
#: A field of a later version, which is skipped.
UNKNOWN = b"\x7a\x01x"


@pytest.mark.rule("B7")
async def test_the_frames_of_a_large_message_are_received_in_slices_with_turns_for_others() -> None:
    stream = ScriptedStream()
    stream.incoming = [encode_frames([TINY] * 33_000)]
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        frames = 0
        while frames < 33_000:
            received = await link.receive()
            assert set(received) == {TINY}
            assert len(received) <= SLICE_FRAMES
            frames += len(received)
            # One after every two slices or so: trio runs tasks in any order.
            assert turns.count >= frames // TURN_FRAMES - 2
        assert frames == 33_000


@pytest.mark.rule("B7")
@pytest.mark.parametrize(
    "message",
    [encode_frames([TINY]), UNKNOWN + encode_frames([TINY]), encode_frames([TINY] * 31)],
    ids=["tiny", "with something unknown", "nearly a slice"],
)
async def test_others_have_their_turn_between_messages_that_have_come_already(
    message: bytes,
) -> None:
    stream = ScriptedStream()
    stream.incoming = [message] * 640
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        for _ in range(640):
            await link.receive()
        assert turns.count >= 640 * 2 // TURN_FRAMES - 2


@pytest.mark.rule("B7")
async def test_others_have_their_turn_while_unknown_fields_are_skipped() -> None:
    stream = ScriptedStream()
    stream.incoming = [UNKNOWN * 200_000 + encode_frames([TINY])]
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        assert await link.receive() == [TINY]
        assert turns.count >= 200_000 // SLICE_FRAMES // TURN_FRAMES - 2


@pytest.mark.rule("B7", "P8")
async def test_others_have_their_turn_between_messages_that_are_no_frames() -> None:
    stream = ScriptedStream()
    stream.incoming = [b"\xff"] * 640
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        for _ in range(640):
            with pytest.raises(ValueError, match=r"^a message "):
                await link.receive()
        assert turns.count >= 640 // TURN_FRAMES - 2


@pytest.mark.rule("P8")
async def test_what_precedes_the_malformed_end_of_a_large_message_is_received() -> None:
    stream = ScriptedStream()
    stream.incoming = [encode_frames([TINY] * SLICE_FRAMES) + b"\xff", encode_frames([SMALL])]
    async with open_framed_link(stream) as link:
        assert await link.receive() == [TINY] * SLICE_FRAMES
        with pytest.raises(ValueError, match=r"^a message "):
            await link.receive()
        assert await link.receive() == [SMALL]


@pytest.mark.rule("P8")
async def test_a_large_message_that_ends_in_what_is_unknown_is_not_malformed() -> None:
    stream = ScriptedStream()
    stream.incoming = [encode_frames([TINY]) + UNKNOWN * 100, UNKNOWN * 100]
    async with open_framed_link(stream) as link:
        assert await link.receive() == [TINY]
        with pytest.raises(ValueError, match=r"^a message without a frame$"):
            await link.receive()

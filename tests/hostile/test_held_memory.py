"""Memory that hostile senders make a receiver hold, and how soon it is free again (B4)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import ByteStreamReader, Room, RpcInvocationData, StreamError
from trio_rpc.protocol.deflating import CODEC, Inflater
from trio_rpc.streams.buffer import StreamBuffer

from ..streams.receiving import collecting
from ..support.callee import METHOD, failure
from ..support.stream_packets import (
    byte_header,
    deflated,
    peer,
    request_header,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    server_with,
    text_header,
)

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B4")]

#: What holds content, or leads to it.
_HOLDERS: Final = (
    StreamBuffer,
    Inflater,
    StreamError,
    models.DataPacket,
    models.DataStream.Chunk,
)


@contextmanager
def no_circles_of_holders() -> Iterator[None]:
    """Make sure that nothing with content in it is left for the collector of garbage."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, _HOLDERS)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def echo(data: RpcInvocationData) -> str:
    return data.payload


@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "deflated"])
async def test_requests_that_exceed_the_budget_leave_no_circles(is_compressed: bool) -> None:
    content = b"x" * 150_000
    if is_compressed:
        content = deflated(content * 10)
    room, server = Room(max_peer_bytes=120_000), server_with(peer("bob"))
    room.register_rpc_method(METHOD, echo)
    async with room.connect(server, "a token", reconnect=None):
        with no_circles_of_holders():
            for number in range(20):
                header = request_header(
                    str(number), content=None, method=METHOD, compression=int(is_compressed)
                )
                chunks = [content[at : at + 15_000] for at in range(0, len(content), 15_000)]
                send_stream(server, header, chunks)
            refused = 0
            while refused < 20:
                packet = await server.expect_packet()
                if packet.HasField("rpc_response"):
                    assert "(max_peer_bytes)" in failure(packet.rpc_response)[2]
                    refused += 1
            await anyio.wait_all_tasks_blocked()
        assert room.statistics().held_bytes < 20 * 400


async def test_streams_that_break_off_leave_no_circles() -> None:
    async with collecting() as (room, server, collected):
        with no_circles_of_holders():
            for name, compression in (("gap", 0), ("bomb", 1), ("gave up", 0), ("text", 0)):
                send_header(server, text_header(name, compression=compression))
            send_chunk(server, 1, b"x" * 15_000, stream_id="gap")
            send_chunk(server, 0, b"x" * 15_000, stream_id="bomb")
            send_trailer(server, stream_id="gave up", reason="no more")
            send_stream(server, text_header("text"), [b"\xff"])
            for name in ("gap", "bomb", "gave up"):
                await collected.failure(name)
            send_trailer(server, stream_id="text")
            await collected.failure("text")
            collected.outcomes.clear()
            collected.readers.clear()
            await server.settle(room)
            await anyio.wait_all_tasks_blocked()
        assert room.statistics().held_bytes == 0


async def test_tiny_pieces_that_nobody_reads_count_as_the_objects_that_they_are() -> None:
    async with collecting(max_peer_bytes=100_000) as (room, server, _):

        async def read_nothing(_reader: ByteStreamReader, _sender: str) -> None:
            await anyio.sleep_forever()

        room.register_byte_stream_handler("unread", read_nothing)
        send_header(server, byte_header("tiny", topic="unread"))
        await server.settle(room)
        before = room.statistics().held_bytes
        for number in range(100):
            send_chunk(server, number, b"xy", stream_id="tiny")
        await server.settle(room)
        assert room.statistics().held_bytes - before == 100 * 66
        for number in range(100, 10_000):
            send_chunk(server, number, b"xy", stream_id="tiny")
        await server.settle(room)
        assert room.statistics().held_bytes <= 100_000
        # Of the stream, which has exceeded the budget, no more is taken.
        assert room.statistics().open_streams == 0


async def test_compressed_content_counts_until_it_is_inflated() -> None:
    read_on = anyio.Event()
    async with collecting() as (room, server, _):

        async def read_a_piece(reader: ByteStreamReader, _sender: str) -> None:
            await anext(reader)
            await read_on.wait()
            async for _ in reader:
                pass

        room.register_byte_stream_handler("deflated", read_a_piece)
        bomb = deflated(bytes(10_000_000))
        assert 9_000 < len(bomb) <= 15_000
        send_header(server, byte_header(topic="deflated", compression=1))
        send_chunk(server, 0, bomb)
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        # All of it was fed to the inflater, which has given out a piece.
        assert room.statistics().held_bytes > len(bomb) + CODEC.inflater_bytes
        read_on.set()
        await anyio.wait_all_tasks_blocked()
        # The end of it was inflated, and is open still.
        assert 0 < room.statistics().held_bytes < len(bomb)


async def test_one_wide_character_in_a_long_text_counts_for_what_it_makes_of_it() -> None:
    text = ("a" * 9_999 + "\n") * 100 + "😀"
    content = text.encode()
    chunks = [content[at : at + 15_000] for at in range(0, len(content), 15_000)]
    async with collecting(max_peer_bytes=5_000_000) as (room, server, collected):
        send_stream(server, text_header(), chunks)
        # As text, each of the million characters takes four bytes; until it is put together, they
        # take one each besides, and an eighth for the allocator.
        assert "(max_peer_bytes)" in await collected.failure()
        assert room.statistics().held_bytes == 0
    async with collecting(max_peer_bytes=5_200_000) as (room, server, collected):
        send_stream(server, text_header(), chunks)
        assert await collected.outcome("S") == text


async def test_a_reader_who_gives_up_waiting_loses_no_inflated_content() -> None:
    pieces: list[bytes] = []
    ended = anyio.Event()
    content = bytes(range(256)) * 2_000
    gave_up = 0

    async def read_impatiently(reader: ByteStreamReader, _sender: str) -> None:
        nonlocal gave_up
        while True:
            with anyio.CancelScope() as scope:
                scope.cancel()
                pieces.append(await anext(reader, b""))
            gave_up += scope.cancelled_caught
            if not (piece := await anext(reader, b"")):
                break
            pieces.append(piece)
        ended.set()

    async with collecting() as (room, server, _):
        room.register_byte_stream_handler("deflated", read_impatiently)
        header = byte_header(topic="deflated", compression=1, total_length=len(content))
        send_stream(server, header, [deflated(content)])
        await ended.wait()
    assert b"".join(pieces) == content
    assert gave_up >= len(content) // (64 * 1024)

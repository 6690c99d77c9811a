"""Writing streams piece by piece: order, ends, cancellation, and back-pressure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from livekit.protocol import models

from trio_rpc import ByteStreamWriter, Room, StreamError, TextStreamWriter
from trio_rpc.client.loss import OnDisconnect

from ..support.clients import Holding, HoldingLink
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import SentStream, expect_stream, peer, server_with

pytestmark = pytest.mark.anyio

BROKE_OFF = "the sender broke off"


def is_chunk(packet: models.DataPacket) -> bool:
    return packet.HasField("stream_chunk")


@asynccontextmanager
async def alice(
    on_disconnect: OnDisconnect = "raise",
) -> AsyncIterator[tuple[Room, ScriptedServer, HoldingLink]]:
    """Alice; until the link is released, it has no room for chunks."""
    server, room = server_with(peer("bob")), Room()
    holding = Holding(server, is_chunk)
    async with room.connect(holding, "a token", reconnect=None, on_disconnect=on_disconnect):
        yield room, server, holding.link


@asynccontextmanager
async def writing(
    on_disconnect: OnDisconnect = "raise",
) -> AsyncIterator[tuple[TextStreamWriter, ScriptedServer, HoldingLink]]:
    """Open a writer of Alice's, with room for everything that it writes."""
    async with alice(on_disconnect) as (room, server, link):
        link.released.set()
        yield await room.local_participant.stream_text(topic="notes"), server, link


def reason_of(stream: SentStream) -> str:
    assert stream.trailer is not None
    return stream.trailer.reason


@pytest.mark.rule("S4")
async def test_what_several_tasks_write_is_not_mixed_up() -> None:
    async with writing() as (writer, server, link):
        link.released = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for letter in "abcd":
                tasks.start_soon(writer.write, letter * 40_000)
            await anyio.wait_all_tasks_blocked()
            link.released.set()
        await writer.aclose()
        stream = await expect_stream(server)
        assert [chunk.chunk_index for chunk in stream.chunks] == list(range(12))
        content = stream.content.decode()
        blocks = [content[start : start + 40_000] for start in range(0, 160_000, 40_000)]
        assert sorted(blocks) == [letter * 40_000 for letter in "abcd"]


@pytest.mark.rule("S4")
async def test_the_end_comes_after_what_another_task_was_writing() -> None:
    async with writing() as (writer, server, link):
        link.released = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.write, "first")
            await link.held.wait()
            tasks.start_soon(writer.aclose)
            await anyio.wait_all_tasks_blocked()
            link.released.set()
        stream = await expect_stream(server)
        assert (stream.content, reason_of(stream)) == (b"first", "")


async def test_a_writer_that_is_closed_writes_no_more() -> None:
    async with writing() as (writer, server, _):
        await writer.write("all")
        await writer.aclose(attributes={"words": "1"})
        await writer.aclose(reason="not counted")
        with pytest.raises(RuntimeError, match=f"stream {writer.info.stream_id} was closed"):
            await writer.write("more")
        stream = await expect_stream(server)
        assert (stream.content, reason_of(stream)) == (b"all", "")
        assert stream.trailer is not None
        assert dict(stream.trailer.attributes) == {"words": "1"}


async def fail_in_the_block(writer: TextStreamWriter) -> None:
    async with writer:
        await writer.write("some")
        raise KeyError("secret")


@pytest.mark.rule("S6")
async def test_an_exception_in_the_block_reaches_the_receivers_without_its_text() -> None:
    async with writing() as (writer, server, _):
        with pytest.raises(KeyError, match="secret"):
            await fail_in_the_block(writer)
        stream = await expect_stream(server)
        assert (stream.content, reason_of(stream)) == (b"some", BROKE_OFF)


@pytest.mark.rule("S6")
async def test_cancellation_in_the_block_reaches_the_receivers() -> None:
    async with writing() as (writer, server, _):
        with anyio.move_on_after(1) as scope:
            async with writer:
                await writer.write("some")
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert reason_of(await expect_stream(server)) == BROKE_OFF


@pytest.mark.rule("S6")
async def test_cancellation_at_the_end_of_the_block_reaches_the_receivers() -> None:
    async with writing() as (writer, server, _):
        with anyio.CancelScope() as scope:
            async with writer:
                await writer.write("some")
                scope.cancel()
        assert scope.cancelled_caught
        assert reason_of(await expect_stream(server)) == BROKE_OFF


@pytest.mark.rule("S6")
async def test_an_end_that_is_cancelled_while_it_waits_for_room_can_be_told_later() -> None:
    async with writing() as (writer, server, link):
        link.holds = lambda packet: packet.HasField("stream_trailer")
        link.released = anyio.Event()
        with anyio.move_on_after(1) as scope:
            await writer.aclose()
        assert scope.cancelled_caught
        link.released.set()
        await writer.aclose()
        assert reason_of(await expect_stream(server)) == ""


@pytest.mark.rule("S6")
async def test_a_text_that_is_cancelled_midway_breaks_off() -> None:
    async with alice() as (room, server, _):
        started = anyio.current_time()
        with anyio.move_on_after(2) as scope:
            await room.local_participant.send_text("x" * 40_000, destination_identities=["zoe"])
        assert scope.cancelled_caught
        assert anyio.current_time() - started == pytest.approx(2)
        stream = await expect_stream(server)
        assert (stream.content, reason_of(stream)) == (b"", BROKE_OFF)
        assert stream.destinations == {("zoe",)}


@pytest.mark.rule("S6")
async def test_telling_that_a_stream_broke_off_takes_a_second_at_most() -> None:
    async with alice() as (room, _, link):
        writer = await room.local_participant.stream_text()
        link.holds = lambda _packet: True
        started = anyio.current_time()
        with pytest.raises(KeyError):
            async with writer:
                raise KeyError
        assert anyio.current_time() - started == pytest.approx(1)


async def test_a_write_waits_for_room_and_memory_is_bounded() -> None:
    written = 0

    async def write(writer: ByteStreamWriter) -> None:
        nonlocal written
        while True:
            await writer.write(bytes(15_000))
            written += 15_000

    server, room = server_with(peer("bob")), Room()
    async with room.connect(server, "a token", reconnect=None), anyio.create_task_group() as tasks:
        writer = await room.local_participant.stream_bytes("endless")
        tasks.start_soon(write, writer)
        await anyio.sleep(5)
        # The queue of the link, and the messages that are in flight.
        limit = 4 * 1024 * 1024 + 20 * 64 * 1024
        stalled_at = written
        assert 4_000_000 < stalled_at < limit
        await anyio.sleep(5)
        assert written == stalled_at
        for _ in range(400):
            await server.expect_packet()
        await anyio.sleep(0.1)
        assert stalled_at < written < 400 * 15_000 + limit
        tasks.cancel_scope.cancel()


@pytest.mark.rule("S6")
async def test_a_write_that_waits_is_told_that_we_left() -> None:
    async with alice() as (room, _, link):
        writer = await room.local_participant.stream_text()
        errors: list[StreamError] = []

        async def write() -> None:
            with pytest.raises(StreamError) as caught:
                await writer.write("never sent")
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await link.held.wait()
            await room.disconnect()
        assert str(errors[0]) == "not sent: the link was closed here: we left the room"
        with pytest.raises(StreamError, match="not sent"):
            await writer.aclose()
        await writer.aclose()


@pytest.mark.rule("S6")
async def test_a_write_after_the_server_is_gone_fails() -> None:
    async with writing("continue") as (writer, server, _):
        await server.link.aclose("the server is gone")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(StreamError, match=r"not sent: .*the server is gone"):
            await writer.write("x")

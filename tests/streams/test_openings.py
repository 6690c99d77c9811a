"""Streams that are opened by `async with`, or by `await` as in LiveKit's SDKs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import ByteStreamWriter, Room, StreamError, StreamOpening, TextStreamWriter

from ..support.clients import Holding
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.stream_packets import expect_stream, peer, server_with

pytestmark = pytest.mark.anyio

Writer = TextStreamWriter | ByteStreamWriter
Open = Callable[[Room], StreamOpening[Any]]


def open_text(room: Room) -> StreamOpening[TextStreamWriter]:
    return room.local_participant.stream_text(topic="notes", destination_identities=["bob"])


def open_bytes(room: Room) -> StreamOpening[ByteStreamWriter]:
    return room.local_participant.stream_bytes(
        "a.bin", topic="notes", destination_identities=["bob"]
    )


either = pytest.mark.parametrize("open_stream", [open_text, open_bytes])
CONTENT: Final[dict[type[Writer], Any]] = {TextStreamWriter: "some", ByteStreamWriter: b"some"}


async def packets_of(room: Room, server: ScriptedServer) -> list[str | None]:
    """Return the kinds of the packets that were sent so far."""
    await room.local_participant.publish_data(b"last")
    kinds: list[str | None] = []
    while "user" not in kinds:
        kinds.append((await server.expect_packet()).WhichOneof("value"))
    return kinds[:-1]


@either
@pytest.mark.rule("S4")
async def test_the_block_opens_the_stream_and_ends_it(open_stream: Open) -> None:
    server, room = server_with(peer("bob")), Room()
    async with room.connect(server, "a token", reconnect=None):
        async with open_stream(room) as writer:
            await writer.write(CONTENT[type(writer)])
        stream = await expect_stream(server)
        assert stream.trailer is not None
        assert (stream.content, stream.trailer.reason) == (b"some", "")
        assert stream.destinations == {("bob",)}
        assert stream.header.stream_id == writer.info.stream_id


@either
@pytest.mark.rule("S4")
async def test_await_opens_the_stream_and_leaves_the_end_to_the_writer(open_stream: Open) -> None:
    server, room = server_with(peer("bob")), Room()
    async with room.connect(server, "a token", reconnect=None):
        writer = await open_stream(room)
        await writer.write(CONTENT[type(writer)])
        assert await packets_of(room, server) == ["stream_header", "stream_chunk"]
        await writer.aclose()
        assert await packets_of(room, server) == ["stream_trailer"]


@either
@pytest.mark.rule("S6")
async def test_an_exception_in_the_block_comes_out_of_it_and_breaks_the_stream_off(
    open_stream: Open,
) -> None:
    async def fail(opening: StreamOpening[Any]) -> None:
        async with opening:
            raise KeyError("secret")

    server, room = server_with(peer("bob")), Room()
    async with room.connect(server, "a token", reconnect=None):
        with pytest.raises(KeyError, match="secret"):
            await fail(open_stream(room))
        stream = await expect_stream(server)
        assert stream.trailer is not None
        assert stream.trailer.reason == "the sender broke off"


@either
async def test_an_opening_that_is_neither_entered_nor_awaited_does_nothing(
    open_stream: Open,
) -> None:
    server, room = server_with(peer("bob")), Room()
    async with room.connect(server, "a token", reconnect=None):
        # A coroutine that is left behind would warn, and warnings are errors.
        open_stream(room)
        assert await packets_of(room, server) == []


@either
@pytest.mark.parametrize("first", ["await", "async with"])
@pytest.mark.parametrize("second", ["await", "async with"])
async def test_a_stream_is_opened_once(open_stream: Open, first: str, second: str) -> None:
    async def use(opening: StreamOpening[Any], how: str) -> None:
        if how == "await":
            await opening
        else:
            async with opening:
                pass

    server, room = server_with(peer("bob")), Room()
    async with room.connect(server, "a token", reconnect=None):
        opening = open_stream(room)
        await use(opening, first)
        before = await packets_of(room, server)
        assert before == ["stream_header", *["stream_trailer"] * (first == "async with")]
        with pytest.raises(RuntimeError, match=r"^this stream was opened already"):
            await use(opening, second)
        assert await packets_of(room, server) == []


@either
@pytest.mark.parametrize("how", ["await", "async with"])
async def test_an_opening_that_is_cancelled_while_it_waits_sends_nothing(
    open_stream: Open, how: str
) -> None:
    async def use(opening: StreamOpening[Any]) -> None:
        if how == "await":
            await opening
        else:
            async with opening:
                pytest.fail("it was opened")

    server, room = server_with(peer("bob")), Room()
    holding = Holding(server, lambda packet: packet.HasField("stream_header"))
    async with room.connect(holding, "a token", reconnect=None):
        with anyio.move_on_after(1) as scope:
            await use(open_stream(room))
        assert scope.cancelled_caught
        holding.link.released.set()
        assert await packets_of(room, server) == []


@either
async def test_what_we_may_not_do_is_told_when_the_stream_is_opened(open_stream: Open) -> None:
    alice = participant_info("alice")
    alice.permission.CopyFrom(models.ParticipantPermission(can_publish_data=False))
    room = Room()
    async with room.connect(server_with(peer("bob"), local=alice), "a token"):
        opening = open_stream(room)
        with pytest.raises(StreamError, match="'alice' lacks the grant canPublishData"):
            await opening

"""Sending texts: their form, their destinations, and their packets (rules S4, S5, P4)."""

from __future__ import annotations

import os
import random
import string
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from livekit.protocol import models

from trio_rpc import Room, StreamError

from ..support.scripted_server import ScriptedServer, participant_info
from ..support.stream_packets import (
    CANCELLATION,
    DEFLATE_RAW,
    MAX_CHUNK,
    expect_stream,
    expect_whole_stream,
    peer,
    server_with,
)

pytestmark = pytest.mark.anyio

V1: Final = (0, ())
CHUNKS: Final = (1, ())
CHUNKS_DEFLATE: Final = (1, (DEFLATE_RAW,))
INLINE: Final = (2, (CANCELLATION,))
ALL: Final = (2, (DEFLATE_RAW,))
NEWER: Final = (7, (DEFLATE_RAW, 99))
Kind = tuple[int, tuple[int, ...]]


def incompressible(size: int) -> str:
    return "".join(random.Random(size).choices(string.printable, k=size))


@asynccontextmanager
async def alice_among(*kinds: Kind) -> AsyncIterator[tuple[Room, ScriptedServer]]:
    """Alice, in a room with participants "0", "1", … of these kinds."""
    others = [peer(str(number), *kind) for number, kind in enumerate(kinds)]
    server, room = server_with(*others), Room()
    async with room.connect(server, "a token", reconnect=None):
        yield room, server


@pytest.mark.rule("S4", "S5")
@pytest.mark.parametrize(
    ("kinds", "text", "form"),
    [
        ([ALL], "", "inline"),
        ([ALL], "hi", "inline"),
        ([ALL], "x" * 14_000, "inline"),
        ([ALL], "x" * 15_000, "inline, deflated"),
        ([ALL], incompressible(15_000), "inline, deflated"),
        ([ALL], incompressible(60_000), "chunked, deflated"),
        ([NEWER], "x" * 20_000, "inline, deflated"),
        ([INLINE], "", "inline"),
        ([INLINE], "x" * 14_000, "inline"),
        ([INLINE], "x" * 15_000, "chunked"),
        ([CHUNKS], "", "chunked"),
        ([CHUNKS], "hi", "chunked"),
        ([CHUNKS_DEFLATE], "x" * 14_000, "chunked"),
        ([V1], "hi", "chunked"),
        ([ALL, ALL], "hi", "inline"),
        ([ALL, ALL], "x" * 20_000, "inline, deflated"),
        ([ALL, INLINE], "x" * 14_000, "inline"),
        ([ALL, INLINE], "x" * 15_000, "chunked"),
        ([ALL, CHUNKS], "hi", "chunked"),
        ([ALL, CHUNKS_DEFLATE], "x" * 14_000, "chunked"),
        ([ALL, V1], "x" * 14_000, "chunked"),
        ([], "hi", "inline"),
    ],
)
async def test_a_broadcast_takes_the_form_that_everybody_understands(
    kinds: list[Kind], text: str, form: str
) -> None:
    async with alice_among(*kinds) as (room, server):
        info = await room.local_participant.send_text(text, topic="notes")
        stream = await expect_whole_stream(server)
        assert stream.form == form
        assert stream.content == text.encode()
        assert stream.destinations == {()}
        assert stream.header.stream_id == info.stream_id
        assert info.size == len(text.encode())


@pytest.mark.rule("S5", "P4")
@pytest.mark.parametrize(
    ("destinations", "form"),
    [
        (["0"], "inline, deflated"),
        (["1"], "chunked"),
        (["2"], "chunked"),
        (["0", "1"], "chunked"),
        (["0", "2"], "chunked"),
        (["nobody"], "chunked"),
        (["0", "nobody"], "chunked"),
    ],
)
async def test_only_those_count_whom_a_text_is_meant_for(
    destinations: list[str], form: str
) -> None:
    async with alice_among(ALL, INLINE, V1) as (room, server):
        await room.local_participant.send_text("x" * 20_000, destination_identities=destinations)
        stream = await expect_whole_stream(server)
        assert stream.form == form
        assert stream.destinations == {tuple(destinations)}


@pytest.mark.rule("S5")
async def test_a_packet_of_at_most_15000_bytes_is_inline_and_a_larger_one_is_not() -> None:
    forms: dict[int, str] = {}
    largest = 0
    async with alice_among(INLINE) as (room, server):
        for size in range(14_850, 14_960):
            await room.local_participant.send_text("x" * size)
            stream = await expect_whole_stream(server)
            forms[size] = stream.form
            if stream.is_inline:
                largest = stream.packets[0].ByteSize()
    assert list(dict.fromkeys(forms.values())) == ["inline", "chunked"]
    # Some bytes are left for the number that the packet gets on its way.
    assert MAX_CHUNK - 8 < largest <= MAX_CHUNK


@pytest.mark.rule("S4")
@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", []),
        ("x" * 15_000, [15_000]),
        ("x" * 15_001, [15_000, 1]),
        ("é" * 7_500, [15_000]),
        ("x" + "é" * 7_500, [14_999, 2]),
        ("€" * 5_001, [15_000, 3]),
        ("x" + "€" * 5_000, [14_998, 3]),
        ("xx" + "€" * 5_000, [14_999, 3]),
        ("🙂" * 3_751, [15_000, 4]),
        ("x" + "🙂" * 3_750, [14_997, 4]),
        ("xx" + "🙂" * 3_750, [14_998, 4]),
        ("xxx" + "🙂" * 3_750, [14_999, 4]),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
async def test_a_text_is_cut_between_characters(text: str, sizes: list[int]) -> None:
    async with alice_among(V1) as (room, server):
        await room.local_participant.send_text(text)
        stream = await expect_whole_stream(server)
        assert [len(chunk.content) for chunk in stream.chunks] == sizes
        assert "".join(chunk.content.decode() for chunk in stream.chunks) == text


@pytest.mark.rule("S4")
@pytest.mark.parametrize("kind", [ALL, V1])
async def test_the_header_of_a_text_says_what_it_is_about(kind: Kind) -> None:
    before = time.time_ns() // 1_000_000
    async with alice_among(kind) as (room, server):
        info = await room.local_participant.send_text(
            "hi", topic="notes", attributes={"lang": "en"}, reply_to_id="the question"
        )
        header = (await expect_whole_stream(server)).header
        assert (header.topic, header.mime_type) == ("notes", "text/plain")
        assert dict(header.attributes) == {"lang": "en"}
        assert header.WhichOneof("content_header") == "text_header"
        assert header.text_header.reply_to_stream_id == "the question"
        assert header.text_header.operation_type == models.DataStream.OperationType.CREATE
        assert before <= header.timestamp == info.timestamp <= time.time_ns() // 1_000_000
        assert header.total_length == info.size == 2


@pytest.mark.rule("S4")
async def test_reliable_packets_of_a_stream_are_numbered() -> None:
    async with alice_among(V1) as (room, server):
        await room.local_participant.send_text("x" * 40_000)
        stream = await expect_whole_stream(server)
        assert [packet.sequence for packet in stream.packets] == [1, 2, 3, 4, 5]
        assert {packet.kind for packet in stream.packets} == {models.DataPacket.RELIABLE}


# Pieces, bytes, files


@pytest.mark.rule("S4", "P4")
@pytest.mark.parametrize("kind", [ALL, V1])
async def test_a_text_in_pieces_is_chunked_for_every_receiver(kind: Kind) -> None:
    async with alice_among(kind) as (room, server):
        writer = await room.local_participant.stream_text(
            topic="story", destination_identities=["0"], attributes={"a": "b"}
        )
        async with writer:
            await writer.write("Once ")
            await writer.write("")
            await writer.write("é" * 8_000)
        stream = await expect_stream(server)
        assert stream.form == "chunked"
        assert not stream.header.HasField("total_length")
        assert stream.content.decode() == "Once " + "é" * 8_000
        assert [len(chunk.content) for chunk in stream.chunks] == [5, 15_000, 1_000]
        assert [chunk.chunk_index for chunk in stream.chunks] == [0, 1, 2]
        assert stream.trailer is not None
        assert stream.trailer.reason == ""
        assert stream.destinations == {("0",)}
        assert stream.header.stream_id == writer.info.stream_id


@pytest.mark.rule("S4", "P4")
async def test_bytes_in_pieces() -> None:
    content = random.Random(1).randbytes(33_000)
    async with alice_among(ALL) as (room, server):
        writer = await room.local_participant.stream_bytes(
            "a.bin",
            topic="bulk",
            destination_identities=["0"],
            attributes={"a": "b"},
            mime_type="image/png",
            total_size=len(content),
        )
        async with writer:
            await writer.write(content[:1_000])
            await writer.write(content[1_000:])
        stream = await expect_whole_stream(server)
        assert stream.content == content
        assert [len(chunk.content) for chunk in stream.chunks] == [1_000, 15_000, 15_000, 2_000]
        header = stream.header
        assert (header.topic, header.mime_type) == ("bulk", "image/png")
        assert (header.byte_header.name, dict(header.attributes)) == ("a.bin", {"a": "b"})
        assert stream.destinations == {("0",)}


@pytest.mark.real_time
@pytest.mark.rule("S4")
@pytest.mark.parametrize(
    ("name", "mime_type"), [("a.png", "image/png"), ("a.unheard-of", "application/octet-stream")]
)
@pytest.mark.parametrize("size", [0, 1, 15_000, 500_000])
async def test_a_file(name: str, mime_type: str, size: int, tmp_path: Path) -> None:
    content = random.Random(size).randbytes(size)
    path = tmp_path / name
    path.write_bytes(content)
    progress: list[tuple[int, int]] = []
    async with alice_among(ALL) as (room, server):
        info = await room.local_participant.send_file(
            path, topic="bulk", on_progress=lambda *numbers: progress.append(numbers)
        )
        stream = await expect_whole_stream(server)
        assert stream.content == content
        assert stream.header.byte_header.name == info.name == name
        assert stream.header.mime_type == info.mime_type == mime_type
        assert stream.header.total_length == info.size == size
    sent = [done for done, _ in progress]
    assert sent == sorted(sent)
    assert sent[-1:] == ([size] if size else [])
    assert {total for _, total in progress} <= {size}


@pytest.mark.real_time
async def test_a_file_that_is_not_there_is_not_announced(tmp_path: Path) -> None:
    async with alice_among(ALL) as (room, server):
        with pytest.raises(FileNotFoundError):
            await room.local_participant.send_file(tmp_path / "absent")
        await room.local_participant.send_text("next")
        assert (await expect_whole_stream(server)).content == b"next"


@pytest.mark.real_time
@pytest.mark.rule("S6")
@pytest.mark.parametrize(("delta", "what"), [(1, "grew"), (-1, "shrank")])
async def test_a_file_that_changes_its_size_breaks_off(
    delta: int, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(600_000))

    def change(sent: int, size: int) -> None:
        os.truncate(path, 600_000 + delta)

    async with alice_among(ALL) as (room, server):
        with pytest.raises(StreamError, match=f"a.bin {what} while it was sent"):
            await room.local_participant.send_file(path, on_progress=change)
        stream = await expect_stream(server)
        assert stream.trailer is not None
        assert stream.trailer.reason == "the sender broke off"


# Refusals

NOT_PERMITTED: Final = [
    ({"can_publish_data": False}, "'alice' lacks the grant canPublishData"),
    ({"hidden": True, "can_publish_data": True}, "'alice' is a hidden participant"),
]


async def attempts(room: Room, path: Path) -> list[Exception]:
    """Return the exception of each way of sending a stream."""
    alice = room.local_participant
    errors: list[Exception] = []
    for attempt in (
        alice.send_text("hi"),
        alice.stream_text(),
        alice.stream_bytes("a.bin"),
        alice.send_file(path),
    ):
        with pytest.raises(StreamError) as caught:
            await attempt
        errors.append(caught.value)
    return errors


@pytest.mark.rule("C12", "V3")
@pytest.mark.parametrize(("permission", "reason"), NOT_PERMITTED)
async def test_who_may_not_send_data_sends_no_stream(
    permission: dict[str, Any], reason: str
) -> None:
    alice = participant_info("alice")
    alice.permission.CopyFrom(models.ParticipantPermission(**permission))
    room = Room()
    async with room.connect(server_with(peer("bob"), local=alice), "a token"):
        for error in await attempts(room, Path(__file__)):
            assert str(error).startswith(reason)


async def test_who_has_left_sends_no_stream() -> None:
    async with alice_among(ALL) as (room, _):
        await room.disconnect()
        for error in await attempts(room, Path(__file__)):
            assert str(error) == "not sent: we left the room"


async def test_destinations_are_a_sequence() -> None:
    async with alice_among(ALL) as (room, _):
        with pytest.raises(TypeError, match="a sequence of identities"):
            await room.local_participant.send_text("hi", destination_identities="bob")

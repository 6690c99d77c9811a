"""Streams that do not come to their proper end: each fails alone (rules S6 and S7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models

from trio_rpc import ByteStreamReader, Room, StreamError, TextStreamReader
from trio_rpc.protocol.stream_assembly import StreamAssembly

from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    byte_header,
    deflated,
    peer,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    text_header,
)
from .receiving import collecting

pytestmark = pytest.mark.anyio

Break = Callable[[ScriptedServer], None]


def broken(*chunks: tuple[int, bytes], **header: Any) -> Break:
    """Return a sender of a stream of these chunks without a trailer."""

    def send(server: ScriptedServer) -> None:
        send_header(server, text_header(**header))
        for index, content in chunks:
            send_chunk(server, index, content)

    return send


def ended(*chunks: bytes, reason: str = "", **header: Any) -> Break:
    """Return a sender of a stream of these chunks and a trailer."""

    def send(server: ScriptedServer) -> None:
        send_stream(server, text_header(**header), chunks, reason=reason)

    return send


def inline(content: bytes, **header: Any) -> Break:
    def send(server: ScriptedServer) -> None:
        send_header(server, text_header(inline_content=content, **header))

    return send


HELLO: Final = deflated(b"hello " * 100)
INVALID_DEFLATE: Final = "it is not deflate-raw"

BREAKS: Final[dict[str, tuple[Break, str]]] = {
    "a gap": (broken((0, b"a"), (2, b"c")), "chunk 1 is missing: 2 came"),
    "no first chunk": (broken((1, b"a")), "chunk 0 is missing: 1 came"),
    "a chunk twice": (broken((0, b"a"), (0, b"a")), "chunk 1 is missing: 0 came"),
    "too much": (broken((0, b"abc"), total_length=2), "2 bytes were announced, and 3 have come"),
    "more than nothing": (broken((0, b"a"), total_length=0), "0 bytes were announced, and 1 have"),
    "too little": (ended(b"a", total_length=2), "2 bytes were announced, and only 1 have come"),
    "nothing": (ended(total_length=1), "1 bytes were announced, and only 0 have come"),
    "a reason": (ended(b"a", reason="ran out"), "its sender gave up: ran out"),
    "unknown compression": (broken(compression=9), "it is compressed in an unknown way, 9"),
    "unknown compression, inline": (inline(b"a", compression=9), "it is compressed in an unknown"),
    "garbage": (broken((0, b"\xff" * 20), compression=1), INVALID_DEFLATE),
    "garbage, inline": (inline(b"\xff" * 20, compression=1), INVALID_DEFLATE),
    "more after the end": (
        ended(HELLO, b"more", compression=1),
        "there is something after the end of the compressed content",
    ),
    "more after the end, in one chunk": (
        inline(HELLO + b"more", compression=1),
        "there is something after the end of the compressed content",
    ),
    "no end": (ended(HELLO[:-1], compression=1), "the compressed content has no end"),
    "no end, inline": (inline(HELLO[:-1], compression=1), "the compressed content has no end"),
    "inflates to too much": (
        ended(HELLO, compression=1, total_length=599),
        "599 bytes were announced, and 600 have come",
    ),
    "inflates to too little": (
        ended(HELLO, compression=1, total_length=601),
        "601 bytes were announced, and only 600 have come",
    ),
    "not UTF-8": (ended(b"\xff"), "it is not UTF-8"),
    "half a character": (ended("€".encode()[:2]), "it is not UTF-8"),
    "a surrogate": (ended(b"\xed\xa0\x80"), "it is not UTF-8"),
}


@pytest.mark.rule("S6", "P8")
@pytest.mark.parametrize("name", BREAKS)
async def test_a_stream_that_is_not_right_fails_alone(name: str) -> None:
    break_off, problem = BREAKS[name]
    async with collecting() as (room, server, collected):
        send_header(server, text_header("other"))
        send_chunk(server, 0, b"one ", stream_id="other")
        break_off(server)
        assert (await collected.failure()).startswith(problem)
        assert room.statistics().open_streams == 1
        # Whatever else comes of it is ignored, and the others go on.
        send_chunk(server, 9, b"more")
        send_trailer(server)
        send_chunk(server, 1, b"two", stream_id="other")
        send_trailer(server, stream_id="other")
        assert await collected.outcome("other") == "one two"
        assert room.isconnected()
        assert room.statistics().open_streams == 0


@pytest.mark.rule("S6")
async def test_what_came_before_the_failure_can_be_read() -> None:
    readers: list[ByteStreamReader] = []
    async with collecting() as (room, server, _):
        room.register_byte_stream_handler("kept", lambda reader, _sender: readers.append(reader))
        header = byte_header(topic="kept", total_length=100)
        send_stream(server, header, [b"one", b"two"], reason="no more")
        await server.settle(room)
        (reader,) = readers
        assert [await anext(reader), await anext(reader)] == [b"one", b"two"]
        for _ in range(2):
            with pytest.raises(StreamError, match="its sender gave up: no more"):
                await anext(reader)
        assert reader.progress == 0.06


@pytest.mark.rule("S6")
async def test_a_sender_that_leaves_ends_its_streams_and_no_others() -> None:
    async with collecting() as (room, server, collected):
        for sender in ("bob", "carol"):
            send_header(server, text_header(sender), sender=sender)
            send_chunk(server, 0, b"hi", stream_id=sender, sender=sender)
        bob = peer("bob")
        bob.state = models.ParticipantInfo.DISCONNECTED
        server.announce(bob)
        assert await collected.failure("bob") == "'bob' left the room"
        assert room.statistics().open_streams == 1
        send_trailer(server, stream_id="carol", sender="carol")
        assert await collected.outcome("carol") == "hi"


@pytest.mark.rule("S6")
async def test_a_stream_of_which_nothing_comes_for_30_seconds_is_given_up() -> None:
    async with collecting() as (_, server, collected), anyio.create_task_group() as tasks:

        async def keep_alive() -> None:
            while True:
                await anyio.sleep(1)
                server.send_signal(pong=1)

        tasks.start_soon(keep_alive)
        send_header(server, text_header("silent"))
        send_header(server, text_header("slow"))
        started = anyio.current_time()
        for index in range(4):
            send_chunk(server, index, b"x", stream_id="slow")
            await anyio.sleep(20)
        assert await collected.failure("silent") == "nothing of it came for 30 s"
        send_trailer(server, stream_id="slow")
        assert await collected.outcome("slow") == "xxxx"
        assert anyio.current_time() - started == pytest.approx(80)
        send_header(server, text_header("late"))
        await anyio.sleep(29)
        assert "late" not in collected.outcomes
        await anyio.sleep(7)
        assert await collected.failure("late") == "nothing of it came for 30 s"
        tasks.cancel_scope.cancel()


@pytest.mark.rule("S6")
async def test_headers_that_are_none_or_known_are_ignored() -> None:
    async with collecting() as (room, server, collected):
        send_header(server, models.DataStream.Header(stream_id="S", topic="notes"))
        send_chunk(server, 0, b"of no stream")
        send_trailer(server)
        send_header(server, text_header("T"))
        send_header(server, text_header("T", total_length=1))
        send_chunk(server, 0, b"hello", stream_id="T")
        send_trailer(server, stream_id="T")
        assert await collected.outcome("T") == "hello"
        await server.settle(room)
        assert list(collected.outcomes) == ["T"]


# Limits of a stream


@pytest.mark.rule("S7")
@pytest.mark.parametrize("as_inline", [False, True])
async def test_a_zip_bomb_ends_its_stream(as_inline: bool) -> None:
    bomb = deflated(bytes(1_000_000))
    assert len(bomb) < 1_100
    async with collecting(max_stream_bytes=50_000) as (_, server, collected):
        if as_inline:
            inline(bomb, compression=1)(server)
        else:
            ended(bomb, compression=1)(server)
        assert (await collected.failure()).startswith("it has more than 50,000 bytes that are not")


@pytest.mark.rule("S7")
@pytest.mark.parametrize("size", [49_999, 50_000, 50_001])
async def test_a_text_may_inflate_to_the_limit(size: int) -> None:
    async with collecting(max_stream_bytes=50_000) as (_, server, collected):
        inline(deflated(bytes(size)), compression=1)(server)
        outcome = await collected.outcome("S")
        assert isinstance(outcome, StreamError) is (size > 50_000)


@pytest.mark.rule("S7")
async def test_what_is_not_read_may_not_grow_for_ever() -> None:
    readers: list[TextStreamReader] = []
    async with collecting(max_stream_bytes=10_000) as (room, server, _):
        room.register_text_stream_handler("kept", lambda reader, _sender: readers.append(reader))
        send_header(server, text_header(topic="kept"))
        for index in range(100):
            send_chunk(server, index, b"x" * 4_000)
        await server.settle(room)
        (reader,) = readers
        assert room.statistics().open_streams == 0
        assert len(await anext(reader)) + len(await anext(reader)) == 8_000
        with pytest.raises(StreamError, match="it has more than 10,000 bytes that are not read"):
            await anext(reader)


@pytest.mark.rule("S7")
async def test_who_reads_piece_by_piece_may_read_any_amount() -> None:
    sizes: list[int] = []
    ended_at = anyio.Event()

    async def read(reader: TextStreamReader, sender: str) -> None:
        sizes.extend([len(piece) async for piece in reader])
        ended_at.set()

    async with collecting(max_stream_bytes=10_000) as (room, server, _):
        room.register_text_stream_handler("read", read)
        send_header(server, text_header(topic="read"))
        for index in range(20):
            send_chunk(server, index, b"x" * 4_000)
            await server.settle(room)
            await anyio.wait_all_tasks_blocked()
        send_trailer(server)
        await ended_at.wait()
    assert sum(sizes) == 80_000


@pytest.mark.rule("S7")
async def test_read_all_reads_up_to_the_limit() -> None:
    async with collecting(max_stream_bytes=10_000) as (room, server, collected):
        for stream_id, count in (("fits", 10), ("does not", 11)):
            send_header(server, text_header(stream_id))
            for index in range(count):
                send_chunk(server, index, b"x" * 1_000, stream_id=stream_id)
                await server.settle(room)
                await anyio.wait_all_tasks_blocked()
            send_trailer(server, stream_id=stream_id)
        assert await collected.outcome("fits") == "x" * 10_000
        assert (await collected.failure("does not")).startswith("it has more than 10,000 bytes")


@pytest.mark.rule("B4", "B5")
@pytest.mark.parametrize(
    "name",
    [
        "max_stream_bytes",
        "max_payload_bytes",
        "max_waiting_requests",
        "max_peer_streams",
        "max_streams",
        "max_peer_bytes",
        "max_peers_bytes",
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_at_least_1(name: str, value: int) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name} is at least 1, not {value}$"):
        Room(**limits)


# Anything at all

pieces = st.binary(max_size=40) | st.just(HELLO) | st.just(HELLO[:10]) | st.just(HELLO[10:])


@pytest.mark.rule("S6")
@settings(max_examples=300)
@given(
    total_length=st.none() | st.integers(0, 2**64 - 1) | st.integers(0, 700),
    compression=st.integers(0, 3),
    chunks=st.lists(st.tuples(st.integers(0, 4) | st.none(), pieces), max_size=6),
    reason=st.text(max_size=3),
)
def test_random_chunks_raise_nothing_but_stream_errors(
    total_length: int | None,
    compression: int,
    chunks: list[tuple[int | None, bytes]],
    reason: str,
) -> None:
    header = models.DataStream.Header(total_length=total_length)
    header.compression = compression  # type: ignore[assignment]
    received = 0
    try:
        assembly = StreamAssembly(header)
        for position, (index, content) in enumerate(chunks):
            chunk_index = position if index is None else index
            received += len(
                assembly.add_chunk(
                    models.DataStream.Chunk(chunk_index=chunk_index, content=content)
                )
            )
        assembly.finish(reason)
    except StreamError:
        return
    assert reason == ""
    # What compressed content inflates to, its reader sees.
    assert compression == 1 or total_length in {None, received}

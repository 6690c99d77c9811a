"""Receivers of hostile senders' streams (B2, B4, B5, B6)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import DataPacket, StreamError, TextStreamReader

from ..streams.receiving import collecting
from ..support.stream_packets import (
    byte_header,
    deflated,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    text_header,
)
from ..support.turns import CountedTurns

pytestmark = pytest.mark.anyio


@pytest.mark.rule("B5")
async def test_streams_of_one_sender_are_bounded() -> None:
    async with collecting(max_peer_streams=10, max_streams=15) as (room, server, collected):
        for number in range(1_000):
            send_header(server, text_header(str(number)))
        send_stream(server, text_header("carol's"), [b"hello"], sender="carol")
        assert await collected.outcome("carol's") == "hello"
        assert room.statistics().open_streams == 10
        assert len(collected.readers) == 11
        for number in range(10):
            send_header(server, text_header(f"c{number}"), sender="carol")
        await server.settle(room)
        assert room.statistics().open_streams == 15
        send_trailer(server, stream_id="0")
        send_header(server, text_header("next"))
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        assert "next" in collected.readers


@pytest.mark.rule("B4")
async def test_headers_count_against_the_budget_of_their_sender() -> None:
    attributes = {f"{number}": "x" * 900 for number in range(60)}
    async with collecting(max_peer_bytes=1_000_000) as (room, server, collected):
        for number in range(50):
            send_header(server, text_header(str(number), attributes=attributes))
        await server.settle(room)
        assert 2 <= room.statistics().open_streams < 10
        assert 500_000 < room.statistics().held_bytes <= 1_000_000
        send_stream(server, text_header("carol's"), [b"hello"], sender="carol")
        assert await collected.outcome("carol's") == "hello"


@pytest.mark.rule("B4")
async def test_content_counts_against_the_budget_of_its_sender() -> None:
    async with collecting(max_peer_bytes=100_000) as (room, server, collected):
        for number in range(5):
            send_header(server, text_header(str(number)))
        for number in range(5):
            send_chunk(server, 0, b"x" * 15_000, stream_id=str(number))
        await server.settle(room)
        assert room.statistics().held_bytes <= 100_000
        for number in range(5):
            send_trailer(server, stream_id=str(number))
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        failed = [
            str(outcome) for outcome in collected.outcomes.values() if type(outcome) is StreamError
        ]
        assert failed
        assert all("the limit of 100,000 (max_peer_bytes)" in error for error in failed)
        send_stream(server, text_header("carol's"), [b"hello"], sender="carol")
        assert await collected.outcome("carol's") == "hello"
    assert room.statistics().held_bytes == 0


@pytest.mark.rule("B4")
@pytest.mark.parametrize("letter", ["a", "ä", "語"])
async def test_a_text_in_tiny_pieces_counts_no_more_than_in_large_ones(letter: str) -> None:
    async with collecting(max_peer_bytes=100_000) as (room, server, collected):
        send_header(server, text_header("slow"))
        await server.settle(room)
        # Each is read before the next comes.
        for number in range(10_000):
            send_chunk(server, number, letter.encode(), stream_id="slow")
            if number % 100 == 99:
                await server.settle(room)
        send_trailer(server, stream_id="slow")
        assert await collected.outcome("slow") == letter * 10_000


@pytest.mark.rule("B4")
async def test_nothing_is_kept_for_a_topic_without_a_handler() -> None:
    async with collecting() as (room, server, _):
        for number in range(100):
            send_header(server, byte_header(str(number), topic="unknown"))
            send_chunk(server, 0, b"x" * 15_000, stream_id=str(number))
        await server.settle(room)
        assert room.statistics().held_bytes == 0
        assert room.statistics().open_streams == 0


@pytest.mark.rule("B5")
async def test_a_stream_that_is_not_read_any_more_is_dropped() -> None:
    async with collecting() as (room, server, _):

        async def read_a_little(reader: TextStreamReader, _sender: str) -> None:
            await anext(reader)

        room.register_text_stream_handler("a little", read_a_little)
        room.register_text_stream_handler("nothing", lambda _reader, _sender: None)
        send_header(server, text_header("1", topic="a little"))
        send_header(server, text_header("2", topic="nothing"))
        send_chunk(server, 0, b"hello", stream_id="1")
        send_chunk(server, 0, b"hello", stream_id="2")
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        assert room.statistics().open_streams == 0
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B5")
async def test_a_plain_function_may_pass_its_reader_on() -> None:
    readers: list[TextStreamReader] = []
    async with collecting() as (room, server, _):
        room.register_text_stream_handler("kept", lambda reader, _sender: readers.append(reader))
        send_header(server, text_header(topic="kept"))
        send_chunk(server, 0, b"hel")
        await server.settle(room)
        send_chunk(server, 1, b"lo")
        send_trailer(server)
        assert await readers[0].read_all() == "hello"
        assert room.statistics().held_bytes == 0


@pytest.mark.rule("B6", "S7")
async def test_a_bomb_comes_out_in_pieces() -> None:
    sizes: list[int] = []
    held: list[int] = []
    ended = anyio.Event()

    async with collecting() as (room, server, _):

        async def read(reader: Any, _sender: str) -> None:
            async for piece in reader:
                sizes.append(len(piece))
                held.append(room.statistics().held_bytes)
            ended.set()

        room.register_byte_stream_handler("bomb", read)
        content = bytes(50_000_000)
        bomb = deflated(content)
        header = byte_header(topic="bomb", total_length=len(content), compression=1)
        send_stream(server, header, [bomb[at : at + 15_000] for at in range(0, len(bomb), 15_000)])
        await ended.wait()
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 64 * 1024
    assert max(held) < 1_000_000


@pytest.mark.rule("B6", "B7")
async def test_others_have_their_turn_while_a_bomb_inflates() -> None:
    async with collecting(max_stream_bytes=16_000_000) as (_, server, collected):
        bomb = deflated(bytes(15_000_000))
        async with CountedTurns() as turns:
            before = turns.count
            header = text_header(compression=1, inline_content=bomb[:15_000])
            assert len(bomb) <= 15_000
            send_header(server, header)
            assert len(str(await collected.outcome("S"))) == 15_000_000
            assert turns.count - before >= 15_000_000 // (64 * 1024)


@pytest.mark.rule("B2", "P8")
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"topic": "t" * 257}, "a topic of 257 bytes"),
        ({"mime_type": "m" * 257}, "a MIME type of 257 bytes"),
        ({"attributes": {"k" * 257: ""}}, "the key of an attribute of 257 bytes"),
        ({"attributes": {"": "v"}}, "the key of an attribute of 0 bytes"),
        ({"attributes": {"k": "v" * 32_769}}, "the value of an attribute of 32,769 bytes"),
        ({"attributes": {str(i): "" for i in range(257)}}, "257 attributes, over the limit of 256"),
    ],
)
async def test_a_header_out_of_bounds_is_malformed(
    fields: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "trio_rpc")
    async with collecting() as (room, server, collected):
        send_stream(server, text_header(**fields), [b"hello"])
        send_stream(server, text_header("x" * 257), [b"hello"])
        send_stream(server, text_header(""), [b"hello"])
        await server.settle(room)
        assert collected.readers == {}
    assert any(problem in message for message in caplog.messages)


@pytest.mark.rule("B2")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"topic": "t" * 257}, "a topic of 257 bytes: it has 0 to 256"),
        ({"attributes": {"": "v"}}, "the key of an attribute of 0 bytes: it has 1 to 256"),
        ({"destination_identities": ["bob"] * 1_001}, "1,001 destinations, over the limit"),
        ({"destination_identities": ["b" * 257]}, "a destination of 257 bytes"),
    ],
)
async def test_what_no_receiver_takes_is_not_sent(arguments: Any, problem: str) -> None:
    async with collecting() as (room, _, _):
        participant = room.local_participant
        with pytest.raises(ValueError, match=problem):
            await participant.send_text("hello", **arguments)
        with pytest.raises(ValueError, match=problem):
            await participant.stream_text(**arguments)
        with pytest.raises(ValueError, match=problem):
            await participant.stream_bytes("name", **arguments)


@pytest.mark.rule("B4")
async def test_events_for_callbacks_that_take_long_are_bounded() -> None:
    started: list[int] = []
    async with collecting(max_peer_bytes=200_000) as (room, server, collected):

        @room.on("data_received")
        async def take_long(packet: DataPacket) -> None:
            started.append(len(packet.data))
            await anyio.sleep_forever()

        for _ in range(100):
            server.send_from("bob", user=models.UserPacket(payload=b"x" * 10_000))
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        assert len(started) == 200_000 // (10_000 + 8 * 1024)
        assert room.statistics().held_bytes <= 200_000
        send_stream(server, text_header("carol's"), [b"hello"], sender="carol")
        assert await collected.outcome("carol's") == "hello"
    assert room.statistics().held_bytes == 0

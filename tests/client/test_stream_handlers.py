"""Handlers of streams by topic, and their readers."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from trio_rpc import ByteStreamReader, Room, StreamError, TextStreamReader

from ..conftest import Join
from ..streams.receiving import Collected, collecting
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    byte_header,
    deflated,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    text_header,
)

pytestmark = pytest.mark.anyio


# Registering


@pytest.mark.parametrize("kind", ["text", "byte"])
def test_a_topic_has_one_handler_of_each_kind(kind: str) -> None:
    room = Room()
    register = getattr(room, f"register_{kind}_stream_handler")
    unregister = getattr(room, f"unregister_{kind}_stream_handler")
    register("notes", print)
    register("other", print)
    with pytest.raises(ValueError, match="topic 'notes' has a stream handler"):
        register("notes", print)
    unregister("notes")
    register("notes", print)
    with pytest.raises(KeyError, match="topic 'absent' has no stream handler"):
        unregister("absent")
    with pytest.raises(TypeError, match="is not callable: 42"):
        register("numbers", 42)


@pytest.mark.parametrize("kind", ["text", "byte"])
def test_registering_is_also_a_decorator(kind: str) -> None:
    room = Room()
    register = getattr(room, f"register_{kind}_stream_handler")

    def take(reader: object, sender: str) -> None: ...

    assert register("notes")(take) is take
    assert register("other", take) is take
    with pytest.raises(ValueError, match="topic 'notes' has a stream handler"):
        register("notes")(print)
    with pytest.raises(TypeError, match="is not callable: 42"):
        register("numbers")(42)


@pytest.mark.parametrize("kind", ["text", "byte"])
def test_a_decorator_without_a_topic_is_refused(kind: str) -> None:
    register = getattr(Room(), f"register_{kind}_stream_handler")
    with pytest.raises(TypeError, match="the topic of streams is a str, not <built-in function p"):
        register(print)


async def test_handlers_that_are_decorated_get_their_streams() -> None:
    async with collecting() as (room, server, _):
        got: list[tuple[str, str | bytes]] = []

        @room.register_text_stream_handler("decorated")
        async def take_text(reader: TextStreamReader, sender: str) -> None:
            got.append((sender, await reader.read_all()))

        @room.register_byte_stream_handler("decorated")
        async def take_bytes(reader: ByteStreamReader, sender: str) -> None:
            got.append((sender, await reader.read_all()))

        send_stream(server, text_header("T", topic="decorated"), [b"text"])
        send_stream(server, byte_header("B", topic="decorated"), [b"bytes"])
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
        assert sorted(got, key=str) == [("bob", "text"), ("bob", b"bytes")]


async def test_texts_and_bytes_of_one_topic_have_handlers_of_their_own() -> None:
    async with collecting() as (room, server, texts), anyio.create_task_group():
        contents = Collected()
        room.register_byte_stream_handler("notes", contents)
        send_stream(server, text_header("T"), [b"text"])
        send_stream(server, byte_header("B"), [b"bytes"])
        assert await texts.outcome("T") == "text"
        assert await contents.outcome("B") == b"bytes"
        assert list(texts.outcomes) == ["T"]


async def test_a_stream_of_an_unknown_topic_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with collecting() as (room, server, collected):
        send_stream(server, text_header("1", topic="unknown"), [b"hi"])
        send_stream(server, byte_header("2", topic="notes"), [b"hi"])
        await server.settle(room)
        assert collected.outcomes == {}
        assert room.statistics().open_streams == 0
    ignored = [record for record in caplog.records if "has no handler" in record.message]
    assert [record.levelno for record in ignored] == [logging.DEBUG] * 2
    assert ignored[0].message == "ignored a stream of bob: topic 'unknown' has no handler"
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_handler_can_be_registered_and_unregistered_while_connected() -> None:
    async with collecting() as (room, server, collected):
        room.unregister_text_stream_handler("notes")
        send_stream(server, text_header("1"), [b"nobody"])
        await server.settle(room)
        room.register_text_stream_handler("notes", collected)
        send_stream(server, text_header("2"), [b"somebody"])
        assert await collected.outcome("2") == "somebody"
        assert list(collected.outcomes) == ["2"]


async def test_a_plain_function_gets_the_reader_and_the_sender() -> None:
    got: list[tuple[TextStreamReader, str]] = []
    async with collecting() as (room, server, _):
        room.register_text_stream_handler("plain", lambda *arguments: got.append(arguments))
        send_stream(server, text_header(topic="plain"), [b"hi"])
        await server.settle(room)
        ((reader, sender),) = got
        assert sender == "bob"
        assert await reader.read_all() == "hi"


async def fail_at_once(reader: TextStreamReader, sender: str) -> None:
    raise ValueError("a handler that fails")


async def fail_later(reader: TextStreamReader, sender: str) -> None:
    await reader.read_all()
    raise ValueError("a handler that fails")


def fail_plainly(reader: TextStreamReader, sender: str) -> None:
    raise ValueError("a handler that fails")


@pytest.mark.parametrize("handler", [fail_at_once, fail_later, fail_plainly])
async def test_a_handler_that_fails_is_logged_and_the_room_lives(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with collecting() as (room, server, collected):
        room.register_text_stream_handler("failing", handler)
        send_stream(server, text_header("1", topic="failing"), [b"hi"])
        send_stream(server, text_header("2"), [b"hi"])
        assert await collected.outcome("2") == "hi"
        await anyio.wait_all_tasks_blocked()
        assert room.isconnected()
        assert room.statistics().open_streams == 0
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "failing" in record.message
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a handler that fails"


async def test_handlers_are_cancelled_when_we_leave() -> None:
    ended: list[str] = []

    async def never_end(reader: TextStreamReader, sender: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(sender)

    async with collecting() as (room, server, _):
        room.register_text_stream_handler("hanging", never_end)
        send_stream(server, text_header(topic="hanging"))
        await server.settle(room)
        await anyio.wait_all_tasks_blocked()
    assert ended == ["bob"]


# Reading


async def test_a_reader_is_an_iterator_of_pieces_as_they_come() -> None:
    pieces: list[str] = []
    progress: list[tuple[int, float | None]] = []
    ended = anyio.Event()

    async def read(reader: TextStreamReader, sender: str) -> None:
        assert reader.info.attributes == {"lang": "en"}
        assert reader.info.reply_to_stream_id == ""
        async for piece in reader:
            pieces.append(piece)
            progress.append((reader.bytes_received, reader.progress))
        ended.set()

    async with collecting() as (room, server, _):
        room.register_text_stream_handler("read", read)
        header = text_header(topic="read", total_length=8, attributes={"lang": "en"})
        send_header(server, header)
        for index, content in enumerate([b"ab", b"c\xe2", b"\x82\xac", b"d"]):
            send_chunk(server, index, content)
            await server.settle(room)
            await anyio.wait_all_tasks_blocked()
        assert pieces == ["ab", "c", "€", "d"]
        assert not ended.is_set()
        assert progress == [(2, 0.25), (4, 0.5), (6, 0.75), (7, 0.875)]
        send_chunk(server, 4, b"e")
        send_trailer(server)
        await ended.wait()
        assert pieces[-1] == "e"


@pytest.mark.parametrize(
    ("total_length", "content", "progress"), [(0, b"", 1.0), (None, b"abc", None), (3, b"abc", 1.0)]
)
async def test_progress_is_known_where_the_size_is(
    total_length: int | None, content: bytes, progress: float | None
) -> None:
    async with collecting() as (_, server, collected):
        send_stream(server, text_header(total_length=total_length), [content] if content else [])
        assert await collected.outcome("S") == content.decode()
        reader = collected.readers["S"]
        assert reader.bytes_received == len(content)
        assert reader.progress == progress
        assert reader.info.size == total_length


async def test_read_all_returns_what_was_not_read_yet() -> None:
    got: list[str] = []

    async def read(reader: TextStreamReader, sender: str) -> None:
        got.append(await anext(reader))
        got.append(await reader.read_all())
        got.append(await reader.read_all())

    async with collecting() as (room, server, collected):
        room.register_text_stream_handler("read", read)
        send_stream(server, text_header("1", topic="read"), [b"one", b"two", b"three"])
        send_stream(server, text_header("2"), [b"last"])
        await collected.outcome("2")
        await anyio.wait_all_tasks_blocked()
    assert got == ["one", "twothree", ""]


@pytest.mark.rule("S5")
@pytest.mark.parametrize("content", [b"", b"hi", "€" * 5_000])
@pytest.mark.parametrize("is_deflated", [False, True])
async def test_inline_content_is_read_as_any_other(content: Any, is_deflated: bool) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    async with collecting() as (room, server, collected):
        header = text_header(
            total_length=len(raw),
            inline_content=deflated(raw) if is_deflated else raw,
            compression=int(is_deflated),
        )
        send_header(server, header)
        assert await collected.outcome("S") == raw.decode()
        assert room.statistics().open_streams == 0


@pytest.mark.rule("P4")
async def test_only_those_get_a_stream_whom_it_names(join: Join) -> None:
    rooms = {identity: Room() for identity in ("bob", "carol", "dave")}
    collected = {identity: Collected() for identity in rooms}
    for identity, room in rooms.items():
        room.register_text_stream_handler("notes", collected[identity])
    async with (
        join("alice") as alice,
        join("bob", room=rooms["bob"]),
        join("carol", room=rooms["carol"]),
        join("dave", room=rooms["dave"]),
    ):
        await alice.wait_for_participant("dave")
        named = ["bob", "dave"]
        send = alice.local_participant.send_text
        for text, destinations in (("secret", named), ("öffentlich", [])):
            info = await send(text, topic="notes", destination_identities=destinations)
            for identity in destinations or list(rooms):
                assert await collected[identity].outcome(info.stream_id) == text
        opening = alice.local_participant.stream_text(topic="notes", destination_identities=named)
        async with opening as writer:
            await writer.write("in pieces")
        for identity in named:
            assert await collected[identity].outcome(writer.info.stream_id) == "in pieces"
        assert list(collected["carol"].outcomes.values()) == ["öffentlich"]


@pytest.mark.rule("S6")
async def test_streams_of_two_senders_with_one_id_are_two_streams() -> None:
    async with collecting() as (_, server, collected):
        collected.key = lambda _reader, sender: sender
        for sender in ("bob", "carol"):
            send_header(server, text_header(), sender=sender)
        for index in range(3):
            for sender in ("bob", "carol"):
                send_chunk(server, index, f"{sender[0]}{index}".encode(), sender=sender)
        send_trailer(server, sender="carol")
        assert await collected.outcome("carol") == "c0c1c2"
        send_trailer(server, sender="bob")
        assert await collected.outcome("bob") == "b0b1b2"


async def test_a_reader_that_waits_is_told_that_we_leave() -> None:
    async with collecting() as (room, server, _):
        got: list[Any] = []

        def keep(reader: ByteStreamReader, sender: str) -> None:
            got.append(reader)

        room.register_byte_stream_handler("kept", keep)
        send_header(server, byte_header(topic="kept"))
        send_chunk(server, 0, b"first")
        await server.settle(room)
        await room.disconnect()
        assert await anext(got[0]) == b"first"
        with pytest.raises(StreamError, match="we left the room"):
            await anext(got[0])
        assert isinstance(server, ScriptedServer)

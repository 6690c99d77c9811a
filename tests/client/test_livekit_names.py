"""Names and parameters of LiveKit's Python SDK that no other test is about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    ByteStreamReader,
    ConnectionQuality,
    ConnectionState,
    DataStreamOptions,
    DisconnectReason,
    ParticipantKindDetail,
    Room,
    RoomOptions,
    RpcError,
    RpcInvocationData,
    StreamError,
    TextStreamReader,
)
from trio_rpc.events import Moved, ParticipantDisconnected, RoomEvent

from ..conftest import Join
from ..support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio


async def test_a_room_has_the_properties_that_the_server_describes() -> None:
    room = Room(loop=object())
    assert (room.num_participants, room.departure_timeout, room.empty_timeout) == (0, 0.0, 0.0)
    assert room.creation_time == datetime(1970, 1, 1, tzinfo=UTC)
    server = ScriptedServer()
    server.join.room.MergeFrom(
        models.Room(
            num_participants=3, creation_time=1_700_000_000, departure_timeout=20, empty_timeout=300
        )
    )
    async with room.connect(server, "a token", RoomOptions(), reconnect=None):
        assert (room.num_participants, room.departure_timeout, room.empty_timeout) == (3, 20, 300)
        assert room.creation_time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


async def test_a_participant_has_the_properties_that_the_server_describes(join: Join) -> None:
    info = participant_info("carol", joined_at=1_700_000_000, kind_details=[0, 5])
    server = ScriptedServer()
    server.join.other_participants.append(info)
    async with Room().connect(server, "a token", reconnect=None) as room:
        carol, bob = (room.remote_participants[each] for each in ("carol", "bob"))
        assert carol.joined_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert bob.joined_at is None
        assert carol.kind_details == [
            ParticipantKindDetail.CLOUD_AGENT,
            ParticipantKindDetail.SIMULATION,
        ]
        assert bob.connection_quality is ConnectionQuality.QUALITY_UNKNOWN
        assert bob.disconnect_reason is None
    async with join("alice") as alice:
        async with join("bob") as bob_room:
            await alice.wait_for_participant("bob")
            joined = bob_room.local_participant.joined_at
        assert joined is not None
        assert joined.tzinfo is UTC


async def test_a_participant_that_has_left_says_why() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        async with room.events(ParticipantDisconnected) as events:
            bob = room.remote_participants["bob"]
            left = participant_info(
                "bob",
                state=models.ParticipantInfo.DISCONNECTED,
                disconnect_reason=models.DisconnectReason.PARTICIPANT_REMOVED,
            )
            server.announce(left)
            assert (await anext(events)).participant is bob
        assert bob.disconnect_reason is DisconnectReason.PARTICIPANT_REMOVED


async def test_one_may_leave_with_another_reason() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await room.disconnect(reason=DisconnectReason.USER_REJECTED)
        assert await room.wait_disconnected() is DisconnectReason.USER_REJECTED
        assert room.connection_state is ConnectionState.CONN_DISCONNECTED


async def test_being_moved_to_another_room_changes_the_room_and_its_participants() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        bob = room.remote_participants["bob"]
        async with room.events() as events:
            server.send_signal(
                room_moved=rtc.RoomMovedResponse(
                    room=models.Room(name="another room", sid="RM_2"),
                    token="another token",
                    participant=participant_info("alice"),
                    other_participants=[participant_info("carol")],
                )
            )
            happened: list[RoomEvent] = []
            while Moved() not in happened:
                happened.append(await anext(events))
        assert [each.name for each in happened] == [
            "room_updated",
            "participant_disconnected",
            "participant_connected",
            "participant_active",
            "moved",
        ]
        assert (room.name, room.sid) == ("another room", "RM_2")
        assert [*room.remote_participants] == ["carol"]
        with pytest.raises(RpcError) as caught:
            await bob.perform_rpc("greet", "hi")
        assert caught.value.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND


# Options


async def test_encryption_is_refused_rather_than_ignored(join: Join) -> None:
    for options in RoomOptions(encryption=object()), RoomOptions(e2ee=object()):
        with pytest.raises(ValueError, match="encryption is not supported"):
            async with Room().connect(ScriptedServer(), "a token", options):
                pass


async def test_the_options_limit_what_a_stream_may_hold(join: Join, server: Any) -> None:
    from ..support.tokens import make_token

    failures: list[StreamError] = []
    done = anyio.Event()
    room = Room()

    @room.register_text_stream_handler("notes")
    async def read(reader: TextStreamReader, sender: str) -> None:
        try:
            await reader.read_all()
        except StreamError as error:
            failures.append(error)
        done.set()

    options = RoomOptions(data_stream=DataStreamOptions(max_payload_byte_length=1_000))
    async with join("alice") as alice, room.connect(server, make_token("bob"), options):
        await alice.wait_for_participant("bob")
        await alice.local_participant.send_text("x" * 2_000, topic="notes")
        await done.wait()
    assert "1,000" in str(failures[0])


# Calls


@pytest.mark.rule("C2")
async def test_a_call_may_have_a_limit_of_its_own_for_its_ack() -> None:
    async with Room().connect(ScriptedServer(), "a token", reconnect=None) as room:
        started = anyio.current_time()
        with pytest.raises(RpcError, match="did not acknowledge 'greet' within 2 s") as caught:
            await room.local_participant.perform_rpc(
                destination_identity="bob",
                method="greet",
                payload="",
                response_timeout=None,
                max_round_trip_latency=2,
            )
        assert caught.value.code == RpcError.ErrorCode.CONNECTION_TIMEOUT
        assert anyio.current_time() - started == pytest.approx(2)


@pytest.mark.rule("C1")
async def test_no_timeout_is_the_default(join: Join) -> None:
    async def handler(data: RpcInvocationData) -> str:
        return f"{data.response_timeout:.0f}"

    async with join("alice") as alice, join("bob") as bob:
        bob.register_rpc_method("greet", handler)
        participant = await alice.wait_for_participant("bob")
        assert await participant.perform_rpc("greet", "", response_timeout=None) == "10"


# Streams


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("size", [0, 10, 20_000, 200_000])
async def test_bytes_are_sent_as_a_whole(join: Join, size: int, compress: bool) -> None:
    received: list[tuple[ByteStreamReader, bytes, str]] = []
    done = anyio.Event()
    data = bytes(size)
    async with join("alice") as alice, join("bob") as bob:

        @bob.register_byte_stream_handler("photos")
        async def read(reader: ByteStreamReader, sender: str) -> None:
            received.append((reader, await reader.read_all(), sender))
            done.set()

        await alice.wait_for_participant("bob")
        info = await alice.local_participant.send_bytes(
            data,
            topic="photos",
            name="black.png",
            mime_type="image/png",
            destination_identities=["bob"],
            attributes={"a": "1"},
            stream_id="S1",
            compress=compress,
        )
        await done.wait()
    reader, content, sender = received[0]
    assert (content, sender) == (data, "alice")
    for each in info, reader.info:
        assert (each.name, each.mime_type, each.size) == ("black.png", "image/png", size)
        assert (each.attributes, each.stream_id) == ({"a": "1"}, "S1")


async def test_bytes_without_a_description_have_the_usual_one(join: Join) -> None:
    async with join("alice") as alice:
        info = await alice.local_participant.send_bytes(b"x")
    assert (info.name, info.mime_type, info.topic) == ("unknown", "application/octet-stream", "")


async def test_a_stream_may_have_an_id_of_the_programs_choice(join: Join, tmp_path: Any) -> None:
    path = tmp_path / "note"
    path.write_text("hi")
    async with join("alice") as alice:
        us = alice.local_participant
        async with us.stream_text(stream_id="1", sender_identity="carol") as text:
            assert text.info.stream_id == "1"
        async with us.stream_bytes("name", stream_id="2") as content:
            assert content.info.stream_id == "2"
        assert (await us.send_file(path, stream_id="3", compress=False)).stream_id == "3"
        assert (await us.send_text("hi", compress=False, reply_to_id=None)).reply_to_stream_id == ""


Stop = Callable[[TextStreamReader], Any]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("stop", [TextStreamReader.close, TextStreamReader.aclose])
async def test_a_closed_reader_reads_no_further(join: Join, stop: Stop, compress: bool) -> None:
    rest: list[str] = []
    done = anyio.Event()
    async with join("alice") as alice, join("bob") as bob:

        @bob.register_text_stream_handler("notes")
        async def read(reader: TextStreamReader, sender: str) -> None:
            await anext(reader)
            for _ in range(2):
                if (stopping := stop(reader)) is not None:
                    await stopping
            rest.extend([piece async for piece in reader])
            done.set()

        await alice.wait_for_participant("bob")
        await alice.local_participant.send_text("x" * 200_000, topic="notes", compress=compress)
        await done.wait()
        assert bob.statistics().open_streams == 0
    assert rest == []


async def test_closing_a_reader_ends_a_read_that_waits(join: Join) -> None:
    ended = anyio.Event()
    readers: list[TextStreamReader] = []
    async with join("alice") as alice, join("bob") as bob:

        @bob.register_text_stream_handler("notes")
        async def read(reader: TextStreamReader, sender: str) -> None:
            readers.append(reader)
            assert [piece async for piece in reader] == ["the beginning"]
            ended.set()

        await alice.wait_for_participant("bob")
        async with alice.local_participant.stream_text(topic="notes") as writer:
            await writer.write("the beginning")
            await anyio.wait_all_tasks_blocked()
            readers[0].close()
            await ended.wait()


async def test_a_closed_reader_of_a_broken_stream_goes_on_saying_so(join: Join) -> None:
    failed = anyio.Event()
    async with join("bob") as bob:

        @bob.register_text_stream_handler("notes")
        async def read(reader: TextStreamReader, sender: str) -> None:
            with pytest.raises(StreamError):
                await reader.read_all()
            reader.close()
            with pytest.raises(StreamError):
                await anext(reader)
            failed.set()

        async with join("alice") as alice:
            await alice.wait_for_participant("bob")
            await alice.local_participant.stream_text(topic="notes")
        await failed.wait()

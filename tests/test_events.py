"""The two ways of listening to events: callbacks and an async iterator."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    DisconnectReason,
    EventsLostError,
    Room,
    RoomEvent,
    events,
)

from .conftest import Join
from .support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio

CAROL = participant_info("carol")


async def settle(room: Room, server: ScriptedServer) -> None:
    """Wait until the room has received everything from the server."""
    async with room.events() as stream:
        server.send_signal(
            room_update=rtc.RoomUpdate(room=models.Room(metadata=room.metadata + "."))
        )
        while not isinstance(await anext(stream), events.RoomMetadataChanged):
            pass


# Callbacks


async def test_callbacks_get_as_many_fields_as_they_take() -> None:
    got: list[tuple[object, ...]] = []
    room, server = Room(), ScriptedServer()

    @room.on("room_metadata_changed")
    def none() -> None:
        got.append(())

    @room.on("room_metadata_changed")
    def one(old: str) -> None:
        got.append((old,))

    @room.on("room_metadata_changed")
    def both(old: str, new: str, *, unused: bool = False) -> None:
        got.append((old, new))

    @room.on("room_metadata_changed")
    def optional(old: str, new: str, other: str = "default") -> None:
        got.append((old, new, other))

    def all_of_them(*fields: str) -> None:
        got.append(fields)

    assert room.on("room_metadata_changed", all_of_them) is all_of_them
    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
    assert got == [(), ("",), ("", "."), ("", ".", "default"), ("", ".")]
    none()
    assert got[-1] == ()


async def test_on_and_off_and_once() -> None:
    got: list[str] = []
    room, server = Room(), ScriptedServer()

    def always(old: str, new: str) -> None:
        got.append(f"always {new}")

    @room.once("room_metadata_changed")
    def once(old: str, new: str) -> None:
        got.append(f"once {new}")

    def never(old: str, new: str) -> None:
        got.append(f"never {new}")

    room.on("room_metadata_changed", always)
    assert room.once("room_metadata_changed", never) is never
    room.off("room_metadata_changed", never)
    room.off("room_metadata_changed", never)
    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
        await settle(room, server)
        room.off("room_metadata_changed", always)
        await settle(room, server)
    assert got == ["once .", "always .", "always .."]


async def test_a_bound_method_can_be_switched_off() -> None:
    room, server = Room(), ScriptedServer()
    got: list[str] = []
    room.on("room_metadata_changed", got.append)
    room.off("room_metadata_changed", got.append)
    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
    assert got == []


@pytest.mark.parametrize("method", ["on", "once"])
async def test_a_callback_may_switch_off_those_after_it(method: str) -> None:
    room, server = Room(), ScriptedServer()
    got: list[str] = []

    @room.on("room_metadata_changed")
    def first() -> None:
        got.append("first")
        room.off("room_metadata_changed", second)

    def second() -> None:
        got.append("second")

    getattr(room, method)("room_metadata_changed", second)
    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
        assert room.isconnected()
    assert got == ["first"]


def test_unknown_events_are_refused() -> None:
    room: Any = Room()
    for listen in (room.on, room.once, room.off):
        with pytest.raises(ValueError, match=r"^there is no event 'conected'; there are connected"):
            listen("conected", print)


def test_callbacks_that_cannot_be_called_are_refused() -> None:
    room: Any = Room()
    for listen in (room.on, room.once):
        with pytest.raises(TypeError, match=r"^the callback for 'connected' is not callable: 42$"):
            listen("connected", 42)


async def test_what_a_callback_raises_is_logged_and_the_room_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room, server = Room(), ScriptedServer()
    got: list[str] = []

    @room.on("room_metadata_changed")
    def fail() -> None:
        raise ValueError("in a callback")

    @room.on("room_metadata_changed")
    async def fail_later() -> None:
        await anyio.sleep(1)
        raise ValueError("in an async callback")

    @room.on("room_metadata_changed")
    def still_called(old: str, new: str) -> None:
        got.append(new)

    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
        await anyio.sleep(2)
        assert room.isconnected()
    assert got == ["."]
    assert caplog.messages == ["a callback for room_metadata_changed failed"] * 2
    assert "ValueError: in a callback" in caplog.text
    assert "ValueError: in an async callback" in caplog.text


async def test_async_callbacks_run_in_tasks_of_the_room() -> None:
    room, server = Room(), ScriptedServer()
    steps: list[str] = []

    @room.on("room_metadata_changed")
    async def slow(old: str, new: str) -> None:
        try:
            await anyio.sleep(len(new))
            steps.append(f"finished {new}")
            await anyio.sleep_forever()
        finally:
            steps.append(f"ended {new}")

    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
        await settle(room, server)
        assert steps == []
        await anyio.sleep(3)
        assert steps == ["finished .", "finished .."]
        steps.clear()
    assert sorted(steps) == ["ended .", "ended .."]


async def test_an_async_callback_that_fails_on_leaving_does_not_spoil_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room, server = Room(), ScriptedServer()

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while cleaning up")

    @room.on("room_metadata_changed")
    async def callback() -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(anyio.sleep_forever)
            task_group.start_soon(fail_when_cancelled)

    async with room.connect(server, "a token", reconnect=None):
        await settle(room, server)
        await anyio.wait_all_tasks_blocked()
    assert caplog.messages == ["a callback for room_metadata_changed failed"]


# The iterator


async def test_the_iterator_ends_when_we_leave(join: Join) -> None:
    async with join("alice") as alice, alice.events() as stream:
        await alice.disconnect()
        names = [event.name async for event in stream]
        assert names == ["connection_state_changed", "disconnected"]


async def test_the_iterator_ends_when_the_server_ends_our_session() -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None, on_disconnect="continue") as room,
        room.events() as stream,
    ):
        server.send_signal(leave=rtc.LeaveRequest(reason=models.ROOM_DELETED))
        happened = [event async for event in stream]
        assert happened[-1] == events.Disconnected(DisconnectReason.ROOM_DELETED)


async def test_iterators_are_independent() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        early = room.events()
        await settle(room, server)
        late = room.events()
        await settle(room, server)
        early.close()
        with pytest.raises(StopAsyncIteration):
            await anext(early)
        await settle(room, server)
    changes = [event.new_metadata async for event in late if hasattr(event, "new_metadata")]
    assert changes == ["..", "..."]


async def test_an_iterator_has_the_classes_that_are_asked_for() -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        room.events(events.RoomMetadataChanged) as changes,
        room.events(events.ParticipantConnected, events.RoomMetadataChanged) as both,
        room.events(RoomEvent) as everything,
    ):
        server.send_signal(update=rtc.ParticipantUpdate(participants=[CAROL]))
        await settle(room, server)
        await room.disconnect()
        assert [each.new_metadata async for each in changes] == ["."]
        assert [each.name async for each in both] == [
            "participant_connected",
            "room_metadata_changed",
        ]
        assert [each.name async for each in everything] == [
            "participant_connected",
            "participant_active",
            "room_metadata_changed",
            "room_updated",
            "connection_state_changed",
            "disconnected",
        ]


async def test_events_that_are_not_asked_for_take_no_room() -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        room.events(events.ParticipantConnected, max_buffered=1) as connected,
    ):
        for _ in range(3):
            await settle(room, server)
        server.send_signal(update=rtc.ParticipantUpdate(participants=[CAROL]))
        assert (await anext(connected)).participant.identity == "carol"


@pytest.mark.parametrize("wrong", ["data_received", int, events.Connected()], ids=repr)
async def test_what_is_no_class_of_events_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^events are read by their classes, such as DataReceived"):
        Room().events(wrong)


async def test_closing_ends_the_iterator_for_its_reader() -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):
        stream = room.events()
        ended = anyio.Event()

        async def read() -> None:
            assert [event async for event in stream] == []
            ended.set()

        task_group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        stream.close()
        stream.close()
        await ended.wait()


async def test_a_reader_that_is_too_slow_is_told_so() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        async with (
            room.events(events.RoomMetadataChanged, max_buffered=2) as slow,
            room.events() as patient,
        ):
            for _ in range(3):
                await settle(room, server)
            read = [event.new_metadata for event in [await anext(slow), await anext(slow)]]
            assert read == [".", ".."]
            with pytest.raises(EventsLostError, match=r"give Room\.events a larger max_buffered$"):
                await anext(slow)
            with pytest.raises(EventsLostError):
                await anext(slow)
            assert len([await anext(patient) for _ in range(3)]) == 3
        assert room.isconnected()

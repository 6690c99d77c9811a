"""Changing what others see of us: metadata, name and attributes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    LocalParticipant,
    Room,
    SignalRequestError,
    events,
)
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.tokens import ROOM

pytestmark = pytest.mark.anyio

#: The events of changes.
CHANGE_EVENTS = (
    events.ParticipantAttributesChanged,
    events.ParticipantMetadataChanged,
    events.ParticipantNameChanged,
    events.RoomMetadataChanged,
)


def member(*, can_update_metadata: bool = True) -> models.ParticipantInfo:
    info = participant_info("alice", name="Alice", metadata="m")
    info.permission.can_update_metadata = can_update_metadata
    return info


@pytest.mark.rule("V6", "V7")
async def test_changes_are_seen_by_everybody_in_order(join: Join) -> None:
    async with join("alice", can_update_own_metadata=True) as alice, join("bob") as bob:
        remote = bob.remote_participants["alice"]
        local = alice.local_participant
        for room, participant in ((bob, remote), (alice, local)):
            async with room.events(*CHANGE_EVENTS) as stream:
                before = dict(participant.attributes)
                await local.set_metadata(f"for {room.local_participant.identity}")
                await local.set_attributes({"a": "1", "b": "2"})
                await local.set_name(f"Alice for {room.local_participant.identity}")
                await local.set_attributes({"a": "", "c": "3"})
                assert before == {}
                happened = [await anext(stream) for _ in range(4)]
                name = room.local_participant.identity
                old = "" if room is bob else "bob"
                assert happened == [
                    events.ParticipantMetadataChanged(
                        participant, old and "for bob", f"for {name}"
                    ),
                    events.ParticipantAttributesChanged({"a": "1", "b": "2"}, participant),
                    events.ParticipantNameChanged(
                        participant, old and "Alice for bob", f"Alice for {name}"
                    ),
                    events.ParticipantAttributesChanged({"a": "", "c": "3"}, participant),
                ]
                assert participant.attributes == {"b": "2", "c": "3"}
            await local.set_attributes({"b": "", "c": ""})
        assert local.attributes == {}


async def test_a_change_has_happened_here_when_its_method_returns(join: Join) -> None:
    async with join("alice", can_update_own_metadata=True) as alice:
        local = alice.local_participant
        await local.set_name("Alice")
        assert local.name == "Alice"
        await local.set_metadata("m")
        assert (local.name, local.metadata) == ("Alice", "m")
        await local.set_name("")
        assert (local.name, local.metadata) == ("", "m")


async def test_changes_at_the_same_time_do_not_undo_each_other(join: Join) -> None:
    async with join("alice", can_update_own_metadata=True) as alice:
        local = alice.local_participant
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(local.set_name, "Alice")
            task_group.start_soon(local.set_metadata, "m")
            task_group.start_soon(local.set_attributes, {"a": "1"})
        assert (local.name, local.metadata, local.attributes) == ("Alice", "m", {"a": "1"})


@pytest.mark.rule("P1", "V7")
async def test_a_change_is_asked_for_as_livekit_does() -> None:
    server = ScriptedServer(local=member())
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):
        local = room.local_participant
        for change, fields in [
            (lambda: local.set_name("A"), {"name": "A", "metadata": "m"}),
            (lambda: local.set_metadata("n"), {"name": "Alice", "metadata": "n"}),
            (
                lambda: local.set_attributes({"a": ""}),
                {"name": "Alice", "metadata": "m", "attributes": {"a": ""}},
            ),
        ]:
            task_group.start_soon(change)
            update = (await server.expect_signal()).update_metadata
            assert update.request_id
            request_id, update.request_id = update.request_id, 0
            assert update == rtc.UpdateParticipantMetadata(**fields)  # type: ignore[arg-type]
            server.send_signal(request_response=rtc.RequestResponse(request_id=request_id))
            await anyio.wait_all_tasks_blocked()


CHANGES = [
    pytest.param(lambda alice: alice.set_metadata("x"), id="metadata"),
    pytest.param(lambda alice: alice.set_name("x"), id="name"),
    pytest.param(lambda alice: alice.set_attributes({"x": "x"}), id="attributes"),
]
Change = Callable[[LocalParticipant], Awaitable[None]]


@pytest.mark.rule("V7")
@pytest.mark.parametrize("change", CHANGES)
async def test_changes_need_their_grant(change: Change, join: Join) -> None:
    async with join("alice") as alice:
        with pytest.raises(SignalRequestError) as caught:
            await change(alice.local_participant)
        assert caught.value.reason == "NOT_ALLOWED"
        assert str(caught.value) == (
            "NOT_ALLOWED: the token of 'alice' lacks the grant canUpdateOwnMetadata"
        )


@pytest.mark.rule("V7")
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda alice: alice.set_metadata("x" * 64_001),
            "metadata of 64,001 UTF-8 bytes, over the limit of 64,000",
        ),
        (
            lambda alice: alice.set_name("é" * 129),
            "a name of 258 UTF-8 bytes, over the limit of 256",
        ),
        (
            lambda alice: alice.set_attributes({"a": "x" * 32_000, "b": "x" * 32_000}),
            "all attributes together of 64,002 UTF-8 bytes, over the limit of 64,000",
        ),
    ],
    ids=["metadata", "name", "attributes"],
)
async def test_changes_that_are_too_large_change_nothing(
    change: Change, text: str, join: Join
) -> None:
    async with join("alice", can_update_own_metadata=True) as alice:
        local = alice.local_participant
        with pytest.raises(SignalRequestError) as caught:
            await change(local)
        assert caught.value.reason == "LIMIT_EXCEEDED"
        assert str(caught.value) == f"LIMIT_EXCEEDED: {text}"
        assert (local.name, local.metadata, local.attributes) == ("", "", {})


@pytest.mark.parametrize("change", CHANGES)
async def test_a_server_that_does_not_answer_a_change(change: Change) -> None:
    server = ScriptedServer(local=member())
    async with Room().connect(server, "a token", reconnect=None) as room:
        started = anyio.current_time()
        with pytest.raises(SignalRequestError) as caught:
            await change(room.local_participant)
        assert caught.value.reason == "TIMEOUT"
        assert str(caught.value) == "the server did not answer within 10 s"
        assert anyio.current_time() - started == pytest.approx(10)


async def test_a_server_that_refuses_for_another_reason() -> None:
    server = ScriptedServer(local=member())
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):
        reasons: list[tuple[str, str]] = []

        async def change() -> None:
            with pytest.raises(SignalRequestError) as caught:
                await room.local_participant.set_name("x")
            reasons.append((caught.value.reason, str(caught.value)))

        for reason in (rtc.RequestResponse.NOT_FOUND, 99):
            task_group.start_soon(change)
            request_id = (await server.expect_signal()).update_metadata.request_id
            answer: Any = {"request_id": request_id, "reason": reason, "message": "no"}
            server.send_signal(request_response=rtc.RequestResponse(**answer))
            await anyio.wait_all_tasks_blocked()
        assert reasons == [("NOT_FOUND", "NOT_FOUND: no"), ("reason 99", "reason 99: no")]


@pytest.mark.parametrize("change", CHANGES)
async def test_changes_fail_when_we_leave_meanwhile(change: Change) -> None:
    server = ScriptedServer(local=member())
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):

        async def ask() -> None:
            with pytest.raises(SignalRequestError) as caught:
                await change(room.local_participant)
            assert caught.value.reason == "DISCONNECTED"
            assert str(caught.value) == "not changed: we left the room"

        task_group.start_soon(ask)
        await server.expect_signal()
        await room.disconnect()
    await ask()


async def test_a_change_that_waits_for_another_fails_when_we_leave() -> None:
    server = ScriptedServer(local=member())
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):
        failures: list[str] = []

        async def change(name: str) -> None:
            try:
                await room.local_participant.set_name(name)
            except SignalRequestError as error:
                failures.append(f"{error.reason}: {error}")

        task_group.start_soon(change, "first")
        await server.expect_signal()
        task_group.start_soon(change, "second")
        await anyio.wait_all_tasks_blocked()
        await room.disconnect()
    assert failures == [
        "DISCONNECTED: not changed: we left the room",
        "DISCONNECTED: not changed: we left the room",
    ]


async def test_a_late_refusal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        room.events(events.ParticipantConnected) as stream,
    ):
        refusal = rtc.RequestResponse(reason=rtc.RequestResponse.NOT_ALLOWED, message="no grant")
        server.send_signal(request_response=refusal)
        server.send_signal(request_response=rtc.RequestResponse(request_id=99))
        server.announce(participant_info("carol"))
        await anext(stream)
    assert caplog.messages == ["the server refused: NOT_ALLOWED: no grant"]


@pytest.mark.rule("V6")
async def test_what_an_administrator_changes_is_seen_by_everybody(
    server: RoomServer, join: Join
) -> None:
    async with join("alice") as alice, join("bob") as bob:
        async with alice.events(*CHANGE_EVENTS) as ours, bob.events(*CHANGE_EVENTS) as theirs:
            server.update_participant(ROOM, "alice", name="Alice")
            server.update_room_metadata(ROOM, "news")
            for stream, participant in (
                (ours, alice.local_participant),
                (theirs, bob.remote_participants["alice"]),
            ):
                assert [await anext(stream) for _ in range(2)] == [
                    events.ParticipantNameChanged(participant, "", "Alice"),
                    events.RoomMetadataChanged("", "news"),
                ]
        assert alice.metadata == bob.metadata == "news"

"""Joining a room, and who is in it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import define
from livekit.protocol import models, rtc

from trio_rpc import (
    AccessToken,
    ConnectError,
    DisconnectedError,
    LocalParticipant,
    ParticipantKind,
    ParticipantPermissions,
    ParticipantState,
    RemoteParticipant,
    Room,
    RoomStatistics,
    RpcError,
    RpcInvocationData,
    VideoGrants,
)
from trio_rpc.links import Channel, Frame, Link, open_framed_link
from trio_rpc.links.frames import encode_frames
from trio_rpc.links.memory import open_memory_streams
from trio_rpc.server import RoomServer
from trio_rpc.testing import InMemoryServer, LiveKitLikeServer

from ..conftest import Join
from ..support.clients import HoldingLink
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.tokens import API_KEY, ROOM, make_token
from ..support.waiting import wait_until

pytestmark = pytest.mark.anyio


@define(eq=False)
class DeafLink(HoldingLink):
    """A link on which nothing is received."""

    async def receive(self) -> list[Frame]:
        await anyio.sleep_forever()
        raise AssertionError


@define(eq=False)
class Deaf:
    """A way to a server, on which nothing comes back.

    Attributes:
        was_admitted: Whether the server has admitted the participant.
    """

    server: RoomServer
    was_admitted: bool = False

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with self.server.open_link(token, request) as link:
            try:
                yield DeafLink(link, lambda _: False)
            finally:
                self.was_admitted = self.server.statistics().participants == 1


class FirstMessage:
    """A server that says one thing, if at all, and then nothing more."""

    def __init__(self, message: bytes | None, *, then_close: str | None = None) -> None:
        self._message = message
        self._then_close = then_close

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:  # noqa: ARG002
        near, far = open_memory_streams()
        async with open_framed_link(near) as link:
            if self._message is not None:
                await far.send_message(self._message)
            if self._then_close is not None:
                await far.aclose(self._then_close)
            try:
                yield link
            finally:
                await far.aclose("")


def signal(**response: Any) -> bytes:
    body = rtc.SignalResponse(**response).SerializeToString()
    return encode_frames([Frame(Channel.SIGNAL, body)])


async def join_and_leave(to: Any, token: str = "a token", **options: Any) -> None:
    async with Room().connect(to, token, **options):
        pass


# Joining


async def test_joining_tells_what_the_room_is(join: Join) -> None:
    room = Room()
    assert (room.name, room.sid, room.metadata) == ("", "", "")
    assert room.connection_state.name == "CONN_DISCONNECTED"
    assert repr(room) == "<Room '' CONN_DISCONNECTED>"
    async with join("alice", room=room) as joined:
        assert joined is room
        assert room.name == ROOM
        assert room.sid.startswith("RM_")
        assert room.metadata == ""
        assert room.isconnected()
        assert room.connection_state.name == "CONN_CONNECTED"
        assert repr(room) == f"<Room {ROOM!r} CONN_CONNECTED>"
    assert not room.isconnected()
    assert room.name == ROOM


@pytest.mark.rule("P1")
async def test_joining_tells_the_server_who_we_are() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "the token"):
        assert server.token == "the token"
        assert server.client is not None
        assert server.client.sdk == models.ClientInfo.PYTHON
        assert server.client.version


async def test_a_participant_is_as_its_token_says(join: Join, server: RoomServer) -> None:
    async with (
        join("alice") as alice,
        join("bob", can_update_own_metadata=True) as bob,
    ):
        remote = await alice.wait_for_participant("bob")
        local = bob.local_participant
        for participant in (remote, local):
            assert participant.identity == "bob"
            assert participant.sid == local.sid
            assert (participant.name, participant.metadata, participant.attributes) == ("", "", {})
            assert participant.kind is ParticipantKind.STANDARD
            assert participant.state is ParticipantState.ACTIVE
            assert participant.permissions == ParticipantPermissions(
                can_publish_data=True, can_update_metadata=True
            )
            assert participant.track_publications == {}
        assert isinstance(remote, RemoteParticipant)
        assert isinstance(local, LocalParticipant)
        assert repr(remote) == f"<RemoteParticipant 'bob' {remote.sid}>"


async def test_kinds_that_we_do_not_know_count_as_standard() -> None:
    server = ScriptedServer(local=participant_info("alice", kind=99))
    async with Room().connect(server, "a token", reconnect=None) as room:
        assert room.local_participant.kind is ParticipantKind.STANDARD


@pytest.mark.rule("V1")
async def test_a_refusal_says_why_and_repeats_no_token(server: RoomServer) -> None:
    forged = (
        AccessToken(API_KEY, "another secret of the tests, 32 bytes or more")
        .with_identity("alice")
        .with_grants(VideoGrants(room_join=True, room=ROOM))
        .to_jwt()
    )
    with pytest.raises(ConnectError) as caught:
        await join_and_leave(server, forged)
    assert caught.value.status == 401
    assert str(caught.value) == (
        f"refused: the token is signed with another secret than the one of API key {API_KEY!r}"
    )


@pytest.mark.parametrize(
    ("server", "text"),
    [
        pytest.param(
            FirstMessage(signal(leave=rtc.LeaveRequest(reason=models.JOIN_FAILURE))),
            "the server rejected us: JOIN_FAILURE",
            id="leave",
        ),
        pytest.param(
            FirstMessage(signal(pong_resp=rtc.Pong())),
            "the server's first message was not a JoinResponse",
            id="another message",
        ),
        pytest.param(
            FirstMessage(b"\xff\xff\xff"),
            "the server's first message was not a JoinResponse",
            id="no frames",
        ),
        pytest.param(
            FirstMessage(encode_frames([Frame(Channel.SIGNAL, b"\xff\xff")])),
            "the server's first message was not a JoinResponse",
            id="no protobuf",
        ),
        pytest.param(
            FirstMessage(signal()),
            "the server's first message was not a JoinResponse",
            id="no message",
        ),
        pytest.param(
            FirstMessage(encode_frames([Frame(Channel.RELIABLE, b"")])),
            "the server's first message was not a JoinResponse",
            id="a packet",
        ),
        pytest.param(
            FirstMessage(None, then_close="too busy"),
            "the server disconnected us before we had joined: too busy",
            id="closed",
        ),
    ],
)
async def test_a_server_that_does_not_let_us_in(server: FirstMessage, text: str) -> None:
    with pytest.raises(ConnectError) as caught:
        await join_and_leave(server)
    assert str(caught.value) == text
    assert caught.value.status is None


@pytest.mark.parametrize(("options", "seconds"), [({}, 10), ({"connect_timeout": 2.5}, 2.5)])
async def test_a_silent_server_is_given_up(options: dict[str, Any], seconds: float) -> None:
    started = anyio.current_time()
    with pytest.raises(ConnectError) as caught:
        await join_and_leave(FirstMessage(None), **options)
    assert str(caught.value) == f"the room was not joined within {seconds:g} s"
    assert anyio.current_time() - started == pytest.approx(seconds)


async def give_up(connector: Deaf, token: str) -> None:
    with pytest.raises(ConnectError, match="the room was not joined within 1 s"):
        await join_and_leave(connector, token, connect_timeout=1)


async def be_cancelled(connector: Deaf, token: str) -> None:
    with anyio.move_on_after(1):
        await join_and_leave(connector, token)


@pytest.mark.parametrize("end", [give_up, be_cancelled])
@pytest.mark.parametrize("server_type", [InMemoryServer, LiveKitLikeServer])
async def test_who_is_admitted_and_does_not_wait_for_it_leaves(
    end: Callable[[Deaf, str], Awaitable[None]], server_type: type[InMemoryServer]
) -> None:
    """Others would call a participant that the server expects back."""
    server = server_type()
    deaf = Deaf(server)
    await end(deaf, server.token("alice"))
    assert deaf.was_admitted
    await wait_until(lambda: not server.statistics().participants, within=1)


async def test_the_connect_timeout_is_over_once_we_are_in(server: RoomServer) -> None:
    async with Room().connect(server, make_token("alice"), connect_timeout=1) as room:
        await anyio.sleep(3600)
        assert room.isconnected()


async def test_a_room_is_joined_once_at_a_time(server: RoomServer, join: Join) -> None:
    async with join("alice") as room:
        with pytest.raises(RuntimeError, match=r"^this Room is joined already"):
            async with join("alice", room=room):
                pass
        assert room.isconnected()


async def test_a_room_can_be_joined_again(join: Join) -> None:
    room = Room()
    sids = set()
    for _ in range(3):
        async with join("alice", room=room), join("bob") as bob:
            sids.add(room.local_participant.sid)
            await bob.wait_for_participant("alice")
            await room.wait_for_participant("bob")
        assert not room.isconnected()
    assert len(sids) == 3


async def test_a_room_can_be_joined_after_a_failure(join: Join) -> None:
    room = Room()
    with pytest.raises(ConnectError):
        async with room.connect(FirstMessage(signal()), "a token", reconnect=None):
            pass
    async with join("alice", room=room):
        assert room.isconnected()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_round_trip_latency": 0}, "max_round_trip_latency is above 0, not 0"),
        ({"max_round_trip_latency": math.nan}, "max_round_trip_latency is above 0, not nan"),
        ({"max_concurrent_handlers": 0}, "max_concurrent_handlers is at least 1, not 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=rf"^{text}$"):
        Room(**options)


# Errors that leave the block


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        KeyboardInterrupt(),
        RpcError(101, "mine"),
        ExceptionGroup("mine", [ValueError("1"), ExceptionGroup("2", [KeyError("3")])]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["RoomServer", "ScriptedServer"])
async def test_exceptions_come_out_of_the_block_as_they_are(
    error: BaseException, kind: str, server: RoomServer
) -> None:
    to = server if kind == "RoomServer" else ScriptedServer()
    with pytest.raises(type(error)) as caught:
        async with Room().connect(to, make_token("alice")):
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


async def test_cancelling_the_block_leaves_the_room(join: Join) -> None:
    async with join("bob") as bob, anyio.create_task_group() as task_group:

        async def alice() -> None:
            async with join("alice"):
                await anyio.sleep_forever()

        task_group.start_soon(alice)
        await bob.wait_for_participant("alice")
        task_group.cancel_scope.cancel()
    assert dict(bob.remote_participants) == {}


# Presence


async def test_remote_participants_is_a_view(join: Join) -> None:
    async with join("alice") as alice:
        view = alice.remote_participants
        assert dict(view) == {}
        async with join("bob"):
            bob = await alice.wait_for_participant("bob")
            assert dict(view) == {"bob": bob}
            with pytest.raises(TypeError):
                view["carol"] = bob  # type: ignore[index]
        async with alice.events() as events:
            while view:
                await anext(events)
        assert bob.state is ParticipantState.DISCONNECTED


async def test_waiting_for_a_participant_that_is_there(join: Join) -> None:
    async with join("bob"), join("alice") as alice:
        assert (await alice.wait_for_participant("bob")).identity == "bob"


async def test_waiting_for_a_participant_who_comes_and_becomes_active() -> None:
    server = ScriptedServer(others=[])
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):
        waited: list[RemoteParticipant] = []

        async def wait() -> None:
            waited.append(await room.wait_for_participant("bob"))

        task_group.start_soon(wait)
        task_group.start_soon(wait)
        joining = participant_info("bob")
        joining.state = models.ParticipantInfo.JOINED
        async with room.events() as events:
            server.announce(joining, participant_info("carol"))
            while "carol" not in room.remote_participants:
                await anext(events)
        await anyio.wait_all_tasks_blocked()
        assert waited == []
        server.announce(participant_info("bob"))
        await room.wait_for_participant("bob")
        await anyio.wait_all_tasks_blocked()
        assert waited == [room.remote_participants["bob"]] * 2


async def test_waiting_ends_when_we_leave(join: Join) -> None:
    async with join("alice") as alice, anyio.create_task_group() as task_group:

        async def wait() -> None:
            with pytest.raises(DisconnectedError, match=r"^we left the room$"):
                await alice.wait_for_participant("nobody")

        task_group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await alice.disconnect()
    with pytest.raises(DisconnectedError, match=r"^we left the room$"):
        await alice.wait_for_participant("nobody")


# Statistics


async def test_statistics_count_calls_and_handlers(join: Join) -> None:
    may_answer = anyio.Event()

    async def handler(data: RpcInvocationData) -> None:
        await may_answer.wait()

    at_rest = RoomStatistics(pending_calls=0, running_handlers=0)
    async with join("alice") as alice, join("bob") as bob:
        bob.register_rpc_method("greet", handler)
        await alice.wait_for_participant("bob")
        async with anyio.create_task_group() as task_group:

            async def call() -> None:
                await alice.local_participant.perform_rpc(
                    destination_identity="bob", method="greet", payload=""
                )

            for _ in range(3):
                task_group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert alice.statistics() == RoomStatistics(pending_calls=3, running_handlers=0)
            assert bob.statistics() == RoomStatistics(pending_calls=0, running_handlers=3)
            may_answer.set()
        assert alice.statistics() == bob.statistics() == at_rest

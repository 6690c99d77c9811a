"""Work for many members: in a loop, once for each, with turns for others (B7, B10)."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc import DisconnectReason
from trio_rpc.links import Channel, Frame, LinkFullError
from trio_rpc.participant import ParticipantKind, ParticipantPermissions
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics
from trio_rpc.server.rooms.member import Member
from trio_rpc.server.rooms.room import RoomSettings, ServerRoom
from trio_rpc.server.rooms.router import PacketRouter

from ...support.messages import leave_reasons, texts, told, user
from ...support.scripted_client import scripted_clients, settle_all
from ...support.tokens import ROOM
from ...support.turns import CountedTurns
from ...support.waiting import wait_until

pytestmark = pytest.mark.anyio


@define(eq=False)
class SendQueue:
    """A send queue of a member that keeps everything, unless it is full."""

    is_full: bool = False
    queued_bytes: int = 0
    frames: list[Frame] = field(factory=list[Frame])

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        if self.is_full:
            raise LinkFullError("it is full")
        self.frames.append(frame)

    def flush_nowait(self) -> None: ...

    async def wait_writable(self) -> None: ...

    async def wait_sent(self) -> None: ...

    def discard_queued(self) -> None:
        self.is_full = False

    @property
    def signals(self) -> list[rtc.SignalResponse]:
        return [
            rtc.SignalResponse.FromString(frame.body)
            for frame in self.frames
            if frame.channel is Channel.SIGNAL
        ]


def new_member(identity: str, send_queue: SendQueue) -> Member:
    return Member(
        identity=identity,
        name="",
        metadata="",
        attributes={},
        kind=ParticipantKind.STANDARD,
        permissions=ParticipantPermissions(),
        client=models.ClientInfo(),
        send_queue=send_queue,
    )


def crowd(size: int) -> tuple[ServerRoom, list[Member], list[SendQueue]]:
    """Return a room of members without sessions, with their send queues."""
    room = ServerRoom("a room", ServerLimits(), lambda: None, RoomSettings())
    send_queues = [SendQueue() for _ in range(size)]
    members = [new_member(str(number), send_queue) for number, send_queue in enumerate(send_queues)]
    for member in members:
        room.members[member.identity] = member
    return room, members, send_queues


@pytest.mark.rule("B10", "V8")
def test_a_thousand_that_overflow_at_once_are_announced_in_one_update() -> None:
    room, members, send_queues = crowd(1_000)
    for send_queue in send_queues[1:]:
        send_queue.is_full = True
    room.change_metadata("news")
    assert [member.close_reason for member in members[1:]] == ["it does not read: it is full"] * 999
    assert members[0].close_reason is None
    # As the session of the first of them does; the others find that they are gone.
    for member in members[1:]:
        room.leave(member)
    assert list(room.members) == ["0"]
    news, departures = send_queues[0].signals
    assert news.room_update.room.metadata == "news"
    gone = departures.update.participants
    assert [each.identity for each in gone] == [str(number) for number in range(1, 1_000)]
    assert {each.state for each in gone} == {models.ParticipantInfo.DISCONNECTED}
    # Each got the reason of its disconnection, and nothing else.
    assert {len(send_queue.frames) for send_queue in send_queues[1:]} == {1}


@pytest.mark.rule("B10", "V8")
def test_who_overflows_at_a_departure_leaves_with_the_next() -> None:
    room, members, send_queues = crowd(4)
    send_queues[1].is_full = True
    room.leave(members[0])
    assert members[1].close_reason is not None
    # It has left the room: it cannot be called, and is not announced to new participants.
    join = rtc.JoinResponse()
    newcomer = SendQueue()
    room.join(
        new_member("new", newcomer),
        join,
    )
    assert [each.identity for each in join.other_participants] == ["2", "3"]
    assert join.room.num_participants == 3
    room.leave(members[2])
    assert list(room.members) == ["3", "new"]
    departures = send_queues[3].signals[-1].update.participants
    assert [each.identity for each in departures] == ["1", "2"]


@pytest.mark.rule("B10")
def test_a_departure_is_told_without_what_may_be_large() -> None:
    room, members, send_queues = crowd(2)
    members[0].metadata = "m" * 60_000
    members[0].attributes = {"a": "x" * 60_000}
    room.leave(members[0])
    [frame] = send_queues[1].frames
    assert len(frame.body) < 100


@pytest.mark.rule("B10")
async def test_members_that_do_not_read_leave_together(
    server: RoomServer,
) -> None:
    crowd = [f"sloth {number}" for number in range(100)]
    async with scripted_clients(server, "alice", *crowd) as (alice, *_):
        await settle_all([alice])
        [room] = server._rooms
        for identity in crowd:
            room.members[identity].disconnect(DisconnectReason.STATE_MISMATCH, "it does not read")
        await wait_until(lambda: server.statistics().participants == 1)
        messages = await alice.settle()
        assert len(messages) == 1
        assert told(messages) == [(identity, "DISCONNECTED") for identity in crowd]


@pytest.mark.rule("B10", "R2")
async def test_a_room_that_is_deleted_lets_everybody_go_at_once(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob", "carol") as members:
        server.delete_room(ROOM)
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        for member in members:
            messages, why = await member.receive_rest()
            assert leave_reasons(messages) == ["ROOM_DELETED"]
            assert told(messages) == []
            assert why == "the room was deleted"


@pytest.mark.rule("B7")
async def test_others_have_their_turn_while_packets_go_to_many(server: RoomServer) -> None:
    names = [f"listener {number}" for number in range(70)]
    async with (
        scripted_clients(server, "alice", *names) as (alice, *listeners),
        CountedTurns() as turns,
    ):
        # In one message, which is received at once.
        for number in range(30):
            alice.send(user(str(number)))
        before = turns.count
        while texts(await listeners[0].settle())[-1:] != ["29"]:
            pass
        # Each packet is as much work as many that go to one.
        assert turns.count - before >= 25


# Failures


@pytest.mark.rule("B3")
async def test_a_failure_while_a_packet_is_handled_concerns_that_packet_alone(
    server: RoomServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    route = PacketRouter.route

    def fail(router: PacketRouter, sender: Member, channel: Channel, body: bytes) -> Any:
        if b"fail" in body:
            raise ZeroDivisionError("a bug")
        return route(router, sender, channel, body)

    monkeypatch.setattr(PacketRouter, "route", fail)
    async with scripted_clients(server, "alice", "bob") as (alice, bob):
        for text in ("before", "fail", "after"):
            alice.send(user(text))
        await alice.settle()
        assert texts(await bob.settle()) == ["before", "after"]
        [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError
        # If it goes on, its packets count as malformed (P8).
        for _ in range(101):
            alice.send(user("fail"))
        messages, why = await alice.receive_rest()
        assert leave_reasons(messages) == ["STATE_MISMATCH"]
        assert why.startswith("it sent more than 100 malformed messages, ")
        assert server.statistics().participants == 1

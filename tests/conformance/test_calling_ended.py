"""Rules C8, C9 and C13: calls whose callee, room, link or caller is gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import Participant, Room, RpcError, RpcInvocationData
from trio_rpc.links import Frame, LinkClosedError, LinkFullError
from trio_rpc.rpc.calls import Calls
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.caller import METHOD, Caller, Failure, built_in, caller, calls_through
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.tokens import ROOM, make_token

pytestmark = pytest.mark.anyio

Phase = Callable[[Caller, str], Awaitable[None]]


def disconnected(data: str) -> Failure:
    return built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, data)


def send_failed(data: str) -> Failure:
    return built_in(RpcError.ErrorCode.SEND_FAILED, f"the request to 'bob' was not sent: {data}")


async def unacknowledged(alice: Caller, request_id: str) -> None:
    """Send nothing for the callee."""


async def acknowledged(alice: Caller, request_id: str) -> None:
    """Send the callee's ack, and wait until it has been handled."""
    alice.acknowledge(request_id)
    await alice.settle()


in_each_phase = pytest.mark.parametrize("reach", [unacknowledged, acknowledged])


# The callee leaves


@pytest.mark.rule("C8", "E2")
@in_each_phase
async def test_a_call_fails_at_once_when_its_callee_leaves(reach: Phase) -> None:
    async with caller(ScriptedServer(others=["bob", "carol"])) as alice:
        call, request_id = await alice.start_call()
        other, other_id = await alice.start_call("2", destination_identity="carol")
        await reach(alice, request_id)
        await anyio.sleep(1)
        gone = participant_info("bob", state=models.ParticipantInfo.DISCONNECTED)
        alice.server.announce(gone)
        assert await call.failure() == disconnected("'bob' left the room")
        assert call.seconds == pytest.approx(1, abs=1e-9)
        assert alice.pending_calls == 1
        alice.respond(other_id, "hello", sender="carol")
        assert await other.outcome() == "hello"


@pytest.mark.rule("C8")
async def test_a_call_fails_when_its_callee_is_replaced_by_another_of_its_name() -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        alice.server.announce(participant_info("bob", sid="PA_2"))
        alice.respond(request_id, "not mine")
        data = "'bob' left the room, and joined again: the handler may have run"
        assert await call.failure() == disconnected(data)
        again, request_id = await alice.start_call("again")
        alice.respond(request_id, "hello")
        assert await again.outcome() == "hello"


@pytest.mark.rule("C8", "C5")
async def test_a_response_counts_if_it_comes_before_its_callee_leaves() -> None:
    async with caller() as alice:
        answered, answered_id = await alice.start_call("1")
        unanswered, unanswered_id = await alice.start_call("2")
        alice.respond(answered_id, "hello")
        gone = participant_info("bob", state=models.ParticipantInfo.DISCONNECTED)
        alice.server.announce(gone)
        alice.respond(unanswered_id, "too late")
        assert await answered.outcome() == "hello"
        assert await unanswered.failure() == disconnected("'bob' left the room")


async def _leave(server: RoomServer, bob: Room) -> None:
    await bob.disconnect()


async def _be_removed(server: RoomServer, bob: Room) -> None:
    server.remove_participant(ROOM, "bob")


async def _be_replaced(server: RoomServer, bob: Room) -> None:
    async with Room().connect(server, make_token("bob")):
        await bob.wait_disconnected()


@pytest.mark.rule("C8", "A12")
@pytest.mark.parametrize("end", [_leave, _be_removed, _be_replaced])
async def test_a_call_ends_at_once_when_its_callee_leaves(
    end: Callable[[RoomServer, Room], Awaitable[None]], server: RoomServer, join: Join
) -> None:
    called = anyio.Event()

    async def never_answer(data: RpcInvocationData) -> None:
        called.set()
        await anyio.sleep_forever()

    async def end_session() -> None:
        await called.wait()
        await anyio.sleep(1)
        await end(server, bob)

    async with join("alice") as alice, join("bob", on_disconnect="continue") as bob:
        bob.register_rpc_method("m", never_answer)
        await alice.wait_for_participant("bob")
        started = anyio.current_time()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(end_session)
            with pytest.raises(RpcError) as caught:
                await alice.local_participant.perform_rpc(
                    destination_identity="bob", method="m", payload=""
                )
            assert anyio.current_time() - started == pytest.approx(1, abs=1e-9)
        assert caught.value.code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        assert alice.statistics().pending_calls == 0


# Our own room closes


async def _disconnect(alice: Caller) -> None:
    await alice.room.disconnect()


async def _be_disconnected(alice: Caller) -> None:
    leave = rtc.LeaveRequest(reason=models.SERVER_SHUTDOWN)
    alice.server.send_signal(leave=leave)


async def _lose_connection(alice: Caller) -> None:
    await alice.server.link.aclose("the cable was cut")


async def _receive_nonsense(alice: Caller) -> None:
    for _ in range(101):
        await alice.server.send_message(b"nonsense")


async def _hear_nothing(alice: Caller) -> None:
    await anyio.sleep(20)


ENDINGS: Final = {
    _disconnect: "we left the room",
    _be_disconnected: "the server ended our session: SERVER_SHUTDOWN",
    _lose_connection: "the connection was lost: the cable was cut",
    _receive_nonsense: "the server sent more than 100 malformed messages",
    _hear_nothing: "the server was silent for 15 s",
}


@pytest.mark.rule("C8", "C11", "E2")
@pytest.mark.parametrize(("end", "reason"), ENDINGS.items())
async def test_every_pending_call_fails_when_the_room_is_left(
    end: Callable[[Caller], Awaitable[None]], reason: str
) -> None:
    room = Room(max_round_trip_latency=60)
    async with caller(room=room, on_disconnect="continue") as alice:
        calls = [(await alice.start_call(str(number), response_timeout=50)) for number in range(3)]
        ended = anyio.current_time()
        await end(alice)
        for call, _ in calls:
            assert await call.failure() == disconnected(reason)
        if end is not _hear_nothing:
            assert anyio.current_time() == ended
        assert alice.pending_calls == 0
        assert await alice.call().failure() == disconnected(reason)


@pytest.mark.rule("C8")
async def test_a_call_fails_when_the_block_of_its_room_ends() -> None:
    failures: list[Failure] = []

    async def call(room: Room) -> None:
        with pytest.raises(RpcError) as caught:
            await room.local_participant.perform_rpc(
                destination_identity="bob", method=METHOD, payload=""
            )
        failures.append((caught.value.code, caught.value.message, caught.value.data))

    server = ScriptedServer()
    async with (
        anyio.create_task_group() as task_group,
        Room().connect(server, "", reconnect=None) as room,
    ):
        task_group.start_soon(call, room)
        await server.expect_packet()
    assert failures == [disconnected("we left the room")]
    assert room.statistics().pending_calls == 0


# The link fails


@pytest.mark.rule("C9", "E2")
async def test_a_write_that_fails_leaves_nothing_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(frame: object) -> None:
        raise LinkClosedError("the cable was cut")

    async with caller() as alice:
        with monkeypatch.context() as patch:
            patch.setattr(alice.server.client_link, "send_nowait", fail)
            call = alice.call()
            assert await call.failure() == send_failed("the cable was cut")
            assert call.seconds == 0
            assert alice.pending_calls == 0
        again, request_id = await alice.start_call()
        alice.respond(request_id, "hello")
        assert await again.outcome() == "hello"


class FullLink:
    """A link that is always full, and calls `on_wait` when a sender waits; then it is closed."""

    def __init__(self) -> None:
        self.closed = False
        self.on_wait: Callable[[], None] = lambda: None

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        if self.closed:
            raise LinkClosedError("the cable was cut")
        raise LinkFullError("no room")

    def flush_nowait(self) -> None:
        pass

    async def wait_writable(self) -> None:
        self.on_wait()
        self.closed = True


async def call_through(calls: Calls) -> Failure:
    with pytest.raises(RpcError) as caught:
        await calls.perform(Participant(participant_info("bob")), METHOD, "hi", 2, 10.0)
    assert len(calls) == 0
    return caught.value.code, caught.value.message, caught.value.data


@pytest.mark.rule("C9")
async def test_a_link_may_fail_while_a_call_waits_for_room_in_its_queue() -> None:
    link = FullLink()
    calls = calls_through(link)
    assert await call_through(calls) == send_failed("the cable was cut")


@pytest.mark.rule("C8", "C9")
async def test_a_room_may_be_left_while_a_call_waits_for_room_in_its_queue() -> None:
    link = FullLink()
    calls = calls_through(link)
    link.on_wait = lambda: calls.end("we left the room")
    assert await call_through(calls) == disconnected("we left the room")


# The caller does not want to know any more


@pytest.mark.rule("C13", "C5")
@in_each_phase
async def test_a_cancelled_call_is_forgotten(
    reach: Phase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with caller() as alice:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(_call_in_vain, alice.room)
            request_id = (await alice.expect_request()).id
            await reach(alice, request_id)
            assert alice.pending_calls == 1
            task_group.cancel_scope.cancel()
        assert alice.pending_calls == 0
        alice.respond(request_id, "too late")
        await alice.settle()
        assert f"ignored a late or unknown response of bob to {request_id}" in caplog.messages
        call, request_id = await alice.start_call()
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C13")
@pytest.mark.parametrize("response_timeout", [2, 10])
async def test_a_shorter_scope_of_the_callers_ends_a_call_without_an_error(
    response_timeout: float,
) -> None:
    async with caller() as alice:
        with anyio.move_on_after(1) as scope:
            await _call_in_vain(alice.room, response_timeout)
        assert scope.cancelled_caught
        assert alice.pending_calls == 0


def _respond_too_late(alice: Caller, request_id: str) -> None:
    """Have the callee give up, just before the caller's scope ends."""
    code = RpcError.ErrorCode.RESPONSE_TIMEOUT
    error = models.RpcError(code=code, message="the time is over")
    response = models.RpcResponse(request_id=request_id, error=error)
    alice.server.send_from("bob", rpc_response=response)


@pytest.mark.rule("C13")
async def test_a_scope_ends_a_call_without_an_error_even_if_its_callee_gives_up_first() -> None:
    async with caller() as alice:
        started = anyio.current_time()
        with anyio.move_on_after(1) as scope:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(_call_in_vain, alice.room)
                request_id = (await alice.expect_request()).id
                await anyio.sleep(0.97)
                _respond_too_late(alice, request_id)
                alice.respond(request_id, "even later")
        assert scope.cancelled_caught
        assert anyio.current_time() - started == pytest.approx(1, abs=1e-9)
        assert alice.pending_calls == 0


async def _lose_callee(alice: Caller) -> str:
    alice.server.announce(participant_info("bob", state=models.ParticipantInfo.DISCONNECTED))
    return "'bob' left the room"


async def _lose_room(alice: Caller) -> str:
    await alice.room.disconnect()
    return "we left the room"


@pytest.mark.rule("C8")
@in_each_phase
@pytest.mark.parametrize("lose", [_lose_callee, _lose_room])
async def test_a_call_whose_callee_gave_up_first_still_fails_at_once_when_a_side_leaves(
    lose: Callable[[Caller], Awaitable[str]], reach: Phase
) -> None:
    errors = list[RpcError]()

    async def call() -> None:
        try:
            await _call_in_vain(alice.room)
        except RpcError as error:
            errors.append(error)
            seconds.append(anyio.current_time())

    seconds = list[float]()
    async with caller() as alice:
        started = anyio.current_time()
        with anyio.move_on_after(1) as scope:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(call)
                request_id = (await alice.expect_request()).id
                await reach(alice, request_id)
                await anyio.sleep(0.97)
                _respond_too_late(alice, request_id)
                await alice.settle()
                data = await lose(alice)
        assert not scope.cancelled_caught
        (error,) = errors
        assert (error.code, error.message, error.data) == disconnected(data)
        assert seconds == [pytest.approx(started + 0.97, abs=1e-9)]
        assert alice.pending_calls == 0


@pytest.mark.rule("C13")
async def test_one_cancelled_call_of_many_is_forgotten_alone() -> None:
    async with caller() as alice:
        before, before_id = await alice.start_call("before")
        with anyio.move_on_after(1):
            await _call_in_vain(alice.room)
        in_vain = await alice.expect_request()
        after, after_id = await alice.start_call("after")
        assert alice.pending_calls == 2
        for request_id in (in_vain.id, after_id, before_id):
            alice.respond(request_id, f"to {request_id}")
        assert await before.outcome() == f"to {before_id}"
        assert await after.outcome() == f"to {after_id}"


async def _call_in_vain(room: Room, response_timeout: float = 10) -> None:
    await room.local_participant.perform_rpc(
        destination_identity="bob", method=METHOD, payload="", response_timeout=response_timeout
    )
    raise AssertionError("nobody answers")

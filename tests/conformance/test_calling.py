"""Rules C4 to C6 and C14: acks and responses find their calls, in whichever order they come."""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from typing import Final

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models

from trio_rpc import Participant, Room, RpcError, RpcInvocationData
from trio_rpc.links import Frame
from trio_rpc.rpc.calls import Calls

from ..conftest import Join
from ..support.caller import METHOD, Call, Caller, built_in, caller, calls_through
from ..support.scripted_server import ScriptedServer, participant_info
from ..support.stream_packets import (
    response_header,
    send_chunk,
    send_header,
    send_trailer,
)

pytestmark = pytest.mark.anyio

ACK: Final = "ack"
RESPONSE: Final = "response"
ANOTHER: Final = "another response"


def send_reply(alice: Caller, what: str, request_id: str, sender: str = "bob") -> None:
    if what == ACK:
        alice.acknowledge(request_id, sender=sender)
    else:
        alice.respond(request_id, what, sender=sender)


async def start_calls(alice: Caller, count: int) -> list[tuple[Call, str]]:
    """Start calls with the payloads 0, 1, …; return each with the id of its request."""
    return [await alice.start_call(str(number)) for number in range(count)]


# One call


@pytest.mark.rule("C4", "C5")
@pytest.mark.parametrize(
    "said",
    [
        (ACK, RESPONSE),
        (RESPONSE,),
        (RESPONSE, ACK),
        (ACK, ACK, RESPONSE),
        (ACK, RESPONSE, ACK),
        (RESPONSE, ACK, ACK),
        (ACK, RESPONSE, ANOTHER),
        (RESPONSE, ANOTHER),
        (RESPONSE, ACK, ANOTHER),
        (*[ACK] * 5, RESPONSE, *[ANOTHER] * 5),
        (RESPONSE, *[ANOTHER] * 5, *[ACK] * 5),
    ],
    ids=", ".join,
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
async def test_a_call_returns_its_first_response_whenever_its_ack_comes(
    said: tuple[str, ...], at_once: bool
) -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        for what in said:
            send_reply(alice, what, request_id)
            if not at_once:
                await alice.settle()
        assert await call.outcome() == RESPONSE
        await alice.settle()
        assert alice.pending_calls == 0


@pytest.mark.rule("C4")
async def test_an_ack_alone_does_not_end_a_call() -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        alice.acknowledge(request_id)
        await alice.settle()
        assert not call.has_ended
        assert alice.pending_calls == 1
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


class AnsweringLink:
    """Answers a request before `send_nowait` has returned."""

    calls: Calls

    def __init__(self, *said: str) -> None:
        self.said = said

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        assert len(self.calls) == 1
        request_id = models.DataPacket.FromString(frame.body).rpc_request.id
        for what in self.said:
            if what == ACK:
                self.calls.on_ack("bob", request_id)
            else:
                self.calls.on_response(
                    "bob", models.RpcResponse(request_id=request_id, payload=what)
                )

    def flush_nowait(self) -> None:
        pass

    async def wait_writable(self) -> None:
        raise AssertionError("there is room")


@pytest.mark.rule("C4")
@pytest.mark.parametrize("said", [(RESPONSE,), (ACK, RESPONSE), (RESPONSE, ACK)], ids=", ".join)
async def test_a_response_may_come_before_the_request_is_sent(said: tuple[str, ...]) -> None:
    link = AnsweringLink(*said)
    link.calls = calls_through(link)
    bob = Participant(participant_info("bob"))
    assert await link.calls.perform(bob, METHOD, "hi", 2, 10.0) == RESPONSE
    assert len(link.calls) == 0


@pytest.mark.rule("C14")
@pytest.mark.parametrize("code", [0, 7, 1400, 1500, 1999, 2**32 - 1])
@pytest.mark.parametrize("message", ["", "no", "n\N{LATIN SMALL LETTER O WITH STROKE}" * 200])
@pytest.mark.parametrize(("data", "expected"), [("", None), ("why", "why"), ("{}", "{}")])
async def test_an_error_arrives_as_it_was_sent(
    code: int, message: str, data: str, expected: str | None
) -> None:
    error = models.RpcError(code=code, message=message, data=data)
    async with caller() as alice:
        call, request_id = await alice.start_call()
        response = models.RpcResponse(request_id=request_id, error=error)
        alice.server.send_from("bob", rpc_response=response)
        assert await call.failure() == (code, message, expected)


@pytest.mark.rule("C14", "C5")
async def test_an_empty_payload_is_an_empty_text() -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call("")
        alice.respond(request_id, "")
        assert await call.outcome() == ""


# Ignored packets


@pytest.mark.rule("C5")
async def test_an_empty_response_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with caller() as alice:
        call, request_id = await alice.start_call()
        alice.server.send_from("bob", rpc_response=models.RpcResponse(request_id=request_id))
        await alice.settle()
        assert not call.has_ended
        assert "ignored a response of bob that says nothing" in caplog.messages
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C5")
@pytest.mark.parametrize("what", [ACK, RESPONSE])
async def test_what_belongs_to_no_call_is_ignored(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with caller() as alice:
        send_reply(alice, what, "nobody's")
        send_reply(alice, what, "")
        await alice.settle()
        assert f"ignored a late or unknown {what} of bob to nobody's" in caplog.messages
        call, request_id = await alice.start_call()
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C5")
@pytest.mark.parametrize("what", [ACK, RESPONSE])
async def test_what_comes_late_is_ignored(what: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with caller() as alice:
        late, late_id = await alice.start_call("late", response_timeout=1)
        assert (await late.failure())[0] == RpcError.ErrorCode.RESPONSE_TIMEOUT
        call, request_id = await alice.start_call("in time")
        send_reply(alice, what, late_id)
        await alice.settle()
        assert f"ignored a late or unknown {what} of bob to {late_id}" in caplog.messages
        assert not call.has_ended
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C5")
@pytest.mark.parametrize("how", ["answered", "timed out", "cancelled"])
async def test_no_response_to_an_earlier_call_comes_to_a_later_one(how: str) -> None:
    async with caller() as alice:
        for _ in range(3):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(call_in_vain, alice.room)
                    earlier_id = (await alice.expect_request()).id
                    header = response_header(earlier_id, None)
                    send_header(alice.server, header)
                    await alice.settle()
                    if how == "cancelled":
                        # In the moment after the response has come
                        alice.room.once("data_received", lambda _, scope=scope: scope.cancel())
                    if how != "timed out":
                        alice.respond(earlier_id, "earlier")
                        alice.server.send_from("bob", user=models.UserPacket(payload=b"now"))
            later, request_id = await alice.start_call()
            for _ in range(2):
                send_reply(alice, "late", earlier_id)
                send_header(alice.server, response_header(earlier_id, b"late"))
                send_chunk(alice.server, 0, b"late", stream_id=header.stream_id)
                send_trailer(alice.server, stream_id=header.stream_id)
            await alice.settle()
            assert not later.has_ended
            alice.respond(request_id, "hello")
            assert await later.outcome() == "hello"


async def call_in_vain(room: Room) -> None:
    with suppress(RpcError):
        await room.local_participant.perform_rpc(
            destination_identity="bob", method=METHOD, payload="", response_timeout=1
        )


@pytest.mark.rule("C6")
@pytest.mark.parametrize("sender", ["mallory", "alice", "Bob", "bob ", ""])
async def test_only_the_callee_can_answer(sender: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    server = ScriptedServer(others=["bob", "mallory"])
    async with caller(server) as alice:
        call, request_id = await alice.start_call()
        send_reply(alice, "a forgery", request_id, sender)
        error = models.RpcResponse(request_id=request_id, error=models.RpcError(code=1))
        server.send_from(sender, rpc_response=error)
        await alice.settle()
        assert not call.has_ended
        assert caplog.messages.count(f"ignored {sender}'s response to a call of bob") == 2
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C6", "C2")
async def test_an_ack_of_another_participant_does_not_count() -> None:
    server = ScriptedServer(others=["bob", "mallory"])
    async with caller(server) as alice:
        call, request_id = await alice.start_call()
        alice.acknowledge(request_id, sender="mallory")
        expected = "'bob' did not acknowledge 'greet' within 7 s"
        assert await call.failure() == built_in(RpcError.ErrorCode.CONNECTION_TIMEOUT, expected)


@pytest.mark.rule("C6", "C5")
async def test_callees_cannot_answer_for_each_other() -> None:
    async with caller(ScriptedServer(others=["bob", "carol"])) as alice:
        to_bob, bobs_id = await alice.start_call("1")
        to_carol, carols_id = await alice.start_call("2", destination_identity="carol")
        alice.respond(bobs_id, "wrong", sender="carol")
        alice.respond(carols_id, "wrong", sender="bob")
        alice.respond(carols_id, "carol's", sender="carol")
        alice.respond(bobs_id, "bob's", sender="bob")
        assert await to_bob.outcome() == "bob's"
        assert await to_carol.outcome() == "carol's"


# Many calls


@pytest.mark.rule("C5")
@given(order=st.permutations(range(100)))
@settings(max_examples=20)
async def test_fifty_calls_never_cross_whatever_the_order_of_acks_and_responses(
    order: list[int],
) -> None:
    async with caller() as alice:
        calls = await start_calls(alice, 50)
        assert len({request_id for _, request_id in calls}) == 50
        assert alice.pending_calls == 50
        for each in order:
            number, is_response = divmod(each, 2)
            send_reply(alice, f"answer {number}" if is_response else ACK, calls[number][1])
        for number, (call, _) in enumerate(calls):
            assert await call.outcome() == f"answer {number}"
        assert alice.pending_calls == 0


@pytest.mark.rule("C5", "C14")
async def test_each_of_many_calls_has_its_own_outcome() -> None:
    async with caller() as alice:
        calls = await start_calls(alice, 50)
        shuffled = list(enumerate(calls))
        random.Random(2).shuffle(shuffled)
        for number, (_, request_id) in shuffled:
            if number % 5 == 1:
                error = models.RpcError(code=number, message="no")
                alice.server.send_from(
                    "bob", rpc_response=models.RpcResponse(request_id=request_id, error=error)
                )
            elif number % 5 != 2:
                alice.respond(request_id, str(number))
            await alice.settle()
        for number, (call, _) in enumerate(calls):
            if number % 5 == 1:
                assert await call.failure() == (number, "no", None)
            elif number % 5 == 2:
                assert (await call.failure())[0] == RpcError.ErrorCode.CONNECTION_TIMEOUT
            else:
                assert await call.outcome() == str(number)
        assert alice.pending_calls == 0


@pytest.mark.rule("C5")
async def test_fifty_calls_through_a_server_each_have_their_own_answer(join: Join) -> None:
    delays = [number / 100 for number in range(50)]
    random.Random(1).shuffle(delays)
    answered: list[str] = []

    async def echo_late(data: RpcInvocationData) -> str:
        await anyio.sleep(delays[int(data.payload)])
        answered.append(data.payload)
        return f"{data.caller_identity} {data.payload}"

    async def call(room_of: str, number: int) -> None:
        answer = await rooms[room_of].local_participant.perform_rpc(
            destination_identity="bob", method="echo", payload=str(number)
        )
        answers.append((room_of, number, answer))

    answers: list[tuple[str, int, str]] = []
    async with join("alice") as alice, join("carol") as carol, join("bob") as bob:
        bob.register_rpc_method("echo", echo_late)
        rooms = {"alice": alice, "carol": carol}
        for room in rooms.values():
            await room.wait_for_participant("bob")
        async with anyio.create_task_group() as task_group:
            for number in range(50):
                for name in rooms:
                    task_group.start_soon(call, name, number)
        assert len(answers) == 100
        assert all(answer == f"{name} {number}" for name, number, answer in answers)
        assert answered != sorted(answered, key=int)
        for room in (alice, carol, bob):
            assert room.statistics().pending_calls == 0
            assert room.statistics().running_handlers == 0


@pytest.mark.rule("C4", "C6")
async def test_a_callee_that_comes_back_under_its_name_cannot_answer_an_earlier_call() -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        alice.server.announce(participant_info("bob", sid="PA_2"))
        alice.respond(request_id, "hello")
        data = "'bob' left the room, and joined again: the handler may have run"
        assert await call.failure() == built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, data)

"""Requests that are sent again: what a callee answers, and what a caller sends (L7 and L8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.protocol.capabilities import CAN_RESUME

from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    peer,
    request_attributes,
    request_header,
    send_chunk,
    send_header,
    server_with,
)

pytestmark = pytest.mark.anyio

DISCONNECTED = int(RpcError.ErrorCode.RECIPIENT_DISCONNECTED)
OURS = "PA_alice"


class Callee:
    """Alice, who answers with the caller, the payload, and the number of the run."""

    def __init__(self, server: ScriptedServer, **options: Any) -> None:
        self.server = server
        self.room = Room(**options)
        self.runs = 0
        self.go_on = anyio.Event()
        self.room.register_rpc_method("greet", self._greet)
        self.room.register_rpc_method("wait", self._wait)

    async def _greet(self, data: RpcInvocationData) -> str:
        self.runs += 1
        return f"{data.caller_identity} {data.payload} {self.runs}"

    async def _wait(self, data: RpcInvocationData) -> str:
        self.runs += 1
        await self.go_on.wait()
        return data.payload

    def ask(
        self, request_id: str = "1", *, again: str = "", sender: str = "bob", **options: Any
    ) -> None:
        """Send a request; a repeat if it names a SID in `again`."""
        attributes = request_attributes(request_id, **options)
        if again:
            attributes["trio_rpc.again"] = again
        send_header(self.server, request_header(request_id, attributes=attributes), sender)

    async def acknowledged(self, request_id: str = "1") -> None:
        packet = await self.server.expect_packet("rpc_ack")
        assert packet.rpc_ack.request_id == request_id

    async def answer(self) -> str:
        """Receive the ack and the response to a request."""
        await self.acknowledged()
        return await self.response()

    async def response(self) -> str:
        packet = await self.server.expect_packet("stream_header")
        return packet.stream_header.inline_content.decode()

    async def error(self) -> models.RpcError:
        """Receive the ack and the error that answers a request."""
        await self.acknowledged()
        return (await self.server.expect_packet("rpc_response")).rpc_response.error


@asynccontextmanager
async def callee(**options: Any) -> AsyncIterator[Callee]:
    """Connect alice to a room with bob and carol, who may ask again, and dave, who may not."""
    server = server_with(
        peer("bob", capabilities=[CAN_RESUME]),
        peer("carol", capabilities=[CAN_RESUME]),
        peer("dave"),
    )
    alice = Callee(server, **options)
    async with alice.room.connect(server, "a token", reconnect=None):
        yield alice


@pytest.mark.rule("L7", "L8")
async def test_an_answered_request_gets_its_outcome_again() -> None:
    async with callee() as alice:
        alice.ask()
        assert await alice.answer() == "bob hi 1"
        for _ in range(3):
            alice.ask(again=OURS)
            assert await alice.answer() == "bob hi 1"


@pytest.mark.rule("L7", "L8")
async def test_an_error_is_an_outcome_too() -> None:
    async with callee() as alice:

        @alice.room.register_rpc_method("fail")
        async def fail(_: RpcInvocationData) -> None:
            alice.runs += 1
            raise RpcError(7, f"run {alice.runs}")

        alice.ask(method="fail")
        assert (await alice.error()).message == "run 1"
        alice.ask(again=OURS, method="fail")
        assert (await alice.error()).message == "run 1"


@pytest.mark.rule("L7", "L8")
async def test_a_repeat_waits_for_the_handler_that_runs() -> None:
    async with callee() as alice:
        alice.ask(method="wait")
        await alice.acknowledged()
        for _ in range(2):
            alice.ask(again=OURS, method="wait")
            await alice.acknowledged()
        alice.go_on.set()
        assert await alice.response() == "hi"
        alice.ask("2")
        await alice.acknowledged("2")
        assert alice.runs == 2


@pytest.mark.rule("L8")
async def test_a_request_that_never_came_runs() -> None:
    async with callee() as alice:
        alice.ask(again=OURS)
        assert await alice.answer() == "bob hi 1"
        alice.ask(again=OURS)
        assert await alice.answer() == "bob hi 1"


@pytest.mark.rule("L8")
@pytest.mark.parametrize("sid", ["PA_other", "x" * 10_000])
async def test_another_process_runs_nothing(sid: str) -> None:
    async with callee() as alice:
        alice.ask(again=sid)
        error = await alice.error()
        assert error.code == DISCONNECTED
        assert "may have run" in error.data
        assert alice.runs == 0


@pytest.mark.rule("B1")
async def test_a_request_that_comes_twice_and_is_no_repeat_is_ignored() -> None:
    async with callee() as alice:
        alice.ask()
        assert await alice.answer() == "bob hi 1"
        alice.ask()
        alice.ask("2")
        await alice.acknowledged("2")


@pytest.mark.rule("L7", "L8")
async def test_nobody_gets_the_outcome_of_anothers_request() -> None:
    async with callee() as alice:
        alice.ask()
        assert await alice.answer() == "bob hi 1"
        alice.ask(again=OURS, sender="carol")
        assert await alice.answer() == "carol hi 2"


@pytest.mark.rule("L7")
async def test_the_outcome_outlives_the_callers_session() -> None:
    async with callee() as alice:
        alice.ask()
        assert await alice.answer() == "bob hi 1"
        gone = models.ParticipantInfo(
            identity="bob", sid="PA_bob", state=models.ParticipantInfo.DISCONNECTED
        )
        alice.server.announce(gone)
        await anyio.sleep(1)
        again = peer("bob", capabilities=[CAN_RESUME])
        again.sid = "PA_bob2"
        alice.server.announce(again)
        alice.ask(again=OURS)
        assert await alice.answer() == "bob hi 1"


@pytest.mark.rule("L7")
async def test_the_outcome_is_kept_until_a_minute_after_the_deadline_of_the_request() -> None:
    async with callee() as alice:
        alice.ask(timeout_ms=8_000)
        assert await alice.answer() == "bob hi 1"
        for seconds, is_kept in ((66, True), (8, False)):
            with anyio.move_on_after(seconds):
                while True:
                    await alice.server.receive_ping()
                    # It lives.
                    alice.server.announce()
            assert (alice.room.statistics().held_bytes > 0) is is_kept


@pytest.mark.rule("L7")
async def test_outcomes_are_kept_for_those_who_may_ask_again() -> None:
    async with callee() as alice:
        alice.ask(sender="dave")
        assert await alice.answer() == "dave hi 1"
        alice.ask(again=OURS, sender="dave")
        error = await alice.error()
        assert error.code == DISCONNECTED
        assert "the handler has run" in error.data
        assert alice.runs == 1


@pytest.mark.rule("L7", "B4")
async def test_an_outcome_for_which_there_is_no_room_is_not_made_again() -> None:
    async with callee(max_peer_bytes=32_000) as alice:

        @alice.room.register_rpc_method("large")
        async def large(_: RpcInvocationData) -> str:
            return "x" * 10_000

        alice.ask(method="large")
        assert len(await alice.answer()) == 10_000
        alice.ask(again=OURS, method="large")
        error = await alice.error()
        assert error.code == DISCONNECTED
        assert "the handler has run" in error.data


@pytest.mark.rule("L8")
async def test_a_request_that_broke_off_with_its_callers_session_runs_when_it_comes_again() -> None:
    async with callee() as alice:
        send_header(alice.server, request_header(content=None, total_length=4))
        send_chunk(alice.server, 0, b"hi", stream_id="request 1")
        await alice.acknowledged()
        again = peer("bob", capabilities=[CAN_RESUME])
        again.sid = "PA_bob2"
        alice.server.announce(again)
        alice.ask(again=OURS)
        assert await alice.answer() == "bob hi 1"


@pytest.mark.rule("L8")
async def test_a_repeat_comes_in_place_of_a_request_that_is_not_complete() -> None:
    async with callee() as alice:
        send_header(alice.server, request_header(content=None, total_length=4))
        send_chunk(alice.server, 0, b"hi", stream_id="request 1")
        await alice.acknowledged()
        alice.ask(again=OURS)
        assert await alice.answer() == "bob hi 1"
        send_chunk(alice.server, 1, b"ho", stream_id="request 1")
        alice.ask("2")
        await alice.acknowledged("2")


# The caller


@asynccontextmanager
async def pending_call(
    *, capabilities: tuple[int, ...] = (CAN_RESUME,)
) -> AsyncIterator[tuple[ScriptedServer, str, list[object]]]:
    """Have alice call bob; yield the id of the request, and the list of outcomes."""
    server, room = server_with(peer("bob", capabilities=capabilities)), Room()
    outcomes: list[object] = []

    async def call() -> None:
        try:
            outcome = await room.local_participant.perform_rpc(
                destination_identity="bob", method="greet", payload="hi", response_timeout=20
            )
        except RpcError as error:
            outcomes.append(error)
        else:
            outcomes.append(outcome)

    async with (
        room.connect(server, "a token", reconnect=None),
        anyio.create_task_group() as task_group,
    ):
        task_group.start_soon(call)
        header = (await server.expect_packet("stream_header")).stream_header
        yield server, header.attributes["lk.rpc_request_id"], outcomes


def successor(*capabilities: int) -> models.ParticipantInfo:
    """Return the description of bob in another session."""
    info = peer("bob", capabilities=capabilities)
    info.sid = "PA_bob2"
    return info


def end_of_session() -> models.ParticipantInfo:
    return models.ParticipantInfo(
        identity="bob", sid="PA_bob", state=models.ParticipantInfo.DISCONNECTED
    )


@pytest.mark.rule("L8", "C2", "C3")
async def test_a_call_is_sent_again_in_the_next_session_of_its_callee() -> None:
    async with pending_call() as (server, request_id, outcomes):
        await anyio.sleep(5)
        server.announce(end_of_session(), successor(CAN_RESUME))
        packet = await server.expect_packet("stream_header")
        header = packet.stream_header
        assert packet.destination_identities == ["bob"]
        assert header.topic == "lk.rpc_request"
        assert header.inline_content == b"hi"
        assert header.stream_id != request_id
        assert header.attributes["trio_rpc.again"] == "PA_bob"
        assert header.attributes["lk.rpc_request_id"] == request_id
        assert header.attributes["lk.rpc_request_method"] == "greet"
        assert 14_000 < int(header.attributes["lk.rpc_request_response_timeout_ms"]) < 15_000
        await anyio.sleep(5)
        assert outcomes == []
        server.send_from("bob", rpc_ack=models.RpcAck(request_id=request_id))
        server.send_from(
            "bob", rpc_response=models.RpcResponse(request_id=request_id, payload="hello")
        )
    assert outcomes == ["hello"]


@pytest.mark.rule("L8")
async def test_a_request_that_is_being_sent_is_sent_anew_and_not_broken_off() -> None:
    server, room = (
        server_with(peer("bob", capabilities=[CAN_RESUME])),
        Room(max_payload_bytes=10**7),
    )
    async with (
        room.connect(server, "a token", reconnect=None),
        anyio.create_task_group() as task_group,
    ):
        payload = "x" * 6_000_000

        async def call() -> None:
            await room.local_participant.perform_rpc(
                destination_identity="bob", method="greet", payload=payload, response_timeout=20
            )

        task_group.start_soon(call)
        first = (await server.expect_packet("stream_header")).stream_header
        await anyio.wait_all_tasks_blocked()
        server.announce(end_of_session(), successor(CAN_RESUME))
        packet = await server.expect_packet()
        while packet.WhichOneof("value") == "stream_chunk":
            assert packet.stream_chunk.stream_id == first.stream_id
            packet = await server.expect_packet()
        again = packet.stream_header
        assert again.attributes["trio_rpc.again"] == "PA_bob"
        content = b""
        packet = await server.expect_packet("stream_chunk")
        while packet.WhichOneof("value") == "stream_chunk":
            # One more of the first stream may have been on its way.
            if packet.stream_chunk.stream_id == again.stream_id:
                content += packet.stream_chunk.content
            packet = await server.expect_packet()
        assert packet.stream_trailer.reason == ""
        assert content.decode() == payload
        response = models.RpcResponse(
            request_id=again.attributes["lk.rpc_request_id"], payload="hello"
        )
        server.send_from("bob", rpc_response=response)


@pytest.mark.rule("L8")
async def test_a_second_repeat_names_the_first_session() -> None:
    async with pending_call() as (server, request_id, _):
        for number in (2, 3):
            info = successor(CAN_RESUME)
            info.sid = f"PA_bob{number}"
            server.announce(info)
            header = (await server.expect_packet("stream_header")).stream_header
            assert header.attributes["trio_rpc.again"] == "PA_bob"
        server.send_from(
            "bob", rpc_response=models.RpcResponse(request_id=request_id, payload="hello")
        )


@pytest.mark.rule("L8", "C8")
@pytest.mark.parametrize(("before", "after"), [((), (CAN_RESUME,)), ((CAN_RESUME,), ()), ((), ())])
async def test_a_callee_that_might_run_it_twice_is_not_asked_again(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    async with pending_call(capabilities=before) as (server, _, outcomes):
        server.announce(end_of_session(), successor(*after))
    (error,) = outcomes
    assert isinstance(error, RpcError)
    assert error.code == DISCONNECTED
    assert "may have run" in (error.data or "")


@pytest.mark.rule("C8")
async def test_a_callee_that_left_before_it_came_back_is_not_asked_again() -> None:
    async with pending_call() as (server, _, outcomes):
        server.announce(end_of_session())
        server.announce(successor(CAN_RESUME))
    (error,) = outcomes
    assert isinstance(error, RpcError)
    assert (error.code, error.data) == (DISCONNECTED, "'bob' left the room")


@pytest.mark.rule("L8", "C13")
async def test_a_call_that_was_cancelled_is_not_sent_again() -> None:
    server, room = server_with(peer("bob", capabilities=[CAN_RESUME])), Room()
    async with room.connect(server, "a token", reconnect=None):
        with anyio.move_on_after(1):
            await room.local_participant.perform_rpc(
                destination_identity="bob", method="greet", payload="hi"
            )
        server.announce(end_of_session(), successor(CAN_RESUME))
        await server.settle(room)
        await server.expect_packet("stream_header")
        await room.disconnect()
        messages, _ = await server.receive_rest()
        assert not [each for each in messages if isinstance(each, models.DataPacket)]


# Against peers that repeat what they should not


@pytest.mark.rule("L7", "B4")
async def test_a_flood_of_repeats_is_bounded() -> None:
    async with callee(max_peer_bytes=200_000, max_payload_bytes=100_000) as alice:

        @alice.room.register_rpc_method("large")
        async def large(_: RpcInvocationData) -> str:
            alice.runs += 1
            return "é" * 10_000

        alice.ask(method="large")
        await alice.acknowledged()
        await alice.server.settle(alice.room)
        for _ in range(2_000):
            alice.ask(again=OURS, method="large")
            alice.ask(again="PA_other", request_id="2")
            alice.ask(again="x", sender="dave")
        await alice.server.settle(alice.room)
        assert alice.room.statistics().held_bytes <= 200_000
        assert alice.room.statistics().running_handlers == 0
        assert alice.runs == 1


@pytest.mark.rule("L8", "B3")
@pytest.mark.parametrize("again", ["é" * 100, "\n", "PA_alice\x00", " PA_alice"])
async def test_a_forged_sid_gets_an_error_and_nothing_else(again: str) -> None:
    async with callee() as alice:
        for number in range(3):
            alice.ask(str(number), again=again)
            await alice.acknowledged(str(number))
            error = (await alice.server.expect_packet("rpc_response")).rpc_response.error
            assert error.code == DISCONNECTED
        assert alice.runs == 0
        alice.ask()
        assert await alice.answer() == "bob hi 1"


@pytest.mark.rule("B1", "L7")
async def test_a_repeat_without_an_id_is_ignored() -> None:
    async with callee() as alice:
        attributes = request_attributes() | {"trio_rpc.again": OURS}
        del attributes["lk.rpc_request_id"]
        send_header(alice.server, request_header(attributes=attributes))
        alice.ask()
        assert await alice.answer() == "bob hi 1"

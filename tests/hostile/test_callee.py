"""Callees of hostile callers: one caller's requests concern that caller alone (B1 to B5)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.protocol.limits import MAX_TIMEOUT_MS

from ..support.callee import METHOD, callee, expect_ack, expect_response, failure, send_request
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    deflated,
    peer,
    request_header,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    server_with,
)

pytestmark = pytest.mark.anyio


class Handler:
    """A handler that counts its calls, and ends when it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = anyio.Event()

    async def __call__(self, data: RpcInvocationData) -> str:
        self.calls.append(data.request_id)
        await self.gate.wait()
        return "done"


@asynccontextmanager
async def v2_callee(handler: Any, **limits: int) -> AsyncIterator[tuple[Room, ScriptedServer]]:
    room, server = Room(**limits), server_with(peer("bob"), peer("carol"))
    room.register_rpc_method(METHOD, handler)
    async with room.connect(server, "a token", reconnect=None):
        yield room, server


async def assert_answers(server: ScriptedServer, request_id: str = "honest") -> None:
    """Make sure that a call of somebody else is answered."""
    request = models.RpcRequest(
        id=request_id, method="honest", payload="", response_timeout_ms=5_000, version=1
    )
    server.send_from("carol", rpc_request=request)
    kinds = []
    while True:
        packet = await server.expect_packet()
        if packet.destination_identities == ["carol"]:
            kinds.append(packet.WhichOneof("value"))
            if kinds[-1] == "rpc_response":
                break
    assert kinds == ["rpc_ack", "rpc_response"]
    assert packet.rpc_response.payload == "fine"


async def honest(_data: RpcInvocationData) -> str:
    return "fine"


# Ids


@pytest.mark.rule("B1", "B3")
async def test_a_request_whose_id_is_running_is_ignored() -> None:
    handler = Handler()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server)
        send_request(server)
        assert await expect_ack(server) == "1"
        await assert_answers(server)
        handler.gate.set()
        assert (await expect_response(server)).payload == "done"
        await assert_answers(server, "2")
    assert handler.calls == ["1"]


@pytest.mark.rule("B1")
async def test_a_request_that_was_answered_is_ignored_until_its_deadline() -> None:
    handler = Handler()
    handler.gate.set()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server, timeout_ms=5_000)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        await anyio.sleep(4.9)
        send_request(server)
        await assert_answers(server)
        assert len(handler.calls) == 1
        await anyio.sleep(0.2)
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        assert len(handler.calls) == 2


@pytest.mark.rule("B1", "B4")
async def test_an_answered_request_is_not_remembered_for_weeks() -> None:
    handler = Handler()
    handler.gate.set()
    room, server = Room(), server_with(peer("bob"), peer("carol"))
    server.join.ping_timeout = 1_000
    room.register_rpc_method(METHOD, handler)
    room.register_rpc_method("honest", honest)
    async with room.connect(server, "a token", reconnect=None):
        # Its deadline is 49 days away.
        send_request(server, timeout_ms=MAX_TIMEOUT_MS)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        held = room.statistics().held_bytes
        await anyio.sleep(299)
        send_request(server, timeout_ms=MAX_TIMEOUT_MS)
        await assert_answers(server)
        assert len(handler.calls) == 1
        assert room.statistics().held_bytes >= held > 0
        await anyio.sleep(20)
        # That of carol, who has called since.
        assert room.statistics().held_bytes <= held
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        assert len(handler.calls) == 2


@pytest.mark.rule("B1")
async def test_the_same_id_of_another_caller_is_another_request() -> None:
    handler = Handler()
    handler.gate.set()
    async with callee(handler) as (_, server):
        for sender in ("bob", "carol"):
            request = models.RpcRequest(id="1", method=METHOD, response_timeout_ms=5_000, version=1)
            server.send_from(sender, rpc_request=request)
        answers = [await server.expect_packet() for _ in range(4)]
        assert {(each.destination_identities[0], each.WhichOneof("value")) for each in answers} == {
            (sender, kind) for sender in ("bob", "carol") for kind in ("rpc_ack", "rpc_response")
        }


@pytest.mark.rule("B1")
async def test_a_stream_with_the_id_of_a_running_request_is_ignored() -> None:
    handler = Handler()
    async with v2_callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_header(server, request_header("1", content=b"hi", method=METHOD))
        assert await expect_ack(server) == "1"
        again = request_header("1", content=b"hi", method=METHOD)
        again.stream_id = "other"
        send_header(server, again)
        send_request(server, "1")
        await assert_answers(server)
    assert handler.calls == ["1"]


@pytest.mark.rule("B2", "P8")
@pytest.mark.parametrize("size", [0, 129, 55_000, 63_600])
async def test_an_id_out_of_bounds_is_malformed(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    handler = Handler()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        for attempt in range(4):
            for _ in range(50):
                send_request(server, "i" * size)
            await assert_answers(server, str(attempt))
    assert handler.calls == []
    assert any(f"a request id of {size:,} bytes: it has 1 to 128" in m for m in caplog.messages)


@pytest.mark.rule("B2")
async def test_the_longest_id_is_answered_with_the_largest_payload() -> None:
    request_id = "i" * 128

    async def handler(_data: RpcInvocationData) -> str:
        return "x" * 15_360

    async with v2_callee(handler) as (_, server):
        send_request(server, request_id)
        assert await expect_ack(server) == request_id
        assert len((await expect_response(server)).payload) == 15_360
        header = request_header(request_id + "2", content=b"hi", method=METHOD)
        send_header(server, header)  # its id is one byte too long
        send_header(server, request_header("2" * 128, content=b"hi", method=METHOD))
        assert await expect_ack(server) == "2" * 128


# Answers that cannot be built


class NastyText(str):
    """A text that raises wherever it is examined."""

    __slots__ = ()

    def isascii(self) -> NoReturn:
        raise RuntimeError("isascii")

    def encode(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError("encode")

    def __len__(self) -> NoReturn:
        raise RuntimeError("len")


class NastyError(RpcError):
    """An error that raises when it is examined."""

    @property
    def message(self) -> NoReturn:
        raise RuntimeError("message")


async def return_nasty_text(_data: RpcInvocationData) -> str:
    return NastyText("hello")


async def raise_nasty_error(_data: RpcInvocationData) -> str:
    raise NastyError(2000, "no")


async def raise_generator_exit(_data: RpcInvocationData) -> str:
    raise GeneratorExit


async def return_coroutine(data: RpcInvocationData) -> Any:
    return honest(data)


@pytest.mark.rule("B3", "A9")
@pytest.mark.parametrize("handler", [raise_nasty_error, raise_generator_exit, return_coroutine])
async def test_an_answer_that_cannot_be_built_is_1500(handler: Any) -> None:
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server)
        assert await expect_ack(server) == "1"
        assert failure(await expect_response(server))[0] == 1500
        await assert_answers(server)


@pytest.mark.rule("B3", "A8")
async def test_a_result_that_is_text_of_another_class_is_text() -> None:
    async with callee(return_nasty_text) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "hello"
        await assert_answers(server)


@pytest.mark.rule("B3")
async def test_a_callback_that_ends_in_no_ordinary_way_ends_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with callee(honest) as (room, server):

        @room.on("data_received")
        def raise_exit(_packet: object) -> None:
            raise GeneratorExit

        room.register_rpc_method("honest", honest)
        server.send_from("bob", user=models.UserPacket(payload=b"x"))
        await assert_answers(server)
    assert "a callback for data_received failed" in caplog.messages


@pytest.mark.rule("B3")
async def test_a_failure_of_ours_concerns_one_packet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with callee(honest) as (room, server):
        room.register_rpc_method("honest", honest)

        def fail(*_arguments: object) -> NoReturn:
            raise LookupError("a bug")

        assert room._session is not None
        monkeypatch.setattr(room._session.calls, "on_ack", fail)
        server.send_from("bob", rpc_ack=models.RpcAck(request_id="1"))
        await assert_answers(server)
    (record,) = (each for each in caplog.records if each.exc_info)
    assert "LookupError: a bug" in caplog.text
    assert record.levelno == logging.ERROR


# Requests that wait


@pytest.mark.rule("B5", "A9")
async def test_requests_that_wait_are_bounded_per_caller() -> None:
    handler = Handler()
    async with callee(handler, max_concurrent_handlers=1, max_waiting_requests=3) as (room, server):
        for number in range(6):
            send_request(server, str(number))
        request = models.RpcRequest(id="9", method=METHOD, response_timeout_ms=5_000, version=1)
        server.send_from("carol", rpc_request=request)
        packets = [await server.expect_packet() for _ in range(9)]
        assert sum(each.WhichOneof("value") == "rpc_ack" for each in packets) == 7
        refused = [each.rpc_response for each in packets if each.HasField("rpc_response")]
        assert [response.request_id for response in refused] == ["4", "5"]
        code, message, data = failure(refused[0])
        assert (code, message) == (1500, "Application error in method handler")
        assert data == (
            "not taken: 3 requests of this caller wait for a handler, which is the limit "
            "(max_waiting_requests)"
        )
        assert room.statistics().running_handlers == 5
        handler.gate.set()
        answered = [await server.expect_packet() for _ in range(5)]
        assert [each.rpc_response.request_id for each in answered] == ["0", "1", "9", "2", "3"]
    assert handler.calls == ["0", "1", "9", "2", "3"]


@pytest.mark.rule("A13", "B5")
async def test_nobody_takes_all_handler_slots() -> None:
    handler = Handler()
    async with callee(handler, max_concurrent_handlers=8) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(20):
            send_request(server, str(number), timeout_ms=MAX_TIMEOUT_MS)
        await assert_answers(server)
        await assert_answers(server, "another")
        assert len(handler.calls) == 7


@pytest.mark.rule("B5")
async def test_cancelled_requests_leave_the_queue_newest_first() -> None:
    handler = Handler()
    count = 3_000
    async with callee(handler, max_concurrent_handlers=1) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(count):
            send_request(server, str(number), timeout_ms=2**32 - 1)
        for number in reversed(range(1, count)):
            cancel(server, str(number))
        cancelled: list[int] = []
        while len(cancelled) < count - 1:
            packet = await server.expect_packet()
            if packet.HasField("rpc_response"):
                assert packet.rpc_response.error.code == 1502
                cancelled.append(int(packet.rpc_response.request_id))
        assert cancelled == [*reversed(range(1, count))]
        assert room.statistics().running_handlers == 1
    assert handler.calls == ["0"]


def cancel(server: ScriptedServer, request_id: str) -> None:
    user = models.UserPacket(payload=request_id.encode(), topic="trio_rpc.cancel")
    server.send_from("bob", user=user)


@pytest.mark.rule("B5")
async def test_requests_that_wait_end_at_their_deadline_without_a_slot() -> None:
    handler = Handler()
    async with callee(handler, max_concurrent_handlers=1) as (_, server):
        for number, timeout in enumerate((14_000, 9_000, 3_000, 6_000)):
            send_request(server, str(number), timeout_ms=timeout)
        ended: list[tuple[str, int]] = []
        started = anyio.current_time()
        while len(ended) < 3:
            packet = await server.expect_packet()
            if packet.HasField("rpc_response"):
                assert packet.rpc_response.error.code == 1502
                seconds = round(anyio.current_time() - started)
                ended.append((packet.rpc_response.request_id, seconds))
        assert ended == [("2", 3), ("3", 6), ("1", 9)]
    assert handler.calls == ["0"]


@pytest.mark.rule("B5")
async def test_a_cancellation_in_the_same_message_as_its_request_counts() -> None:
    handler = Handler()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(20):
            send_request(server, str(number))
            cancel(server, str(number))
        responses: list[int] = []
        while len(responses) < 20:
            packet = await server.expect_packet()
            if packet.HasField("rpc_response"):
                responses.append(packet.rpc_response.error.code)
        assert responses == [1502] * 20
        assert room.statistics().running_handlers == 0
    assert handler.calls == []


# What requests hold


@pytest.mark.rule("B4")
async def test_requests_over_the_budget_of_their_caller_are_refused() -> None:
    handler = Handler()
    async with callee(handler, max_peer_bytes=100_000) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(20):
            send_request(server, str(number), payload="x" * 15_000)
        refused: list[str] = []
        while len(refused) < 15:
            packet = await server.expect_packet()
            if packet.HasField("rpc_response"):
                code, _, data = failure(packet.rpc_response)
                assert code == 1500
                assert data.startswith("not taken: ")
                assert data.endswith("the limit of 100,000 (max_peer_bytes)")
                refused.append(packet.rpc_response.request_id)
        assert refused == [str(number) for number in range(5, 20)]
        assert room.statistics().held_bytes <= 100_000
        await assert_answers(server)
        handler.gate.set()
        for _ in range(5):
            assert (await expect_response(server)).payload == "done"
    assert len(handler.calls) == 5


@pytest.mark.rule("B4", "B6")
async def test_content_for_unknown_methods_is_not_kept() -> None:
    bomb = deflated(bytes(16 * 1024 * 1024))
    async with v2_callee(honest) as (room, server):
        for number in range(100):
            header = request_header(str(number), content=None, method="unknown", compression=1)
            send_stream(server, header, [bomb[:15_000], bomb[15_000:]])
        codes: list[int] = []
        while len(codes) < 100:
            packet = await server.expect_packet()
            if packet.HasField("rpc_response"):
                codes.append(packet.rpc_response.error.code)
        assert codes == [1400] * 100
        assert room.statistics().held_bytes == 0
        assert room.statistics().open_streams == 0


@pytest.mark.rule("B4", "B6", "S7")
async def test_bombs_inflate_within_the_budget_of_their_sender() -> None:
    bomb = deflated(bytes(16 * 1024 * 1024))
    held: list[int] = []
    handler = Handler()
    async with v2_callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(10):
            header = request_header(str(number), content=None, method=METHOD, compression=1)
            send_stream(server, header, [bomb[:15_000], bomb[15_000:]])
        errors: list[str] = []
        # The budget has room for one, or two; the others compete for it, and fail.
        while len(errors) < 8:
            packet = await server.expect_packet()
            held.append(room.statistics().held_bytes)
            if packet.HasField("rpc_response"):
                code, _, data = failure(packet.rpc_response)
                assert code == 1500
                assert data.startswith("the request broke off: ")
                errors.append(data)
        await assert_answers(server)
    assert max(held) <= 32 * 1024 * 1024
    assert all("(max_peer_bytes)" in error for error in errors)


@pytest.mark.rule("B5")
async def test_a_body_that_does_not_come_holds_no_handler_slot() -> None:
    handler = Handler()
    handler.gate.set()
    async with v2_callee(handler, max_concurrent_handlers=1) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(5):
            header = request_header(str(number), content=None, method=METHOD)
            send_header(server, header)
            assert await expect_ack(server) == str(number)
        await assert_answers(server)
        cancel(server, "3")
        assert failure(await expect_response(server))[::2] == (1502, "the caller gave up")
        send_chunk(server, 0, b"hi", stream_id="request 2")
        send_trailer(server, stream_id="request 2")
        packet = await server.expect_packet()
        assert packet.stream_header.inline_content == b"done"
        assert room.statistics().open_streams == 3


@pytest.mark.rule("B5", "A9")
async def test_a_request_stream_over_the_limit_is_refused() -> None:
    async with v2_callee(Handler(), max_peer_streams=2) as (room, server):
        room.register_rpc_method("honest", honest)
        for number in range(3):
            header = request_header(str(number), content=None, method=METHOD)
            send_header(server, header)
            assert await expect_ack(server) == str(number)
        assert failure(await expect_response(server))[2] == (
            "not taken: 2 streams of this participant are open, which is the limit "
            "(max_peer_streams)"
        )
        assert room.statistics().open_streams == 2
        await assert_answers(server)


@pytest.mark.rule("B3", "P8")
async def test_malformed_packets_that_have_a_sender_end_no_session() -> None:
    async with callee(honest) as (room, server):
        room.register_rpc_method("honest", honest)
        packet = models.DataPacket(participant_identity="bob")
        for _ in range(500):
            server.send(packet)
        await assert_answers(server)

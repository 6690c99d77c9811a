"""Requests that wait at a callee, and the memory that they hold (rules A13, B4, B5)."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models

from trio_rpc.protocol.limits import MAX_TIMEOUT_MS

from ..support.callee import METHOD, callee, expect_ack, expect_response, failure, send_request
from ..support.stream_packets import (
    deflated,
    request_header,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
)
from .honest_callee import Handler, assert_answers, cancel, honest, v2_callee

pytestmark = pytest.mark.anyio


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


# The memory of requests


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

"""Rules S1 to S8 for calls: requests and responses that travel as streams, packet by packet."""

from __future__ import annotations

import random
import string
import time
from typing import Any, Final

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import RoomStatistics, RpcError, RpcInvocationData

from ..support.callee import callee, expect_ack, expect_response, failure, leave, send_request
from ..support.caller import built_in
from ..support.stream_packets import (
    CANCELLATION,
    DEFLATE_RAW,
    REQUEST_TOPIC,
    RESPONSE_TOPIC,
    byte_header,
    expect_stream,
    expect_whole_stream,
    peer,
    request_attributes,
    request_header,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
    text_header,
)
from ..support.v2_participants import v2_callee, v2_caller

pytestmark = pytest.mark.anyio

LARGE: Final = 100_000
codes = RpcError.ErrorCode


async def echo(data: RpcInvocationData) -> str:
    return data.payload


async def nothing(data: RpcInvocationData) -> None:
    pass


async def too_long(data: RpcInvocationData) -> str:
    return "x" * 100_001


async def never_end(data: RpcInvocationData) -> str:
    await anyio.sleep_forever()
    raise AssertionError


def incompressible(size: int) -> str:
    """Text that hardly gets smaller by compression."""
    return "".join(random.Random(size).choices(string.printable, k=size))


# Requests and responses on the wire


@pytest.mark.rule("S2", "S4", "C3", "P4")
async def test_a_request_says_all_in_its_attributes() -> None:
    before = time.time_ns() // 1_000_000
    async with v2_caller() as alice:
        alice.call("hi", method="größe", response_timeout=4)
        stream = await expect_whole_stream(alice.server)
        header = stream.header
        attributes = stream.attributes
        assert attributes == request_attributes(
            attributes["lk.rpc_request_id"], "größe", timeout_ms=3_999, version=2
        )
        assert len(attributes["lk.rpc_request_id"]) == 36
        assert (header.topic, header.mime_type) == (REQUEST_TOPIC, "text/plain")
        assert header.WhichOneof("content_header") == "text_header"
        assert before <= header.timestamp <= time.time_ns() // 1_000_000
        assert stream.destinations == {("bob",)}
        assert stream.packets[0].kind == models.DataPacket.RELIABLE


@pytest.mark.rule("S2", "S3", "P4")
@pytest.mark.parametrize("client_protocol", [1, 2])
async def test_a_response_names_its_request_alone(client_protocol: int) -> None:
    async with v2_callee(echo, client_protocol) as (_, server):
        send_header(server, request_header("17"))
        assert await expect_ack(server) == "17"
        stream = await expect_whole_stream(server)
        assert stream.attributes == {"lk.rpc_request_id": "17"}
        assert (stream.header.topic, stream.header.mime_type) == (RESPONSE_TOPIC, "text/plain")
        assert stream.destinations == {("bob",)}
        assert stream.content == b"hi"


@pytest.mark.rule("C3", "S2")
@pytest.mark.parametrize(
    ("response_timeout", "timeout_ms"),
    [(0.0001, 1), (0.001, 1), (10, 9_999), (1e9, 2**32 - 1), (float("inf"), 2**32 - 1)],
)
async def test_any_timeout_fits_into_the_attribute(
    response_timeout: float, timeout_ms: int
) -> None:
    async with v2_caller() as alice:
        alice.call("hi", response_timeout=response_timeout)
        stream = await expect_stream(alice.server)
        assert stream.attributes["lk.rpc_request_response_timeout_ms"] == str(timeout_ms)


@pytest.mark.rule("S4", "S5", "C10")
@pytest.mark.parametrize(
    ("client_protocol", "capabilities", "payload", "form"),
    [
        (1, (), "", "chunked"),
        (1, (), "x" * 15_000, "chunked"),
        (1, (DEFLATE_RAW,), "x" * 60_000, "chunked"),
        (2, (), "", "inline"),
        (2, (), "x" * 14_000, "inline"),
        (2, (), "x" * 15_000, "chunked"),
        (2, (), "x" * 60_000, "chunked"),
        (2, (CANCELLATION,), "x" * 60_000, "chunked"),
        (2, (DEFLATE_RAW,), "x" * 100, "inline"),
        (2, (DEFLATE_RAW,), "x" * 14_000, "inline"),
        (2, (DEFLATE_RAW,), "x" * 15_000, "inline, deflated"),
        (2, (DEFLATE_RAW,), "x" * 60_000, "inline, deflated"),
        (2, (DEFLATE_RAW,), incompressible(60_000), "chunked, deflated"),
        (2, (DEFLATE_RAW,), "".join(map(chr, range(0x4E00, 0x9E00))), "chunked, deflated"),
    ],
)
async def test_a_payload_takes_the_form_that_its_receiver_understands(
    client_protocol: int, capabilities: tuple[int, ...], payload: str, form: str
) -> None:
    async with v2_caller(client_protocol, capabilities, max_payload_bytes=LARGE) as alice:
        alice.call(payload)
        stream = await expect_whole_stream(alice.server)
        assert stream.form == form
        assert stream.content == payload.encode()
        assert stream.destinations == {("bob",)}
    async with callee(echo, max_payload_bytes=LARGE) as (_, server):
        server.announce(peer("bob", client_protocol, capabilities))
        send_stream(server, request_header(content=None), [payload.encode()] if payload else [])
        await expect_ack(server)
        stream = await expect_whole_stream(server)
        assert stream.form == form
        assert stream.content == payload.encode()


# Limits


@pytest.mark.rule("C10")
@pytest.mark.parametrize(("size", "limit"), [(15_361, 15_360), (100_001, LARGE)])
async def test_a_payload_over_the_limit_is_1402_before_anything_is_sent(
    size: int, limit: int
) -> None:
    async with v2_caller(max_payload_bytes=limit) as alice:
        call = alice.call("x" * size)
        assert await call.failure() == built_in(
            codes.REQUEST_PAYLOAD_TOO_LARGE,
            f"the payload has {size:,} bytes, over the limit of {limit:,}",
        )
        assert await leave(alice.room, alice.server) == []


@pytest.mark.rule("C10")
async def test_no_limit_of_ours_allows_a_larger_payload_to_a_v1_callee() -> None:
    async with v2_caller(0, max_payload_bytes=LARGE) as alice:
        alice.call("x" * 15_360)
        assert len((await alice.expect_request()).payload) == 15_360
        call = alice.call("x" * 15_361)
        assert await call.failure() == built_in(
            codes.REQUEST_PAYLOAD_TOO_LARGE,
            "the payload has 15,361 bytes, over the limit of 15,360",
        )


@pytest.mark.rule("A8", "C10", "S3")
async def test_a_result_over_the_limit_is_1504() -> None:
    async with v2_callee(too_long, max_payload_bytes=LARGE) as (_, server):
        send_header(server, request_header())
        await expect_ack(server)
        assert failure(await expect_response(server)) == (
            1504,
            "Response payload too large",
            "the response of 'greet' has 100,001 bytes, over the limit of 100,000",
        )


# Acks and errors are packets


async def raise_value_error(data: RpcInvocationData) -> str:
    raise ValueError("secret")


async def raise_rpc_error(data: RpcInvocationData) -> str:
    raise RpcError(7, "é" * 200, "ü" * 10_000)


async def return_an_int(data: RpcInvocationData) -> Any:
    return 42


@pytest.mark.rule("S3", "A1", "A2", "A5", "A6", "A7", "A8", "A9")
@pytest.mark.parametrize(
    ("handler", "request_fields", "expected"),
    [
        (echo, {"method": "sing"}, (1400, "no method 'sing' is registered")),
        (echo, {"version": 1}, (1404, "version 1 was asked for, 2 is spoken here")),
        (echo, {"version": 3}, (1404, "version 3 was asked for, 2 is spoken here")),
        (raise_value_error, {}, (1500, "the handler of 'greet' failed; its own log says why")),
        (return_an_int, {}, (1500, "the handler of 'greet' failed; its own log says why")),
        (
            never_end,
            {"timeout_ms": 50},
            (1502, "the handler of 'greet' did not finish within 0.05 s"),
        ),
        (never_end, {"timeout_ms": 0}, (1502, "the handler of 'greet' did not finish within 0 s")),
        (raise_rpc_error, {}, (7, "ü" * 7_680)),
    ],
)
async def test_an_error_is_one_packet_after_the_ack(
    handler: Any, request_fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    async with v2_callee(handler) as (room, server):
        send_header(server, request_header(**request_fields))
        assert await expect_ack(server) == "1"
        code, message, data = failure(await expect_response(server))
        assert (code, data) == expected
        assert message == RpcError.ErrorMessage.get(code, "é" * 128)  # type: ignore[call-overload]
        assert await leave(room, server) == []


@pytest.mark.rule("A1")
@pytest.mark.parametrize("method", ["greet", "sing"])
async def test_the_ack_does_not_wait_for_the_body_of_a_request(method: str) -> None:
    async with v2_callee(echo) as (_, server):
        send_header(server, request_header(content=None, method=method))
        assert await expect_ack(server) == "1"


@pytest.mark.rule("A2")
async def test_an_unknown_method_is_answered_before_the_body_has_come() -> None:
    async with v2_callee(echo) as (room, server):
        send_header(server, request_header(content=None, method="sing"))
        await expect_ack(server)
        assert failure(await expect_response(server))[0] == 1400
        send_chunk(server, 0, b"hi", stream_id="request 1")
        send_trailer(server, stream_id="request 1")
        await server.settle(room)
        assert room.statistics() == RoomStatistics(0, 0, 0)
        assert await leave(room, server) == []


@pytest.mark.rule("A2")
async def test_a_packet_that_asks_for_version_2_is_1404() -> None:
    async with v2_callee(echo) as (_, server):
        send_request(server, version=2)
        await expect_ack(server)
        assert failure(await expect_response(server))[0] == codes.UNSUPPORTED_VERSION


@pytest.mark.rule("A5")
async def test_the_time_of_a_handler_runs_while_the_body_comes() -> None:
    async with v2_callee(echo) as (_, server):
        send_header(server, request_header(content=None, timeout_ms=2_000))
        await expect_ack(server)
        started = anyio.current_time()
        assert failure(await expect_response(server))[0] == codes.RESPONSE_TIMEOUT
        assert anyio.current_time() - started == pytest.approx(2)


@pytest.mark.rule("A8", "A9")
async def test_a_result_of_none_is_an_empty_stream() -> None:
    async with v2_callee(nothing) as (room, server):
        send_header(server, request_header())
        await expect_ack(server)
        stream = await expect_whole_stream(server)
        assert (stream.form, stream.content) == ("inline", b"")
        assert await leave(room, server) == []


@pytest.mark.rule("A12", "S3")
async def test_a_running_handler_is_answered_1503_when_we_leave() -> None:
    async with v2_callee(never_end) as (room, server):
        send_header(server, request_header())
        await expect_ack(server)
        (packet,) = await leave(room, server)
        assert failure(packet.rpc_response)[0] == codes.RECIPIENT_DISCONNECTED


# Streams of calls are nobody else's (S1)


@pytest.mark.rule("S1")
@pytest.mark.parametrize("topic", [REQUEST_TOPIC, RESPONSE_TOPIC])
@pytest.mark.parametrize("make_header", [text_header, byte_header])
async def test_streams_of_calls_never_surface(topic: str, make_header: Any) -> None:
    surfaced: list[object] = []
    async with v2_callee(echo) as (room, server):
        room.register_text_stream_handler(topic, lambda reader, _sender: surfaced.append(reader))
        room.register_byte_stream_handler(topic, lambda reader, _sender: surfaced.append(reader))
        async with room.events() as events:
            send_stream(server, make_header(topic=topic, attributes=request_attributes()), [b"hi"])
            send_stream(server, make_header("T", topic=topic), [b"hi"])
            await server.settle(room)
            await leave(room, server)
            names = []
            async for event in events:
                names.append(event.name)
                if event.name == "disconnected":
                    break
        assert set(names) <= {
            "participant_connected",
            "participant_active",
            "connection_state_changed",
            "disconnected",
        }
        assert surfaced == []

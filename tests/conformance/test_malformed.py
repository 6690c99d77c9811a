"""Rule P8 at a client: what its server should not have sent is dropped, and a flood of it ends."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from trio_rpc import ConnectionState, DisconnectReason, ParticipantKind, ParticipantState
from trio_rpc.links import Channel, Frame, LinkClosedError
from trio_rpc.links.frames import encode_frames

from ..support.caller import Caller, caller
from ..support.scripted_server import participant_info

pytestmark = pytest.mark.anyio

PACKET: Final = models.DataPacket(
    participant_identity="bob",
    participant_sid="PA_bob",
    rpc_response=models.RpcResponse(request_id="1", payload="hello"),
).SerializeToString()


def frame(body: bytes, channel: Channel = Channel.RELIABLE) -> bytes:
    return encode_frames([Frame(channel, body)])


async def assert_alive(alice: Caller) -> None:
    call = alice.call()
    # Where random bytes are a request, that is answered first.
    while not (packet := await alice.server.expect_packet()).HasField("rpc_request"):
        assert packet.WhichOneof("value") in {"rpc_ack", "rpc_response"}
    alice.respond(packet.rpc_request.id, "hello")
    assert await call.outcome() == "hello"


MALFORMED: Final = {
    "nothing": (b"", "a message without a frame"),
    "no frame": (
        b"\xff" * 20,
        "a message that ends, or goes astray, in the length of a frame",
    ),
    "a field that is no frame": (
        b"\x08\x01\x00",
        "a message with a field of tag 0x8 where a frame should be",
    ),
    "a field of number 0": (
        b"\x02\x01x",
        "a message with a field of tag 0x2 where a frame should be",
    ),
    "a channel that nobody knows": (b"\x2a\x01x", "a message without a frame"),
    "a frame without its end": (
        frame(PACKET)[:-1],
        f"a frame of {len(PACKET)} bytes in a message that ends before it",
    ),
    "a frame without its length": (
        b"\x12",
        "a message that ends, or goes astray, in the length of a frame",
    ),
    "bytes on the signal channel": (
        frame(b"nonsense", Channel.SIGNAL),
        "8 bytes that are not a SignalResponse",
    ),
    "bytes on the reliable channel": (frame(b"nonsense"), "8 bytes that are not a DataPacket"),
    "bytes on the lossy channel": (
        frame(b"nonsense", Channel.LOSSY),
        "8 bytes that are not a DataPacket",
    ),
    "a packet without its end": (
        frame(PACKET[:-1]),
        f"{len(PACKET) - 1} bytes that are not a DataPacket",
    ),
    "a packet without a value": (frame(b""), "a DataPacket without a value"),
    "text that is not UTF-8": (
        frame(PACKET.replace(b"hello", b"hell\xff")),
        f"{len(PACKET)} bytes that are not a DataPacket",
    ),
    "text of a lone surrogate": (
        frame(PACKET.replace(b"hello", b"\xed\xa0\x80lo")),
        f"{len(PACKET)} bytes that are not a DataPacket",
    ),
    "a packet that is too large": (
        frame(PACKET + b"\xfa\x7f\xff\xff\x07" + bytes(131_071)),
        f"a packet of {len(PACKET) + 5 + 131_071:,} bytes, over the limit of 64,000",
    ),
}


@pytest.mark.rule("P8")
@pytest.mark.parametrize(("message", "what"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_malformed_is_logged_and_dropped(
    message: bytes, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with caller() as alice:
        await alice.server.send_message(message)
        await alice.settle()
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage() == f"ignored what the server sent: {what}"
        await assert_alive(alice)


@pytest.mark.rule("P8")
async def test_a_malformed_packet_does_not_take_its_message_along() -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        packet = models.DataPacket(
            participant_identity="bob",
            rpc_response=models.RpcResponse(request_id=request_id, payload="hello"),
        )
        nonsense = Frame(Channel.RELIABLE, b"nonsense")
        good = Frame(Channel.RELIABLE, packet.SerializeToString())
        await alice.server.send_message(encode_frames([nonsense, good, nonsense]))
        assert await call.outcome() == "hello"


@pytest.mark.rule("P8")
async def test_fields_and_frames_of_the_future_are_skipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        response = models.RpcResponse(request_id=request_id, payload="hello")
        packet = models.DataPacket(participant_identity="bob", rpc_response=response)
        later_field, later_frame = b"\xfa\x7f\x02hi", b"\x7a\x02hi"
        body = later_field + packet.SerializeToString() + later_field
        await alice.server.send_message(later_frame + frame(body) + later_frame)
        assert await call.outcome() == "hello"
        assert caplog.messages == []


# Values that nobody knows yet


@pytest.mark.rule("P8")
async def test_a_packet_of_an_unknown_reliability_is_a_packet() -> None:
    async with caller() as alice:
        call, request_id = await alice.start_call()
        response = models.RpcResponse(request_id=request_id, payload="hello")
        alice.server.send_from("bob", kind=99, rpc_response=response)
        assert await call.outcome() == "hello"


@pytest.mark.rule("P8")
async def test_a_participant_may_be_of_an_unknown_kind_and_state() -> None:
    async with caller() as alice:
        alice.server.announce(participant_info("carol", state=99, kind=99))
        await alice.settle()
        carol = alice.room.remote_participants["carol"]
        assert carol.kind is ParticipantKind.STANDARD
        assert carol.state is ParticipantState.JOINED
        assert not carol.is_active


@pytest.mark.rule("P8")
async def test_the_server_may_let_us_go_for_an_unknown_reason() -> None:
    async with caller(on_disconnect="continue") as alice:
        unknown: Any = 99
        alice.server.send_signal(leave=rtc.LeaveRequest(reason=unknown))
        assert await alice.room.wait_disconnected() is DisconnectReason.UNKNOWN_REASON


@pytest.mark.rule("P8")
@pytest.mark.parametrize(
    "response",
    [
        {},
        {"update": rtc.ParticipantUpdate()},
        {"room_update": rtc.RoomUpdate()},
        {"pong_resp": rtc.Pong()},
        {"request_response": rtc.RequestResponse(request_id=7)},
        {"join": rtc.JoinResponse()},
        {"reconnect": rtc.ReconnectResponse()},
        {"refresh_token": "another token"},
        {"pong": 1},
    ],
    ids=str,
)
async def test_unknown_signalling_is_ignored(response: dict[str, Any]) -> None:
    async with caller() as alice:
        alice.server.send_signal(**response)
        await assert_alive(alice)


# A flood


@pytest.mark.rule("P8")
async def test_a_hundred_malformed_messages_are_borne() -> None:
    async with caller() as alice:
        for _ in range(100):
            await alice.server.send_message(frame(b"nonsense"))
        await assert_alive(alice)


@pytest.mark.rule("P8", "E2")
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"nonsense", id="no frames"),
        pytest.param(frame(b"nonsense"), id="no packets"),
        pytest.param(frame(b"nonsense", Channel.SIGNAL), id="no signalling"),
    ],
)
@pytest.mark.parametrize("count", [101, 1_000])
async def test_a_flood_ends_the_connection_and_says_why(message: bytes, count: int) -> None:
    async with caller(on_disconnect="continue") as alice:
        # Once the participant has left it reads no more.
        with suppress(LinkClosedError):
            for _ in range(count):
                await alice.server.send_message(message)
        reason = await alice.room.wait_disconnected()
        assert reason is DisconnectReason.STATE_MISMATCH
        assert alice.room.connection_state is ConnectionState.CONN_DISCONNECTED
        _, why = await alice.server.receive_rest()
        assert "the server sent more than 100 malformed" in why


@pytest.mark.rule("P8")
async def test_a_flood_within_one_message_ends_the_connection() -> None:
    async with caller(on_disconnect="continue") as alice:
        nonsense = Frame(Channel.RELIABLE, b"nonsense")
        await alice.server.send_message(encode_frames([nonsense] * 101))
        assert await alice.room.wait_disconnected() is DisconnectReason.STATE_MISMATCH


@pytest.mark.rule("P8")
async def test_a_trickle_of_malformed_messages_is_borne_for_ever() -> None:
    async with caller() as alice:
        for _ in range(2_000):
            await alice.server.send_message(frame(b"nonsense"))
            await anyio.sleep(0.11)
        await assert_alive(alice)


# Anything at all

_BODIES: Final = st.binary(max_size=200) | st.builds(
    lambda body, at, byte: body[:at] + byte + body[at + 1 :],
    st.just(PACKET),
    st.integers(0, len(PACKET)),
    st.binary(min_size=1, max_size=2),
)
_FRAMES: Final = st.builds(frame, _BODIES, st.sampled_from([Channel.RELIABLE, Channel.LOSSY]))


@pytest.mark.rule("P8")
@given(messages=st.lists(_FRAMES | st.builds(frame, _BODIES).map(lambda each: each[:-1])))
@settings(max_examples=60)
async def test_no_bytes_in_place_of_packets_end_the_connection(messages: list[bytes]) -> None:
    async with caller() as alice:
        for message in messages[:100]:
            await alice.server.send_message(message)
        await alice.settle()
        await assert_alive(alice)

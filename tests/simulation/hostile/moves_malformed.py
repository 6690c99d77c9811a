"""Moves with what is no packet, no frame, or nothing that anybody could have meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from livekit.protocol import metrics, models, rtc

from trio_rpc.links import Channel, Frame

from . import forging
from .play import Move, Play

DataStream = models.DataStream

#: Given a destination and what is left to chance, the body of a packet.
Malformed = Callable[[str, Random], bytes]


def _truncated(callee: str, random: Random) -> bytes:
    whole = forging.request(callee, "truncated", "payload" * 10).SerializeToString()
    return whole[: random.randint(1, len(whole) - 1)]


def _without_value(callee: str, _random: Random) -> bytes:
    return forging.packet(callee).SerializeToString()


def _empty(_callee: str, _random: Random) -> bytes:
    return b""


def _not_utf8(callee: str, random: Random) -> bytes:
    whole = random.choice(
        (
            forging.request(callee, "????", "????", method="????"),
            forging.packet("????", user=models.UserPacket(payload=b"")),
            forging.user(b"", callee, topic="????"),
            forging.header(callee, stream_id="????", topic="????", attributes={"????": "????"}),
            forging.response(callee, "????", "????"),
        )
    )
    return whole.SerializeToString().replace(b"????", b"\xff\xfe\xc3\x28")


def _no_destination(_callee: str, random: Random) -> bytes:
    return random.choice(
        (forging.request("", "1"), forging.packet(rpc_ack=models.RpcAck(request_id="1")))
    ).SerializeToString()


def _several_destinations(callee: str, _random: Random) -> bytes:
    return forging.packet(
        callee, callee, "nobody", rpc_request=models.RpcRequest(id="1", method=forging.METHOD)
    ).SerializeToString()


def _thousands_of_destinations(callee: str, random: Random) -> bytes:
    named = [callee] * random.choice((1_001, 12_000))
    return random.choice(
        (
            forging.user(b"", *named),
            forging.header(*named, stream_id=f"{random.random()}", topic=forging.TEXT_TOPIC),
            forging.chunk(*named, stream_id="unknown", index=0),
            forging.user(b"", destination_identities=named),
            forging.packet(*named, rpc_ack=models.RpcAck(request_id="1")),
        )
    ).SerializeToString()


def _long_destination(_callee: str, _random: Random) -> bytes:
    return forging.user(b"", "n" * 60_000).SerializeToString()


def _too_large(callee: str, random: Random) -> bytes:
    size = random.choice((64_001, 70_000, 200_000))
    return forging.user(bytes(size), callee).SerializeToString()


def _too_large_with_its_stamps(callee: str, _random: Random) -> bytes:
    whole = forging.user(bytes(63_960), callee).SerializeToString()
    return whole[:64_000]


def _nested_groups(_callee: str, _random: Random) -> bytes:
    # Groups in groups, which protobuf has a limit for.
    return b"\x0b" * 5_000


def _huge_length(_callee: str, _random: Random) -> bytes:
    return b"\x12\xff\xff\xff\xff\x07"


#: Packets that the server is to see as malformed.
MALFORMED: Final[dict[str, Malformed]] = {
    "truncated": _truncated,
    "without a value": _without_value,
    "empty": _empty,
    "not UTF-8": _not_utf8,
    "no destination": _no_destination,
    "several destinations": _several_destinations,
    "12,000 destinations": _thousands_of_destinations,
    "a destination of 60,000 bytes": _long_destination,
    "too large": _too_large,
    "too large with its stamps": _too_large_with_its_stamps,
    "nested groups": _nested_groups,
    "a huge length": _huge_length,
}


async def _play_malformed(play: Play, make: Malformed) -> None:
    for _ in range(play.random.randint(1, 5)):
        body = make(play.victim().identity, play.random)
        await play.me.send_frame(Frame(play.random.choice((Channel.RELIABLE, Channel.LOSSY)), body))


async def malformed_by_the_hundred(play: Play) -> None:
    """Send so much of it that the server has enough."""
    kinds = list(MALFORMED.values())
    count = play.limits.max_malformed + 20
    callee = play.victim().identity
    await play.me.send_together(
        Frame(Channel.RELIABLE, play.random.choice(kinds)(callee, play.random))
        for _ in range(count)
    )
    await play.wait(0.5)
    await play.me.send_frame(Frame(Channel.RELIABLE, b""))


async def malformed_for_the_receiver(play: Play) -> None:
    """Send what the server carries, and no receiver can make sense of."""
    callee = play.victim().identity
    stream_id = play.new_id()
    odd = [
        forging.packet(callee, rpc_response=models.RpcResponse(request_id="1")),
        forging.packet(callee, rpc_response=models.RpcResponse()),
        forging.packet(callee, rpc_ack=models.RpcAck()),
        forging.packet(callee, rpc_request=models.RpcRequest()),
        forging.error_response(callee, "1", 2**32 - 1, "m" * 30_000, "d" * 30_000),
        forging.packet(callee, stream_header=DataStream.Header()),
        forging.packet(callee, stream_header=DataStream.Header(stream_id=stream_id, topic="notes")),
        forging.header(callee, stream_id=stream_id, topic=forging.REQUEST_TOPIC),
        forging.header(
            callee,
            stream_id=stream_id,
            topic=forging.REQUEST_TOPIC,
            byte_header=DataStream.ByteHeader(name="f"),
            attributes=forging.request_attributes(play.new_id()),
        ),
        forging.stream_request(callee, play.new_id(), b"", timeout_ms="9" * 40),
        forging.stream_request(callee, play.new_id(), b"", timeout_ms="\u0663"),
        forging.stream_request(callee, play.new_id(), b"\xff\xfe not UTF-8"),
        forging.stream_request(callee, play.new_id(), b"not deflated", compression=forging.DEFLATE),
        forging.header(
            callee, stream_id="huge", topic=forging.TEXT_TOPIC, total_length=2**64 - 1, timestamp=-1
        ),
        forging.chunk(callee, stream_id="huge", index=2**64 - 1),
        forging.header(
            callee,
            stream_id="texts",
            topic=forging.TEXT_TOPIC,
            content=b"\xff\xff",
            mime_type="x" * 3_000,
        ),
        forging.packet(callee, chat_message=models.ChatMessage(id="1", message="m")),
        forging.packet(callee, metrics=metrics.MetricsBatch(str_data=["m"] * 1_000)),
        forging.packet(callee, sip_dtmf=models.SipDTMF(code=2**32 - 1, digit="\x00" * 100)),
        forging.packet(
            callee,
            transcription=models.Transcription(
                segments=[models.TranscriptionSegment(end_time=2**64 - 1)] * 500
            ),
        ),
        forging.packet(
            callee, encrypted_packet=models.EncryptedPacket(encrypted_value=b"\x00" * 1_000)
        ),
        forging.cancellation(callee, b"\xff" * 500),
    ]
    play.random.shuffle(odd)
    await play.me.send(*odd)


async def unknown_enums(play: Play) -> None:
    """Send values that are not of their enum, and unknown fields."""
    callee = play.victim().identity
    unknown = forging.user(play.signed().encode(), callee)
    unknown.kind = 77  # type: ignore[assignment]
    compressed = forging.header(callee, stream_id="c", topic=forging.TEXT_TOPIC, compression=99)
    operation = forging.header(callee, stream_id="o", topic=forging.TEXT_TOPIC)
    operation.stream_header.text_header.operation_type = 99  # type: ignore[assignment]
    encryption = forging.header(callee, stream_id="e", topic=forging.TEXT_TOPIC, encryption_type=99)
    await play.me.send(unknown, compressed, operation, encryption)
    # A field with the number 200 in place of a value, and one beside it.
    body = forging.user(play.signed().encode(), callee).SerializeToString()
    for unheard in (b"\xc2\x0c\x03abc", body + b"\xc2\x0c\x03abc", b"\xfa\xff\xff\xff\x0f\x00"):
        await play.me.send_frame(Frame(Channel.RELIABLE, unheard))
    # A frame of a channel that there is not
    await play.me.send_message(b"\x22\x03abc")


async def no_frames(play: Play) -> None:
    """Send messages that are no run of frames."""
    random = play.random
    for message in (
        b"",
        b"\xff",
        b"\x0a\xff\xff\xff\xff\xff\xff",
        b"\x12\x05abc",
        b"GET / HTTP/1.1\r\n\r\n",
        random.randbytes(random.randint(1, 300)),
        bytes(random.choice((1_000, 60_000))),
    ):
        await play.me.send_message(message)


async def malformed_signalling(play: Play) -> None:
    """Send signalling that is none, or not for participants to send."""
    random = play.random
    for body in (
        b"",
        b"\xff",
        random.randbytes(random.randint(1, 60)),
        b"\x0b" * 1_000,
        rtc.SignalResponse(leave=rtc.LeaveRequest()).SerializeToString(),
        rtc.SignalRequest(
            offer=rtc.SessionDescription(type="offer", sdp="v=0")
        ).SerializeToString(),
        rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit="{")).SerializeToString(),
        rtc.SignalRequest(subscription=rtc.UpdateSubscription(subscribe=True)).SerializeToString(),
        rtc.SignalRequest(add_track=rtc.AddTrackRequest(name="t" * 5_000)).SerializeToString(),
        rtc.SignalRequest(simulate=rtc.SimulateScenario(node_failure=True)).SerializeToString(),
    ):
        await play.me.send_frame(Frame(Channel.SIGNAL, body))


MOVES: Final[dict[str, Move]] = {
    **{
        f"malformed: {name}": partial(_play_malformed, make=make)
        for name, make in MALFORMED.items()
    },
    "malformed by the hundred": malformed_by_the_hundred,
    "malformed for the receiver": malformed_for_the_receiver,
    "unknown enums and fields": unknown_enums,
    "messages that are no frames": no_frames,
    "malformed signalling": malformed_signalling,
}

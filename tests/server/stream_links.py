"""Clients of a listener of stream links, and their messages."""

from __future__ import annotations

from livekit.protocol import rtc

from trio_rpc import Room
from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import encode_frames
from trio_rpc.links.records import (
    RecordKind,
    encode_record,
)

from ..support.raw_sockets import connect_stream_link
from ..support.tokens import make_token


async def greet(to: str, **options: object) -> None:
    """Have two join and call each other."""
    bob = Room()
    bob.register_rpc_method("greet", lambda data: f"Hello, {data.caller_identity}!")
    async with (
        Room().connect(to, make_token("alice"), **options) as alice,  # type: ignore[arg-type]
        bob.connect(to, make_token("bob"), **options),  # type: ignore[arg-type]
    ):
        answer = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="greet", payload=""
        )
    assert answer == "Hello, alice!"


def message(*frames: Frame) -> bytes:
    return encode_record(RecordKind.MESSAGE, encode_frames(frames))


def ping(timestamp: int) -> Frame:
    request = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=timestamp))
    return Frame(Channel.SIGNAL, request.SerializeToString())


# Clients that misbehave


async def refusal(url: str, data: bytes) -> str:
    """Return the answer of the server to `data`, before it ends the connection."""
    async with connect_stream_link(url) as peer:
        await peer.send(data)
        await peer.stream.send_eof()
        ((kind, body),) = await peer.receive_rest()
    assert kind == "ANSWER"
    return body

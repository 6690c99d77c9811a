"""Inputs to begin with, of real traffic: `python -m tests.fuzz.seeds` puts them into the corpus.

The traffic is that of two participants, one of whom speaks version 1 of RPC alone: calls, streams,
data, changes, and a call that is given up. Inputs that are choices begin with random ones.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

import anyio
import trio.testing
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc import AccessToken, RpcError, VideoGrants
from trio_rpc.links import Connector, Frame, Link
from trio_rpc.links.frames import encode_frames
from trio_rpc.links.records import PREAMBLE, RecordKind, encode_record
from trio_rpc.server import RoomServer

from ..server.webrtc.client import join_request
from ..support.clients import OLD
from ..support.tokens import API_KEY, API_KEYS, ROOM
from ..webrtc.descriptions import CANDIDATE, OFFER, SESSION, data, media
from . import corpus
from .choices import joined
from .connections import websocket_frame
from .honest import call, honest_room, token
from .targets import TARGETS

#: The targets whose inputs are choices.
_CHOSEN: Final = (
    *("websocket_messages", "stream_messages", "members", "livekit_client"),
    *("twirp", "peers", "streams"),
)
_RANDOM_SEEDS: Final = 6
_MAX_MESSAGE: Final = 1_500


@define(eq=False)
class _Recorded:
    """A link that keeps what passes, as messages."""

    link: Link
    sent: list[bytes] = field(factory=list)
    received: list[bytes] = field(factory=list)

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        self.sent.append(encode_frames([frame]))
        self.link.send_nowait(frame, flush_follows=flush_follows)

    async def receive(self) -> list[Frame]:
        frames = await self.link.receive()
        self.received.append(encode_frames(frames))
        return frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)


@define(eq=False)
class _Recording:
    """A connector that records, and can claim to be another client."""

    connector: Connector
    client: models.ClientInfo | None = None
    link: _Recorded = field(init=False)

    def open_link(self, token: str, request: rtc.JoinRequest) -> AbstractAsyncContextManager[Link]:
        return self._open_link(
            token, request if self.client is None else rtc.JoinRequest(client_info=self.client)
        )

    @asynccontextmanager
    async def _open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with self.connector.open_link(token, request) as link:
            self.link = _Recorded(link)
            yield self.link


async def _traffic(client: models.ClientInfo | None) -> _Recorded:
    """Have two participants do all that they can; return what one of them sent and received."""
    server = RoomServer(API_KEYS)
    recording = _Recording(server, client)
    alice, bob = honest_room(), honest_room()
    bob_token = token("bob", can_update_own_metadata=True)
    async with alice.connect(recording, token("alice")), bob.connect(server, bob_token):
        for method in ("echo", "refuse", "ask_back", "nobody's"):
            with suppress(RpcError):
                await call(alice, "bob", method=method)
            with suppress(RpcError):
                await call(bob, "alice", method=method)
        await call(alice, "bob", "a longer one " * 1_000)
        with anyio.move_on_after(0.1):
            await call(alice, "bob", method="slow")
        for room in (alice, bob):
            participant = room.local_participant
            await participant.publish_data(b"data", topic="some")
            await participant.send_text("a text", topic="texts")
            await participant.send_text("a longer text" * 200, topic="texts")
        await bob.local_participant.set_attributes({"mood": "good"})
        await bob.local_participant.set_metadata("more of bob")
        await anyio.sleep(6)
    return recording.link


def _of_link(recorded: _Recorded) -> tuple[bytes, bytes]:
    sent = [each for each in recorded.sent if len(each) <= _MAX_MESSAGE]
    received = [each for each in recorded.received[1:] if len(each) <= _MAX_MESSAGE]
    return joined(sent), joined(received)


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Make all inputs to begin with: the target, a name, and the input."""
    for version, client in (("v2", None), ("v1", OLD)):
        clock = trio.testing.MockClock(autojump_threshold=0)
        options = {"clock": clock}
        recorded = anyio.run(_traffic, client, backend="trio", backend_options=options)
        yield from _recorded_seeds(version, recorded)
    yield from _http_seeds()
    yield from _text_seeds()
    for target in _CHOSEN:
        for number in range(_RANDOM_SEEDS):
            yield target, f"random-{number}", random.Random(number).randbytes(60 << number)


def _recorded_seeds(version: str, recorded: _Recorded) -> Iterator[tuple[str, str, bytes]]:
    sent, received = _of_link(recorded)
    yield "member_frames", version, sent
    yield "server_frames", version, received
    yield "join_response", version, joined([recorded.received[0]]) + received
    yield "frames", version, max(recorded.sent, key=lambda each: len(each) % _MAX_MESSAGE)
    kinds: dict[str | None, bytes] = {}
    for message in (*recorded.sent, *recorded.received):
        with suppress(Exception):
            packet = models.DataPacket.FromString(message[2 if message[1] < 128 else 3 :])
            kinds.setdefault(packet.WhichOneof("value"), packet.SerializeToString())
    for kind, body in kinds.items():
        if kind is not None and len(body) < _MAX_MESSAGE:
            yield "packets", f"{version}-{kind}", body
    few = [each for each in recorded.sent if len(each) < 400][:12]
    heard = joined([each for each in recorded.received if len(each) < 400][:12])
    whole = b"\xff\x01"
    yield "websocket", version, whole + b"".join(websocket_frame(2, each) for each in few)
    yield "websocket_client", version, b"\x00\x00" + heard
    yield "stream_client", version, b"\x00\x00" + heard
    yield (
        "records",
        version,
        b"\x02\x05"
        + b"".join(encode_record(RecordKind.MESSAGE, each) for each in few if len(each) < 300),
    )


def _http_seeds() -> Iterator[tuple[str, str, bytes]]:
    host = b" HTTP/1.1\r\nHost: test\r\n"
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    ours = b"Sec-WebSocket-Protocol: trio-rpc.v1\r\nAuthorization: Bearer %MALLORY%\r\n"
    twirp = b"POST /twirp/livekit.RoomService/%s" + host + b"Authorization: Bearer %%ADMIN%%\r\n"
    as_json = b"Content-Type: application/json\r\n"
    name = b'{"room":"the room"}'
    requests = {
        "get": b"GET /" + host + b"\r\n",
        "pipelined": (b"GET /" + host + b"\r\n") * 3 + b"HEAD /rtc" + host + b"\r\n",
        "validate": b"GET /rtc/validate?access_token=%MALLORY%" + host + b"\r\n",
        "join": b"GET /rtc" + host + upgrade + ours + b"\r\n",
        "livekit": b"GET /rtc?access_token=%MALLORY%" + host + upgrade + b"\r\n",
        "not-found": b"GET /other" + host + upgrade + ours + b"\r\n",
        "list": twirp % b"ListParticipants"
        + as_json
        + b"Content-Length: %d\r\n\r\n%s" % (len(name), name),
        "chunked": twirp % b"ListRooms"
        + as_json
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "continue": twirp % b"ListRooms"
        + as_json
        + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
        "cors": b"OPTIONS /twirp/x" + host + b"Origin: http://a\r\n"
        b"Access-Control-Request-Method: POST\r\n\r\n",
    }
    for each, request in requests.items():
        yield "http", each, b"\xff\x01" + request
    yield "http", "in-pieces", b"\x07\x1f" + requests["list"]
    message = websocket_frame(1, b"text") + websocket_frame(9, b"ping") + websocket_frame(2, b"")
    parts = websocket_frame(2, b"a", fin=False) + websocket_frame(0, b"b")
    close = websocket_frame(8, b"\x03\xe8bye")
    yield "websocket", "controls", b"\x09\x02" + message + parts + close


def _text_seeds() -> Iterator[tuple[str, str, bytes]]:
    grants = VideoGrants(room_join=True, room=ROOM, can_publish_sources=("camera",))
    # Of another secret: it would be right for some hours only.
    made = AccessToken(API_KEY, "another secret, of 32 bytes or more").with_identity("mallory")
    made = made.with_grants(grants).with_name("M").with_attributes({"a": "b"}).with_kind("agent")
    yield "tokens", "text", b"T" + made.to_jwt().encode()
    claims = b'{"iss":"test-key","exp":4000000000,"nbf":1,"sub":"mallory","name":"M"'
    video = b'"video":{"roomJoin":true,"room":"the room","canPublish":true,"hidden":false}'
    yield "tokens", "claims", b"P" + claims + b',"attributes":{"a":"b"},' + video + b"}"
    yield "tokens", "header", b'H{"alg":"HS256","typ":"JWT"}\n' + claims + b"}"
    whole = SESSION + data(extra=CANDIDATE) + media("audio", "1") + media("video", "2", port=0)
    yield "sdp", "offer", OFFER.encode()
    yield "sdp", "media", whole.encode()
    client = models.ClientInfo(version="2", client_protocol=2, os="any")
    offer = rtc.SessionDescription(type="offer", sdp=OFFER, id=1)
    request = rtc.JoinRequest(client_info=client, publisher_offer=offer).SerializeToString()
    yield "join_request", "gzip", b"G" + request
    yield "join_request", "plain", b"N" + request
    yield "join_request", "text", b"T" + join_request(reconnect=True).encode()
    yield "join_request", "query", b"Q1.2&2&1,7201&1"
    for number, url in enumerate(
        ("tcp://a:1", "tls://[::1]:2/", "unix:///a%20b", "ws://a/b", "wss://b:1", "http://u:p@a")
    ):
        yield "urls", f"{number}", url.encode()
    hello = encode_record(
        RecordKind.HELLO,
        b"a.b.c\n" + rtc.JoinRequest(client_info=client).SerializeToString(),
    )
    yield "stream", "hello", b"\xff\x01" + PREAMBLE + hello
    yield "stream", "in-pieces", b"\x05\xff" + PREAMBLE + hello
    yield "stream", "http", b"\xff\x01GET / HTTP/1.1\r\n\r\n"
    refused = PREAMBLE + encode_record(RecordKind.ANSWER, b"401 no")
    ended = PREAMBLE + encode_record(RecordKind.ANSWER, b"200 ")
    yield "stream_client", "refused", b"\xff\x01" + refused
    yield "stream_client", "ended", b"\x03\x01" + ended + encode_record(RecordKind.END, b"bye")
    yield "websocket_client", "refused", b"\x01\x01HTTP/1.1 401 Unauthorized\r\n\r\n"


def main() -> None:
    """Write the seeds."""
    for target, name, content in seeds():
        folder = corpus.FOLDER / TARGETS[target].name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main()

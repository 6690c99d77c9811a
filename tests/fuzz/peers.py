"""The client's side of the signalling link: a hostile server, and hostile peers behind another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Final

import anyio
import anyio.lowlevel
from attrs import define, field
from livekit.protocol import models

from trio_rpc import ConnectError, DisconnectedError, Room
from trio_rpc.concurrency import open_service_nursery
from trio_rpc.links import Channel, Frame, LinkClosedError, LinkFullError
from trio_rpc.protocol.limits import MAX_PACKET_BYTES

from ..support.scripted_server import ScriptedServer, participant_info
from ..support.stream_packets import (
    CANCELLATION,
    DEFLATE_RAW,
    REQUEST_TOPIC,
    peer,
    server_with,
)
from .choices import Choices, messages
from .forgery import METHODS, Forger, seen_ids
from .honest import call, call_anyhow, check_at_rest, honest_room
from .target import Attack, require

_IDENTITIES: Final = ("alice", "bob", "mallory", "nobody", "")
_MAX_CALLS: Final = 16
#: Bytes that a stream may hold unread where streams are the matter.
_MAX_STREAM_BYTES: Final = 4_096


# A hostile server


@asynccontextmanager
async def server_frames() -> AsyncIterator[Attack]:
    """Attack a client as its server, which sends what it likes; the input is messages."""
    yield _attack_as_server


async def _attack_as_server(data: bytes) -> None:
    server, room = ScriptedServer(), honest_room()
    async with (
        room.connect(server, "a token", reconnect=None, on_disconnect="continue"),
        open_service_nursery() as nursery,
    ):
        for method in METHODS[:2]:
            nursery.start_soon(call_anyhow, room, "bob", method)
        for message in messages(data):
            try:
                await server.send_message(message)
            except LinkClosedError:
                break
            await anyio.lowlevel.checkpoint()
        # Silence, and the end of a session by it, belong to what a server may do.
        await anyio.sleep(60)
        left = room.statistics()
        require(left == type(left)(), f"{left} is left after a minute")


@asynccontextmanager
async def join_response() -> AsyncIterator[Attack]:
    """Attack a client that joins; the input is the messages that describe the room to it."""
    yield _attack_on_joining


async def _attack_on_joining(data: bytes) -> None:
    server, room = _RawServer(data), honest_room()
    try:
        async with room.connect(server, "a token", reconnect=None):
            await anyio.sleep(1)
    except (ConnectError, DisconnectedError):
        pass


class _RawServer(ScriptedServer):
    """A server whose first message is one of the input's."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._messages = messages(data)

    def send_signal(self, **_message: object) -> None:
        """Send the messages of the input in place of a `JoinResponse`."""
        for message in self._messages:
            self._stream.send_message_nowait(message)


# Hostile peers


@define(eq=False)
class _Stage:
    """Alice, and what plays the others for her: bob who is honest, and mallory who is not."""

    room: Room
    server: ScriptedServer
    ids: list[str] = field(factory=list)
    responses: dict[str, anyio.Event] = field(factory=dict)
    _numbers: count[int] = field(factory=lambda: count(1))

    async def read(self) -> None:
        """Take what alice sends; answer in place of bob, and note the ids of calls of mallory."""
        try:
            while True:
                for frame in await self.server.link.receive():
                    if frame.channel is Channel.SIGNAL:
                        # A ping: whatever comes of the server shows that it is there.
                        self.server.send_signal(pong=1)
                    else:
                        self._on_packet(models.DataPacket.FromString(frame.body), frame)
        except LinkClosedError:
            pass

    def _on_packet(self, packet: models.DataPacket, frame: Frame) -> None:
        if list(packet.destination_identities) != ["bob"]:
            self.ids += seen_ids(frame)
        elif packet.HasField("rpc_request"):
            request = packet.rpc_request
            self.server.send_from("bob", rpc_ack=models.RpcAck(request_id=request.id))
            answer = models.RpcResponse(request_id=request.id, payload=request.payload)
            self.server.send_from("bob", rpc_response=answer)
        elif packet.HasField("rpc_response"):
            response = packet.rpc_response
            require(response.payload == "hi", f"alice answered {response}")
            self.responses.pop(response.request_id).set()

    def enter_mallory(self) -> models.ParticipantInfo:
        """Have mallory join again."""
        info = peer("mallory", 2, (DEFLATE_RAW, CANCELLATION))
        info.sid = f"PA_mallory_{next(self._numbers)}"
        self.server.announce(info)
        return info

    async def relay(self, sender: str, sid: str, packet: models.DataPacket) -> None:
        """Bring a packet to alice, as a server does that drops what is malformed (P7, P8)."""
        packet.participant_identity, packet.participant_sid = sender, sid
        body = packet.SerializeToString()
        if len(body) > MAX_PACKET_BYTES or packet.WhichOneof("value") is None:
            return None
        while True:
            try:
                return self.server.link.send_nowait(Frame(Channel.RELIABLE, body))
            except LinkFullError:
                await self.server.link.wait_writable()

    async def check(self, mallory: models.ParticipantInfo) -> None:
        """Have mallory leave, and check that alice is well."""
        mallory.state = models.ParticipantInfo.DISCONNECTED
        self.server.announce(mallory)
        # Its requests may have been in line before those of others.
        await check_at_rest(self.room)
        request_id = f"honest {next(self._numbers)}"
        answered = self.responses[request_id] = anyio.Event()
        request = models.RpcRequest(
            id=request_id, method="echo", payload="hi", response_timeout_ms=5_000, version=1
        )
        self.server.send_from("bob", rpc_request=request)
        with anyio.fail_after(10):
            await answered.wait()
        require(await call(self.room, "bob") == "hi", "bob's answer did not reach alice")
        self.ids.clear()


@asynccontextmanager
async def _open_stage(room: Room) -> AsyncIterator[_Stage]:
    server = server_with(participant_info("bob"))
    async with room.connect(server, "a token", reconnect=None), open_service_nursery() as nursery:
        stage = _Stage(room, server)
        nursery.start_soon(stage.read)
        yield stage


@asynccontextmanager
async def peers() -> AsyncIterator[Attack]:
    """Attack a client with packets of all kinds from a peer; the input is choices."""
    async with _open_stage(honest_room()) as stage:
        yield partial(_attack_as_peer, stage)


async def _attack_as_peer(stage: _Stage, data: bytes) -> None:
    choices, calls = Choices(data), 0
    mallory = stage.enter_mallory()
    forger = Forger(choices, _IDENTITIES, stage.ids)
    async with open_service_nursery() as nursery:
        while choices:
            match choices.below(8):
                case 6:
                    await anyio.sleep(choices.one_of((0, 0.1, 1, 31)))
                case 7 if calls < _MAX_CALLS:
                    calls += 1
                    method = choices.one_of(METHODS[:-1])
                    nursery.start_soon(call_anyhow, stage.room, "mallory", method)
                    await anyio.lowlevel.checkpoint()
                case kind:
                    for packet in forger.packets():
                        # A request of a participant that never leaves would be remembered.
                        is_request = packet.HasField("rpc_request")
                        is_request |= packet.stream_header.topic == REQUEST_TOPIC
                        sender = "nobody" if kind == 5 and not is_request else "mallory"
                        await stage.relay(sender, mallory.sid, packet)
        await stage.check(mallory)


@asynccontextmanager
async def streams() -> AsyncIterator[Attack]:
    """Attack a client with streams, while another peer sends one that is right."""
    texts: list[str] = []
    room = honest_room(_MAX_STREAM_BYTES)
    room.register_text_stream_handler("honest", partial(_read_into, texts))
    async with _open_stage(room) as stage:
        yield partial(_attack_by_streams, stage, texts)


async def _read_into(texts: list[str], reader: object, _sender: str) -> None:
    texts.append(await reader.read_all())  # type: ignore[attr-defined]


async def _attack_by_streams(stage: _Stage, texts: list[str], data: bytes) -> None:
    choices = Choices(data)
    mallory = stage.enter_mallory()
    forger = Forger(choices, _IDENTITIES, stage.ids)
    stream = models.DataStream
    header = stream.Header(stream_id="S", topic="honest", text_header=stream.TextHeader())
    await stage.relay("bob", "PA_bob", models.DataPacket(stream_header=header))
    sent = 0
    while choices:
        for packet in forger.stream_packets():
            await stage.relay("mallory", mallory.sid, packet)
        match choices.below(4):
            case 0 if sent < 100:
                chunk = stream.Chunk(stream_id="S", chunk_index=sent, content=b"%03d" % sent)
                await stage.relay("bob", "PA_bob", models.DataPacket(stream_chunk=chunk))
                sent += 1
            case 1:
                await anyio.lowlevel.checkpoint()
            case _:
                pass
    trailer = stream.Trailer(stream_id="S")
    await stage.relay("bob", "PA_bob", models.DataPacket(stream_trailer=trailer))
    await stage.check(mallory)
    expected = "".join(f"{number:03}" for number in range(sent))
    require(texts == [expected], f"of an honest stream of {sent} pieces came {texts}")
    texts.clear()

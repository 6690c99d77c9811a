"""A member of a room that speaks frames: it has a valid token, and keeps to no other rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast

import anyio
from attrs import Factory, define
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from trio_rpc.client.joining import receive_join
from trio_rpc.links import (
    Channel,
    Connector,
    Frame,
    Link,
    LinkClosedError,
    LinkFullError,
    MessageStream,
)
from trio_rpc.links.frames import encode_frames

#: How many ids are remembered with the answers that came for them.
_MAX_REMEMBERED: Final = 20_000


class Listener(Protocol):
    """An observer of the packets that an adversary receives."""

    def on_packet(self, member: HostileMember, packet: models.DataPacket) -> None:
        """Take a packet that is neither an ack nor a response."""
        ...

    def on_error(self, code: int, data: str) -> None:
        """Take the error of a response."""
        ...

    def on_read_on(self, member: HostileMember) -> None:
        """Note that a member which had not read since `unread_since` reads again, or is gone."""
        ...


@define(eq=False)
class HostileMember:
    """One session of an adversary.

    Attributes:
        stream: What is below the link: it takes messages that are no frames as well.
        reading: Set as long as it reads what it is sent.
        unread_since: When it stopped, if it does not.
        acks, responses: What came for which request id.
        listener: Told of packets and errors.
        refusals: The reasons of the refusals that the server sent it, as LiveKit names them.
        closed_because: Why its link has ended; None as long as it has not.
    """

    identity: str
    sid: str
    link: Link
    stream: MessageStream
    listener: Listener
    reading: anyio.Event = Factory(anyio.Event)
    unread_since: float = 0.0
    acks: Counter[str] = Factory(Counter[str])
    responses: Counter[str] = Factory(Counter[str])
    refusals: Counter[str] = Factory(Counter[str])
    pongs: int = 0
    closed_because: str | None = None
    closed: anyio.Event = Factory(anyio.Event)
    _last_sequence: int = 0
    _is_numbering: bool = True

    # Sending

    def numbered(self, packet: models.DataPacket) -> models.DataPacket:
        """Give a packet the next number, as one does who keeps to the rules."""
        self._last_sequence += 1
        packet.sequence = self._last_sequence if self._is_numbering else 0
        return packet

    def stop_numbering(self) -> None:
        """Number no packets any more: all numbers that follow would count as old."""
        self._is_numbering = False

    async def send(self, *packets: models.DataPacket, channel: Channel = Channel.RELIABLE) -> None:
        """Send packets, each as soon as the link has room for it.

        Raises:
            LinkClosedError: the link has ended.
        """
        for packet in packets:
            await self.send_frame(Frame(channel, packet.SerializeToString()))

    async def send_frame(self, frame: Frame) -> None:
        """Send a frame, as soon as the link has room for it."""
        while True:
            try:
                self.link.send_nowait(frame)
            except LinkFullError:
                await self.link.wait_writable()
            else:
                return

    async def send_signal(self, **request: Any) -> None:
        """Send a `SignalRequest`."""
        message = rtc.SignalRequest(**request)
        await self.send_frame(Frame(Channel.SIGNAL, message.SerializeToString()))

    async def send_together(self, packets: Iterable[models.DataPacket | Frame]) -> None:
        """Send all in one message, however large that is."""
        frames = [
            each if isinstance(each, Frame) else Frame(Channel.RELIABLE, each.SerializeToString())
            for each in packets
        ]
        await self.stream.send_message(encode_frames(frames))

    async def send_message(self, message: bytes) -> None:
        """Send bytes that need not be frames."""
        await self.stream.send_message(message)

    # Receiving

    async def receive_forever(self, early: list[Frame]) -> None:
        """Take what comes, as long as it reads at all, until the link ends."""
        frames = early
        while True:
            for channel, body in frames:
                self._take(channel, body)
            await self.reading.wait()
            try:
                frames = await self.link.receive()
            except LinkClosedError as error:
                self.closed_because = str(error)
                self.closed.set()
                return

    def stop_reading(self) -> None:
        """Read nothing more until `read_on`; what is being waited for is still taken."""
        # Another move may have stopped it already, and an event of that one be waited for.
        if self.reading.is_set():
            self.reading = anyio.Event()
            self.unread_since = anyio.current_time()

    def read_on(self) -> None:
        """Read again."""
        if not self.reading.is_set():
            self.reading.set()
            self.listener.on_read_on(self)

    def _take(self, channel: Channel, body: bytes) -> None:
        if channel is Channel.SIGNAL:
            self._take_signal(rtc.SignalResponse.FromString(body))
            return
        try:
            packet = models.DataPacket.FromString(body)
        except DecodeError:
            return
        match packet.WhichOneof("value"):
            case "rpc_ack":
                self.acks[packet.rpc_ack.request_id] += 1
            case "rpc_response":
                self._take_response(packet.rpc_response)
            case "stream_header" if packet.stream_header.topic == "lk.rpc_response":
                self.responses[packet.stream_header.attributes["lk.rpc_request_id"]] += 1
            case _:
                self.listener.on_packet(self, packet)
        for counter in (self.acks, self.responses):
            if len(counter) > _MAX_REMEMBERED:
                counter.clear()

    def _take_response(self, response: models.RpcResponse) -> None:
        self.responses[response.request_id] += 1
        if response.HasField("error"):
            self.listener.on_error(response.error.code, response.error.data)

    def _take_signal(self, response: rtc.SignalResponse) -> None:
        match response.WhichOneof("message"):
            case "request_response":
                reason = response.request_response.reason
                self.refusals[rtc.RequestResponse.Reason.Name(reason)] += 1
            case "pong":
                self.pongs += 1
            case _:
                pass


@asynccontextmanager
async def open_hostile_member(
    connector: Connector, token: str, request: rtc.JoinRequest, listener: Listener
) -> AsyncGenerator[tuple[HostileMember, list[Frame]]]:
    """Be in the room as a hostile member, for as long as the block runs.

    Returns:
        The member, and the frames that came with the server's `JoinResponse`.

    Raises:
        ConnectError: the server refused.
    """
    async with connector.open_link(token, request) as link:
        join, early = await receive_join(link)
        stream = cast("MessageStream", link._stream)  # type: ignore[attr-defined]
        member = HostileMember(
            join.participant.identity, join.participant.sid, link, stream, listener
        )
        member.reading.set()
        yield member, early

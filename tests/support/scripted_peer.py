"""One end of a link, which a test scripts message by message.

A `ScriptedServer` is the server of a participant under test, a `ScriptedClient` a participant of a
server under test. The methods of both have the same names:

* `send…` queues at once: a packet, a signalling message, or any bytes as a frame;
* `receive…` waits for the next message of any kind, for the next packet, skipping other messages,
  or for everything until the link ends;
* `expect…` waits for the next message too, which must be of that kind.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame, Link, LinkClosedError

#: The signalling messages that a peer receives: of clients, or of servers.
S = TypeVar("S", rtc.SignalRequest, rtc.SignalResponse)


class ScriptedPeer(Generic[S]):
    """The common part of both roles.

    Args:
        received_signals, sent_signals: The types of the signalling messages in both directions.

    Attributes:
        link: Our end of the link.
        receipts: The receipts that came, in order; they are no messages.
        tokens: The refreshed tokens that came, in order; they are no messages either.
    """

    link: Link

    def __init__(self, received_signals: type[S], sent_signals: type[Any]) -> None:
        self.receipts: list[bytes] = []
        self.tokens: list[str] = []
        self._received_signals: type[S] = received_signals
        self._sent_signals = sent_signals
        self._received: deque[Frame] = deque()

    # Sending

    def send(self, packet: models.DataPacket, channel: Channel = Channel.RELIABLE) -> None:
        """Send a packet as it is."""
        self.send_frame(packet.SerializeToString(), channel)

    def send_signal(self, **message: Any) -> None:
        """Send a signalling message, for example `send_signal(leave=LeaveRequest())`."""
        self.send_frame(self._sent_signals(**message).SerializeToString(), Channel.SIGNAL)

    def send_frame(self, body: bytes, channel: Channel = Channel.RELIABLE) -> None:
        """Send any bytes on a channel."""
        self.link.send_nowait(Frame(channel, body))

    # Receiving

    async def receive_frame(self) -> Frame:
        """Receive the next message as it is; receipts, tokens and pings are left out."""
        while True:
            while self._received:
                frame = self._received.popleft()
                if not self._is_ping(frame):
                    return frame
            for frame in await self.link.receive():
                if frame.channel is Channel.RECEIPT:
                    self.receipts.append(frame.body)
                elif token := self._token_in(frame):
                    self.tokens.append(token)
                else:
                    self._received.append(frame)

    async def receive(self) -> models.DataPacket | S:
        """Receive the next message."""
        return self._parse(await self.receive_frame())

    async def receive_packet(self) -> models.DataPacket:
        """Receive the next packet; signalling before it is passed over."""
        while True:
            if isinstance(message := await self.receive(), models.DataPacket):
                return message

    async def receive_batch(self) -> list[models.DataPacket | S]:
        """Receive the next message, and those that came with it."""
        batch = [await self.receive()]
        while self._received:
            batch.append(await self.receive())
        return batch

    async def receive_rest(self) -> tuple[list[models.DataPacket | S], str]:
        """Receive messages until the link ends, and return them with the reason of its end."""
        messages: list[models.DataPacket | S] = []
        while True:
            try:
                messages.append(await self.receive())
            except LinkClosedError as error:
                return messages, str(error)

    async def expect_packet(
        self, kind: str | None = None, *, channel: Channel | None = None
    ) -> models.DataPacket:
        """Receive the next message, which must be a packet.

        Args:
            kind: The kind of its value; any unless given.
            channel: The channel that it must come on; any unless given.
        """
        frame = await self.receive_frame()
        packet = self._parse(frame)
        assert isinstance(packet, models.DataPacket), packet
        assert kind in {None, packet.WhichOneof("value")}, packet
        assert channel in {None, frame.channel}, packet
        return packet

    async def expect_signal(self, kind: str | None = None) -> S:
        """Receive the next message, which must be signalling, of that kind if one is given."""
        message = await self.receive()
        assert not isinstance(message, models.DataPacket), message
        assert kind in {None, message.WhichOneof("message")}, message
        return message

    def _parse(self, frame: Frame) -> models.DataPacket | S:
        if frame.channel is Channel.SIGNAL:
            return self._received_signals.FromString(frame.body)
        return models.DataPacket.FromString(frame.body)

    def _token_in(self, frame: Frame) -> str:
        """Return the token that a server sends with a frame; `""` for any other frame."""
        if frame.channel is not Channel.SIGNAL or self._received_signals is rtc.SignalRequest:
            return ""
        return rtc.SignalResponse.FromString(frame.body).refresh_token

    def _is_ping(self, frame: Frame) -> bool:
        """Whether a frame only keeps the connection alive, of which a script says nothing."""
        if frame.channel is not Channel.SIGNAL or self._received_signals is rtc.SignalResponse:
            return False
        return rtc.SignalRequest.FromString(frame.body).HasField("ping_req")

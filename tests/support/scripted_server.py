"""A server that a test plays by hand, packet by packet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame, Link, LinkClosedError, open_framed_link
from trio_rpc.links.memory import MemoryStream, open_memory_streams


def participant_info(identity: str, **fields: object) -> models.ParticipantInfo:
    """Return the server's description of a participant: active, and allowed to send data."""
    info = models.ParticipantInfo(
        identity=identity,
        sid=f"PA_{identity}",
        state=models.ParticipantInfo.ACTIVE,
        permission=models.ParticipantPermission(can_publish_data=True),
    )
    info.MergeFrom(models.ParticipantInfo(**fields))  # type: ignore[arg-type]
    return info


class ScriptedServer:
    """A server that a test scripts: `Room.connect` takes it in place of a URL.

    Args:
        others: Who else is in the room, by identity.
        local: Ourselves, as the server tells it.
        server_version: What the server says it is.
        join: The whole `JoinResponse`, in place of the above.
    """

    def __init__(
        self,
        *,
        others: Iterable[str] = ("bob",),
        local: models.ParticipantInfo | None = None,
        server_version: str = "1.9.0",
        join: rtc.JoinResponse | None = None,
    ) -> None:
        self.join = join or rtc.JoinResponse(
            room=models.Room(name="the room", sid="RM_1"),
            participant=local or participant_info("alice"),
            other_participants=[participant_info(identity) for identity in others],
            server_info=models.ServerInfo(version=server_version),
            ping_interval=5,
            ping_timeout=15,
        )
        self.token: str | None = None
        self.client: models.ClientInfo | None = None
        self.link: Link
        self.client_link: Link
        self._stream: MemoryStream
        self._received: list[Frame] = []

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        self.token, self.client = token, request.client_info
        near, self._stream = open_memory_streams()
        async with (
            open_framed_link(self._stream) as self.link,
            open_framed_link(near) as self.client_link,
        ):
            self.say(join=self.join)
            yield self.client_link

    def say(self, **response: object) -> None:
        """Send a `SignalResponse`, for example `say(update=ParticipantUpdate(…))`."""
        message = rtc.SignalResponse(**response)  # type: ignore[arg-type]
        self.link.send_nowait(Frame(Channel.SIGNAL, message.SerializeToString()))

    def announce(self, *participants: models.ParticipantInfo) -> None:
        """Tell how participants are now."""
        self.say(update=rtc.ParticipantUpdate(participants=participants))

    def send(
        self,
        sender: str,
        *,
        sequence: int = 0,
        channel: Channel = Channel.RELIABLE,
        **value: object,
    ) -> None:
        """Send a `DataPacket` of a participant, for example `send("bob", rpc_ack=RpcAck(…))`."""
        packet = models.DataPacket(
            participant_identity=sender,
            participant_sid=f"PA_{sender}",
            sequence=sequence,
            **value,  # type: ignore[arg-type]
        )
        self.link.send_nowait(Frame(channel, packet.SerializeToString()))

    async def send_message(self, message: bytes) -> None:
        """Send bytes that need not hold frames, at once."""
        await self._stream.send_message(message)

    async def receive_frame(self) -> Frame:
        """Receive the next frame from the participant, skipping pings."""
        while True:
            while self._received:
                frame = self._received.pop(0)
                if frame.channel is not Channel.SIGNAL or not _is_ping(frame.body):
                    return frame
            self._received = await self.link.receive()

    async def receive_packet(self) -> models.DataPacket:
        """Receive the next packet from the participant; signalling before it is an error."""
        frame = await self.receive_frame()
        assert frame.channel is not Channel.SIGNAL, rtc.SignalRequest.FromString(frame.body)
        return models.DataPacket.FromString(frame.body)

    async def receive_request(self) -> rtc.SignalRequest:
        """Receive the next signalling message from the participant, skipping pings."""
        frame = await self.receive_frame()
        assert frame.channel is Channel.SIGNAL, models.DataPacket.FromString(frame.body)
        return rtc.SignalRequest.FromString(frame.body)

    async def receive_ping(self) -> rtc.Ping:
        """Receive the next ping, skipping everything else."""
        while True:
            for frame in await self.link.receive():
                if frame.channel is Channel.SIGNAL and _is_ping(frame.body):
                    return rtc.SignalRequest.FromString(frame.body).ping_req

    async def receive_rest(self) -> list[Frame]:
        """Receive all frames until the participant has closed the link, skipping pings."""
        rest: list[Frame] = []
        while True:
            try:
                rest.append(await self.receive_frame())
            except LinkClosedError:
                return rest


def _is_ping(body: bytes) -> bool:
    return rtc.SignalRequest.FromString(body).HasField("ping_req")

"""The server of a participant under test, which a test scripts message by message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from livekit.protocol import models, rtc

from trio_rpc import Room
from trio_rpc.links import Channel, Link, open_framed_link
from trio_rpc.links.memory import MemoryStream, open_memory_streams

from .scripted_peer import ScriptedPeer


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


class ScriptedServer(ScriptedPeer[rtc.SignalRequest]):
    """A server that `Room.connect` takes in place of a URL.

    Args:
        others: Who else is in the room, by identity.
        local: Ourselves, as the server describes us.
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
        super().__init__(rtc.SignalRequest, rtc.SignalResponse)
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
        self.client_link: Link
        self._stream: MemoryStream
        self._latecomers = count(1)

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        self.token, self.client = token, request.client_info
        near, self._stream = open_memory_streams()
        async with (
            open_framed_link(self._stream) as self.link,
            open_framed_link(near) as self.client_link,
        ):
            self.send_signal(join=self.join)
            yield self.client_link

    def announce(self, *participants: models.ParticipantInfo) -> None:
        """Tell how participants are now."""
        self.send_signal(update=rtc.ParticipantUpdate(participants=participants))

    def send_from(
        self,
        sender: str,
        *,
        sequence: int = 0,
        channel: Channel = Channel.RELIABLE,
        **value: Any,
    ) -> None:
        """Send a packet of a participant: `send_from("bob", rpc_ack=RpcAck(…))`."""
        packet = models.DataPacket(
            participant_identity=sender,
            participant_sid=f"PA_{sender}",
            sequence=sequence,
            **value,
        )
        self.send(packet, channel)

    async def send_message(self, message: bytes) -> None:
        """Send bytes that need not hold frames, at once."""
        await self._stream.send_message(message)

    async def settle(self, room: Room) -> None:
        """Wait until the participant, whose room this is, has handled everything sent so far."""
        identity = f"latecomer {next(self._latecomers)}"
        self.announce(participant_info(identity))
        await room.wait_for_participant(identity)

    async def receive_ping(self) -> rtc.Ping:
        """Receive the next ping; everything else is passed over."""
        while True:
            for frame in await self.link.receive():
                if self._is_ping(frame):
                    return rtc.SignalRequest.FromString(frame.body).ping_req

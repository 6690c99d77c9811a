"""Data of the server's own, for the members of a room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define, field
from livekit.protocol import models

from ...links import Channel, Frame
from ...protocol.limits import MAX_PACKET_BYTES
from .backlog import SERVER
from .member import Member
from .publisher import ServerPublisher
from .sizes import check_size

#: The number of nonces that are remembered, as in LiveKit's server.
_REMEMBERED_NONCES: Final = 100


@define(eq=False)
class ServerData:
    """The data that the server itself sends to the members of a room.

    Args:
        publisher: Numbers the packets.
    """

    _members: Mapping[str, Member]
    _publisher: ServerPublisher
    # The oldest first
    _nonces: dict[bytes, None] = field(init=False, factory=dict[bytes, None])

    def send(
        self,
        user: models.UserPacket,
        *,
        reliable: bool,
        identities: Iterable[str],
        sids: Iterable[str],
    ) -> None:
        """Send data of the server's own to the named members, or to everybody.

        Data with a nonce that was used before is dropped: a client that missed the response tries
        again.

        Raises:
            ValueError: the packet would be too large.
            BacklogFullError: a receiver's queue is full; nothing was sent.
        """
        named = {*identities}
        named_sids = {*sids}
        packet = models.DataPacket(destination_identities=sorted(named), user=user)
        packet.kind = models.DataPacket.RELIABLE if reliable else models.DataPacket.LOSSY
        if reliable:
            self._publisher.number(packet)
        channel = Channel.RELIABLE if reliable else Channel.LOSSY
        frame = Frame(channel, packet.SerializeToString())
        check_size("a packet", len(frame.body), MAX_PACKET_BYTES, "bytes")
        if user.nonce in self._nonces:
            return
        everybody = not named and not named_sids
        receivers = [
            each
            for each in self._members.values()
            if everybody or each.identity in named or each.sid in named_sids
        ]
        if reliable:
            for receiver in receivers:
                receiver.check_room(len(frame.body))
        if user.nonce:
            if len(self._nonces) >= _REMEMBERED_NONCES:
                del self._nonces[next(iter(self._nonces))]
            self._nonces[user.nonce] = None
        for receiver in receivers:
            receiver.deliver(frame, SERVER)

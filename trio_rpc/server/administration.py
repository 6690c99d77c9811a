"""The operations of an administrator, named as in LiveKit's RoomService."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from livekit.protocol import models

from .. import concurrency
from ..errors import DisconnectReason, RpcError
from ..participant import DEFAULT_RESPONSE_TIMEOUT, ParticipantPermissions
from ..protocol.budgets import Budget
from ..protocol.limits import utf8_length
from ..rpc.call_arguments import check_call
from .caller import ServerCaller
from .limits import ServerLimits
from .rooms.member import Member
from .rooms.room import (
    DEFAULT_DEPARTURE_TIMEOUT,
    DEFAULT_EMPTY_TIMEOUT,
    RoomSettings,
    ServerRoom,
)
from .rooms.sizes import check_size
from .rooms.table import RoomTable

_MAX_SETTING: Final = 2**32 - 1


class Administration:
    """The rooms of a server, and an administrator's operations on them and their participants.

    Everything belongs to one event loop, by whose clock rooms without participants expire.
    """

    #: Replaced by servers whose rooms behave otherwise.
    _room_type: ClassVar[type[ServerRoom]] = ServerRoom

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._rooms = RoomTable(limits, _now, self._room_type)
        # Charged for everything that participants make the server hold
        self._budget = Budget(limits.max_peer_bytes, limits.max_peers_bytes)

    # Rooms

    def create_room(
        self,
        name: str,
        *,
        empty_timeout: int = DEFAULT_EMPTY_TIMEOUT,
        departure_timeout: int = DEFAULT_DEPARTURE_TIMEOUT,
        max_participants: int = 0,
        metadata: str = "",
    ) -> models.Room:
        """Create a room that waits for participants; an existing one is left unchanged (R2).

        Rooms need not be created: a participant that joins creates the room that its token names,
        with the default timeouts.

        Args:
            name: The name, as in tokens: 1 to `ServerLimits.max_name_bytes` UTF-8 bytes.
            empty_timeout: Seconds that the room lives before the first participant has joined.
            departure_timeout: Seconds that the room lives after the last participant has left.
            max_participants: The most participants; 0 for the server's limit
                (`ServerLimits.max_participants_per_room`).
            metadata: The text that belongs to the room.

        Raises:
            ValueError: the name is empty, something is too large, or a number is below 0.
            RefusedError: the server has as many rooms as it may, or shuts down.
        """
        if not name:
            raise ValueError("a room needs a name")
        for number in (empty_timeout, departure_timeout, max_participants):
            if not 0 <= number <= _MAX_SETTING:
                raise ValueError(
                    f"timeouts and max_participants are from 0 to {_MAX_SETTING}, not {number}"
                )
        check_size("the name of a room", utf8_length(name), self.limits.max_name_bytes)
        check_size("metadata", utf8_length(metadata), self.limits.max_metadata_bytes)
        room = self._rooms.find(name)
        if room is None:
            settings = RoomSettings(
                empty_timeout=empty_timeout,
                departure_timeout=departure_timeout,
                max_participants=max_participants,
            )
            room = self._rooms.create(name, settings)
            room.metadata = metadata
        return room.info()

    def list_rooms(self, names: Iterable[str] = ()) -> list[models.Room]:
        """Return the rooms that have one of these names; all rooms if no names are given."""
        wanted = {*names}
        return [room.info() for room in self._rooms if not wanted or room.name in wanted]

    def update_room_metadata(self, room: str, metadata: str) -> models.Room:
        """Change the text that belongs to a room, and announce it to all its participants.

        Raises:
            LookupError: there is no such room.
            ValueError: the text is too large.
            QueueFullError: a queue is full, since its participant does not read; nothing was
                changed.
        """
        server_room = self._rooms.get(room)
        server_room.change_metadata(metadata)
        return server_room.info()

    def delete_room(self, room: str) -> None:
        """Disconnect all participants of a room, and remove the room.

        Raises:
            LookupError: there is no such room.
        """
        server_room = self._rooms.get(room)
        members = tuple(server_room.members.values())
        for member in members:
            member.disconnect(DisconnectReason.ROOM_DELETED, "the room was deleted")
        if members:
            # The others leave with it.
            server_room.leave(members[0])
        if self._rooms.find(room) is server_room:
            self._rooms.forget(room)

    # Participants

    def list_participants(self, room: str) -> list[models.ParticipantInfo]:
        """Return the participants of a room, hidden ones too; none if the room does not exist."""
        server_room = self._rooms.find(room)
        return [] if server_room is None else [each.info() for each in server_room.members.values()]

    def get_participant(self, room: str, identity: str) -> models.ParticipantInfo:
        """Return the description of a participant.

        Raises:
            LookupError: there is no such room, or nobody of that identity in it.
        """
        return self._find(room, identity)[1].info()

    def update_participant(
        self,
        room: str,
        identity: str,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
        permissions: ParticipantPermissions | None = None,
    ) -> models.ParticipantInfo:
        """Change a participant, and announce it to all in the room; None leaves a value unchanged.

        Args:
            attributes: The attributes to change; an empty text deletes the key, and other keys are
                left unchanged.

        Raises:
            LookupError: there is no such room, or nobody of that identity in it.
            ValueError: something is too large, or `permissions.hidden` differs, which is fixed when
                a participant joins.
            QueueFullError: a queue is full, since its participant does not read; nothing was
                changed.
        """
        server_room, member = self._find(room, identity)
        if permissions is not None and permissions.hidden != member.permissions.hidden:
            raise ValueError("whether a participant is hidden is fixed by its token")
        server_room.change(
            member, name=name, metadata=metadata, attributes=attributes, permissions=permissions
        )
        return member.info()

    def remove_participant(self, room: str, identity: str) -> None:
        """Disconnect a participant; its token still lets it join again.

        Raises:
            LookupError: there is no such room, or nobody of that identity in it.
        """
        server_room, member = self._find(room, identity)
        member.disconnect(DisconnectReason.PARTICIPANT_REMOVED, "the server removed it")
        server_room.leave(member)

    # Data and calls

    def send_data(
        self,
        room: str,
        data: bytes,
        *,
        reliable: bool = True,
        destination_identities: Sequence[str] = (),
        destination_sids: Sequence[str] = (),
        topic: str = "",
        nonce: bytes = b"",
    ) -> None:
        """Send data to participants, which get it without a sender.

        Args:
            data: The bytes; at most 64,000 with the rest of the packet (P7).
            reliable: Whether delivery is reliable and ordered, or best-effort.
            destination_identities: The receivers; everybody in the room if this and
                `destination_sids` are empty. Identities that are not in the room are ignored.
            destination_sids: Further receivers, by the ids of their sessions.
            topic: The topic, free to choose.
            nonce: Bytes that identify this data; data with one of the room's last 100 nonces is not
                sent a second time.

        Raises:
            LookupError: there is no such room.
            TypeError: `destination_identities` is one identity, not a sequence of them.
            ValueError: the packet would be too large.
            QueueFullError: a receiver's queue is full, since it does not read; nothing was sent.
        """
        if isinstance(destination_identities, str):
            raise TypeError("destination_identities is a sequence of identities, not one of them")
        user = models.UserPacket(payload=data, nonce=nonce)
        if topic:
            user.topic = topic
        self._rooms.get(room).data.send(
            user, reliable=reliable, identities=destination_identities, sids=destination_sids
        )

    async def perform_rpc(
        self,
        room: str,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float = DEFAULT_RESPONSE_TIMEOUT,
    ) -> str:
        """Call a method of a participant, and wait for its response.

        To the participant, the caller is an identity of random text, of no participant. Everything
        else is as in a call between participants.

        Args:
            destination_identity: The identity of the callee.
            method: The name of the method: 1 to 64 UTF-8 bytes.
            payload: The argument of the method: at most 15,360 UTF-8 bytes.
            response_timeout: Seconds that the whole call may take (C1).

        Returns:
            The result of the method, at most `ServerLimits.max_message_bytes`.

        Raises:
            LookupError: there is no such room.
            RpcError: the method raised it, or it has one of `RpcError.ErrorCode`: 1401 if nobody in
                the room has that identity, 1501 or 1502 after a timeout, 1503 if the callee leaves,
                …
            TypeError: `method` or `payload` is not a `str`.
            ValueError: the method's name is empty or too long, or the timeout not positive (C11).
        """
        check_call(method, payload, response_timeout)
        server_room = self._rooms.get(room)
        callee = server_room.members.get(destination_identity)
        if callee is None or callee.close_reason is not None:
            raise RpcError.built_in(
                RpcError.ErrorCode.RECIPIENT_NOT_FOUND,
                f"no participant {destination_identity!r} is in room {room!r}",
            )
        caller = ServerCaller(
            concurrency.current(),
            callee,
            server_room.publisher,
            self.limits.max_message_bytes,
            self._budget,
        )
        server_room.callers[caller.identity] = caller
        callee.server_calls[caller] = None
        try:
            return await caller.perform(method, payload, response_timeout)
        finally:
            del server_room.callers[caller.identity]
            del callee.server_calls[caller]

    def _find(self, room: str, identity: str) -> tuple[ServerRoom, Member]:
        server_room = self._rooms.get(room)
        if identity not in server_room.members:
            raise LookupError(f"no participant {identity!r} is in room {room!r}")
        return server_room, server_room.members[identity]


def _now() -> float:
    return concurrency.current().current_time()

"""The server: its rooms, who may come in, and what an administrator can do."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Final

from attrs import frozen
from livekit.protocol import models, rtc

from .. import concurrency
from ..concurrency import Event
from ..errors import ConnectError
from ..events import DisconnectReason
from ..links import Link, open_framed_link
from ..links.memory import MemoryStream, open_memory_streams
from ..participant import ParticipantPermissions
from ..tokens import Claims, InvalidTokenError, check_join, verify_token
from .limits import ServerLimits
from .members import Member
from .rooms import ServerRoom
from .sessions import serve_member

logger = logging.getLogger(__name__)

#: The version of LiveKit's server whose behaviour towards RPC we show (N2).
_LIVEKIT_VERSION: Final = "1.9.0"
#: The version of LiveKit's signalling protocol that we speak.
_SIGNALLING_VERSION: Final = 16
#: Seconds that participants get to hear that the server shuts down.
_SHUTDOWN_TIMEOUT: Final = 5.0


class JoinRefusedError(Exception):
    """Nobody is let in for now, or into this room.

    Attributes:
        status: The HTTP status that says the same.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@frozen
class ServerStatistics:
    """What a server is busy with at a moment.

    Attributes:
        rooms: How many rooms there are; a room is gone with its last participant.
        participants: How many participants there are in all of them.
    """

    rooms: int
    participants: int


class RoomServer:
    """Rooms for whoever has a token signed with one of the API keys.

    Participants come in through the ASGI app of `trio_rpc.server.app`, or from within this process:
    a `RoomServer` can be given to `Room.connect` in place of a URL.

    Args:
        api_keys: The secret of each API key.
        limits: What the server bears.

    Raises:
        ValueError: there is no API key, or one without a secret.
    """

    def __init__(self, api_keys: Mapping[str, str], limits: ServerLimits | None = None) -> None:
        if not api_keys or not all(api_keys.values()):
            raise ValueError("a RoomServer needs at least one API key, each with a secret")
        self.limits = limits or ServerLimits()
        self._api_keys = dict(api_keys)
        self._rooms: dict[str, ServerRoom] = {}
        self._joins_in_flight = 0
        self._shutting_down = False
        self._all_gone: Event | None = None

    @property
    def shutting_down(self) -> bool:
        """Whether the server lets nobody in any more."""
        return self._shutting_down

    def statistics(self) -> ServerStatistics:
        """What the server is busy with."""
        rooms = self._rooms.values()
        return ServerStatistics(len(rooms), sum(len(room.members) for room in rooms))

    # Coming in

    def authenticate(self, token: str) -> Claims:
        """What a token says of its holder, who may join the room that it names (V1).

        Raises:
            InvalidTokenError: the token does not let anybody in; the text says why.
        """
        claims = verify_token(token, self._api_keys)
        check_join(claims)
        return claims

    @contextmanager
    def admission(self) -> Generator[None]:
        """Be one of the joins in flight, of which there may be a bounded number.

        Raises:
            JoinRefusedError: there are too many, or the server shuts down.
        """
        if self._shutting_down:
            raise JoinRefusedError("the server shuts down", 503)
        limit = self.limits.max_joins_in_flight
        if self._joins_in_flight >= limit:
            raise JoinRefusedError(f"{limit} participants are joining already: try again", 503)
        self._joins_in_flight += 1
        try:
            yield
        finally:
            self._joins_in_flight -= 1

    def check_space(self, claims: Claims) -> None:
        """Refuse who would be one too many.

        Raises:
            JoinRefusedError: the room is full, or would be one room too many.
        """
        room = self._rooms.get(claims.grants.room)
        if room is None:
            if len(self._rooms) >= self.limits.max_rooms:
                raise JoinRefusedError(
                    f"the server has {self.limits.max_rooms} rooms, which is its limit", 429
                )
        elif (
            claims.identity not in room.members
            and len(room.members) >= self.limits.max_participants_per_room
        ):
            raise JoinRefusedError(
                f"room {room.name!r} has {len(room.members)} participants, which is its limit", 429
            )

    def join(
        self, claims: Claims, client: models.ClientInfo, link: Link
    ) -> tuple[ServerRoom, Member]:
        """Let somebody in who was authenticated; all that follows goes through the link.

        Raises:
            JoinRefusedError: the room has filled up in the meantime.
        """
        self.check_space(claims)
        name = claims.grants.room
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = ServerRoom(name, self.limits, lambda: self._forget(name))
        member = Member.from_claims(claims, client, link)
        room.join(member, self._join_response())
        return room, member

    @asynccontextmanager
    async def open_link(self, token: str, client: models.ClientInfo) -> AsyncGenerator[Link]:
        """A link from within this process, for `Room.connect`.

        Raises:
            ConnectError: the token is wrong, or nobody is let in.
        """
        try:
            claims = self.authenticate(token)
            with self.admission():
                self.check_space(claims)
        except InvalidTokenError as error:
            raise ConnectError(f"refused: {error}", status=401) from None
        except JoinRefusedError as error:
            raise ConnectError(f"refused: {error}", status=error.status) from None
        near, far = open_memory_streams()
        backend = concurrency.current()

        async def serve(far: MemoryStream) -> None:
            # Shielded: a cancelled participant still says goodbye. The end of its link ends this.
            with backend.cancel_scope(shield=True):
                async with open_framed_link(
                    far, max_queue_bytes=self.limits.max_queue_bytes
                ) as link:
                    try:
                        await serve_member(self, link, claims, client)
                    except JoinRefusedError as error:
                        await link.aclose(str(error))

        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(serve, far)
            async with open_framed_link(near) as link:
                yield link

    def _forget(self, name: str) -> None:
        del self._rooms[name]
        if not self._rooms and self._all_gone is not None:
            self._all_gone.set()

    def _join_response(self) -> rtc.JoinResponse:
        return rtc.JoinResponse(
            server_version=_LIVEKIT_VERSION,
            server_info=models.ServerInfo(
                version=_LIVEKIT_VERSION,
                protocol=_SIGNALLING_VERSION,
                node_id=f"trio-rpc-{version('trio-rpc')}",
            ),
            ping_interval=self.limits.ping_interval,
            ping_timeout=self.limits.ping_timeout,
        )

    # Administration: the names are those of LiveKit's RoomService

    def update_participant(
        self,
        room: str,
        identity: str,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
        permissions: ParticipantPermissions | None = None,
    ) -> None:
        """Change a participant, and tell everybody in its room; what is None stays.

        Raises:
            LookupError: there is no such room, or nobody of that identity in it.
            ValueError: something is too large, or `permissions.hidden` differs, which is fixed when
                a participant joins.
        """
        server_room, member = self._find(room, identity)
        if permissions is not None and permissions.hidden != member.permissions.hidden:
            raise ValueError("whether a participant is hidden is fixed by its token")
        server_room.change(
            member, name=name, metadata=metadata, attributes=attributes, permissions=permissions
        )

    def update_room_metadata(self, room: str, metadata: str) -> None:
        """Change the text that belongs to a room, and tell everybody in it.

        Raises:
            LookupError: there is no such room.
            ValueError: the text is too large.
        """
        self._find_room(room).change_metadata(metadata)

    def remove_participant(self, room: str, identity: str) -> None:
        """Let a participant go; its token still lets it come back.

        Raises:
            LookupError: there is no such room, or nobody of that identity in it.
        """
        server_room, member = self._find(room, identity)
        member.dismiss(DisconnectReason.PARTICIPANT_REMOVED, "the server removed it")
        server_room.leave(member)

    def delete_room(self, room: str) -> None:
        """Let everybody in a room go.

        Raises:
            LookupError: there is no such room.
        """
        server_room = self._find_room(room)
        for member in tuple(server_room.members.values()):
            member.dismiss(DisconnectReason.ROOM_DELETED, "the room was deleted")
        for member in tuple(server_room.members.values()):
            server_room.leave(member)

    async def shut_down(self) -> None:
        """Let nobody in any more, tell everybody why, and wait until they are gone."""
        self._shutting_down = True
        for room in tuple(self._rooms.values()):
            for member in tuple(room.members.values()):
                member.dismiss(DisconnectReason.SERVER_SHUTDOWN, "the server shuts down")
        backend = concurrency.current()
        self._all_gone = backend.event()
        if self._rooms:
            with backend.move_on_after(_SHUTDOWN_TIMEOUT):
                await self._all_gone.wait()

    def _find_room(self, room: str) -> ServerRoom:
        if room not in self._rooms:
            raise LookupError(f"there is no room {room!r}")
        return self._rooms[room]

    def _find(self, room: str, identity: str) -> tuple[ServerRoom, Member]:
        server_room = self._find_room(room)
        if identity not in server_room.members:
            raise LookupError(f"no participant {identity!r} is in room {room!r}")
        return server_room, server_room.members[identity]

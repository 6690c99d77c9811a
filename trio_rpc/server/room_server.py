"""The server: its rooms, and who may come in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Final

from attrs import frozen
from livekit.protocol import models, rtc

from .. import concurrency
from ..errors import ConnectError, InvalidTokenError, RefusedError
from ..events import DisconnectReason
from ..links import Link, open_framed_link
from ..links.memory import MemoryStream, open_memory_streams
from ..logs import peer_logger
from ..tokens import Claims, check_join, verify_token
from .administration import Administration
from .limits import ServerLimits
from .rooms.member import Member
from .rooms.room import ServerRoom
from .session import serve_member

logger = peer_logger(__name__)

#: The version of LiveKit's server whose behaviour towards RPC we show (N2).
_LIVEKIT_VERSION: Final = "1.9.0"
#: The version of LiveKit's signalling protocol that we speak.
_SIGNALLING_VERSION: Final = 16
#: Seconds that participants get to hear that the server shuts down.
_SHUTDOWN_TIMEOUT: Final = 5.0


@frozen
class ServerStatistics:
    """What a server is busy with at a moment.

    Attributes:
        rooms: How many rooms there are, those that wait for participants included (R2).
        participants: How many participants there are in all of them.
    """

    rooms: int
    participants: int


class RoomServer(Administration):
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
        super().__init__(limits or ServerLimits())
        self._api_keys = dict(api_keys)
        self._joins_in_flight = 0
        self._shutting_down = False

    @property
    def shutting_down(self) -> bool:
        """Whether the server lets nobody in any more."""
        return self._shutting_down

    def statistics(self) -> ServerStatistics:
        """What the server is busy with."""
        participants = [len(room.members) for room in self._rooms]
        return ServerStatistics(len(participants), sum(participants))

    # Coming in

    def authenticate(self, token: str) -> Claims:
        """What a token says of its holder, who may join the room that it names (V1).

        Raises:
            RefusedError: the token does not let anybody in; the reason says why.
        """
        try:
            claims = self.verify(token)
            check_join(claims)
        except InvalidTokenError as error:
            raise RefusedError(401, str(error)) from None
        return claims

    def verify(self, token: str) -> Claims:
        """What a token says of its holder, whatever it allows (V1).

        Raises:
            InvalidTokenError: it is not signed with one of our API keys, or not valid now; the text
                says why.
        """
        return verify_token(token, self._api_keys)

    @contextmanager
    def admission(self) -> Generator[None]:
        """Be one of the joins in flight, of which there may be a bounded number.

        Raises:
            RefusedError: there are too many, or the server shuts down.
        """
        if self._shutting_down:
            raise RefusedError(503, "the server shuts down")
        limit = self.limits.max_joins_in_flight
        if self._joins_in_flight >= limit:
            raise RefusedError(503, f"{limit} participants are joining already: try again")
        self._joins_in_flight += 1
        try:
            yield
        finally:
            self._joins_in_flight -= 1

    def check_space(self, claims: Claims) -> None:
        """Refuse who would be one too many.

        Raises:
            RefusedError: the room is full, or would be one room too many.
        """
        room = self._rooms.find(claims.grants.room)
        if room is None:
            self._rooms.check_space()
        elif claims.identity not in room.members and len(room.members) >= room.max_participants:
            raise RefusedError(
                429, f"room {room.name!r} has {len(room.members)} participants, which is its limit"
            )

    def members_of(self, room: str) -> Sequence[Member]:
        """The members of a room, whom somebody who joins it would be announced to."""
        server_room = self._rooms.find(room)
        return () if server_room is None else tuple(server_room.members.values())

    def join(
        self,
        claims: Claims,
        client: models.ClientInfo,
        link: Link,
        opening: rtc.JoinResponse | None = None,
    ) -> tuple[ServerRoom, Member]:
        """Let somebody in who was authenticated; all that follows goes through the link.

        Args:
            opening: What its transport adds to what it is told, where packets will reach it later
                only; it is not active before.

        Raises:
            RefusedError: the room has filled up in the meantime.
        """
        self.check_space(claims)
        room = self._rooms.enter(claims.grants.room)
        member = Member.from_claims(claims, client, link, self.limits, self._budget)
        join = self._join_response()
        if opening is not None:
            join.MergeFrom(opening)
            member.state = models.ParticipantInfo.JOINED
        room.join(member, join)
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
        except RefusedError as error:
            raise ConnectError(f"refused: {error.reason}", status=error.status) from None
        near, far = open_memory_streams()
        backend = concurrency.current()

        async def serve(far: MemoryStream) -> None:
            # Shielded: a cancelled participant still says goodbye. The end of its link ends this.
            with backend.cancel_scope(shield=True):
                async with open_framed_link(
                    far, max_queue_bytes=self.limits.max_queue_bytes
                ) as link:
                    await serve_member(self, link, claims, client)

        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(serve, far)
            async with open_framed_link(near) as link:
                yield link

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

    async def shut_down(self) -> None:
        """Let nobody in any more, tell everybody why, and wait until they are gone."""
        self._shutting_down = True
        for room in self._rooms:
            for member in tuple(room.members.values()):
                member.dismiss(DisconnectReason.SERVER_SHUTDOWN, "the server shuts down")
        with concurrency.current().move_on_after(_SHUTDOWN_TIMEOUT):
            await self._rooms.wait_all_gone()

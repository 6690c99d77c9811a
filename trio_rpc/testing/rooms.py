"""Rooms in memory: a server in the same process, and participants that have joined."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Final

from ..client.loss import OnDisconnect
from ..client.reconnecting import DEFAULT_RECONNECT_POLICY, ReconnectPolicy
from ..links import Connector
from ..server import RoomServer, ServerLimits
from ..tokens import AccessToken, VideoGrants
from ..typed.room import Room

#: The room of the participants, unless set otherwise.
DEFAULT_ROOM: Final = "test-room"


class InMemoryServer(RoomServer):
    """A room server with an API key of its own, which makes tokens for any identity.

    `Room.connect` takes it in place of a URL. It is a `RoomServer` in every other respect, so
    `trio_rpc.server.serve` serves it on a socket too.

    Args:
        limits: The limits of the server.
    """

    # Replaced where tokens are made elsewhere
    _api_key: ClassVar[str] = "test-key"
    _api_secret: ClassVar[str] = "the secret of a server that only tests know"

    def __init__(self, limits: ServerLimits | None = None) -> None:
        super().__init__({self._api_key: self._api_secret}, limits)

    def token(self, identity: str, *, room_name: str = DEFAULT_ROOM, **grants: Any) -> str:
        """Return a token that lets `identity` join.

        Args:
            identity: The identity of the participant.
            room_name: The name of the room.
            grants: Further grants of `VideoGrants`, such as `hidden=True`.
        """
        return (
            AccessToken(self._api_key, self._api_secret)
            .with_identity(identity)
            .with_grants(VideoGrants(room_join=True, room=room_name, **grants))
            .to_jwt()
        )

    @asynccontextmanager
    async def open_room(
        self,
        identity: str,
        room: Room | None = None,
        *,
        through: Connector | None = None,
        reconnect: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
        on_disconnect: OnDisconnect = "raise",
        **grants: Any,
    ) -> AsyncGenerator[Room]:
        """Join a room as `identity` for the block.

        Args:
            identity: The identity to join as.
            room: The `Room` to join with, if the program under test has made one.
            through: A connector to this server, such as a `FaultyNetwork`; by default, the server
                itself.
            reconnect: As for `Room.connect`.
            on_disconnect: As for `Room.connect`.
            grants: As for `token`.
        """
        async with (room or Room()).connect(
            through or self,
            self.token(identity, **grants),
            reconnect=reconnect,
            on_disconnect=on_disconnect,
        ) as it:
            yield it


@asynccontextmanager
async def open_rooms(
    *identities: str,
    server: InMemoryServer | None = None,
    rooms: Mapping[str, Room] | None = None,
    through: Connector | Mapping[str, Connector] | None = None,
    grants: Mapping[str, Mapping[str, Any]] | None = None,
    reconnect: ReconnectPolicy | None = DEFAULT_RECONNECT_POLICY,
    on_disconnect: OnDisconnect = "raise",
) -> AsyncGenerator[tuple[Room, ...]]:
    """Join as several participants, which can call each other; yield their rooms.

        async with open_rooms("alice", "bob") as (alice, bob):
            ...

    Args:
        identities: The identities to join as, in this order.
        server: The server; by default, one of their own.
        rooms: By identity, the `Room` to join with, if the program under test has made one.
        through: A connector to the server, as for `InMemoryServer.open_room`, for all or by
            identity; requires `server`.
        grants: By identity, grants as for `InMemoryServer.token`.
        reconnect: As for `Room.connect`, for each.
        on_disconnect: As for `Room.connect`, for each.
    """
    server = server or InMemoryServer()
    rooms, grants = rooms or {}, grants or {}
    if not isinstance(through, Mapping):
        through = {} if through is None else dict.fromkeys(identities, through)
    if strangers := (rooms.keys() | through.keys() | grants.keys()) - set(identities):
        raise ValueError(f"nobody joins as {', '.join(map(repr, sorted(strangers)))}")
    async with AsyncExitStack() as stack:
        joined = [
            await stack.enter_async_context(
                server.open_room(
                    identity,
                    rooms.get(identity),
                    through=through.get(identity),
                    reconnect=reconnect,
                    on_disconnect=on_disconnect,
                    **grants.get(identity, {}),
                )
            )
            for identity in identities
        ]
        visible = [
            room.local_participant.identity
            for room in joined
            if not room.local_participant.permissions.hidden
        ]
        for room in joined:
            for identity in visible:
                if identity != room.local_participant.identity:
                    await room.wait_for_participant(identity)
        yield tuple(joined)

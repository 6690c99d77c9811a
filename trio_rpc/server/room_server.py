"""`RoomServer`: administration of rooms and admission to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from attrs import frozen
from livekit.protocol import agent_dispatch, rtc

from .. import concurrency
from ..errors import ConnectError, DisconnectReason, RefusedError
from ..links import Link, ServedLink, open_framed_link
from ..links.memory import MemoryStream, open_memory_streams
from ..tokens import Claims, Secrets
from .administration import Administration
from .admission import Admission
from .agents.dispatcher import AgentDispatcher
from .draining import DEFAULT_DRAIN_TIMEOUT, SHUTDOWN_TEXT, drain_rooms
from .join_request import JoinParameters, join_parameters
from .limits import ServerLimits
from .session import serve_member

#: Seconds in which participants are told that the server shuts down.
_SHUTDOWN_TIMEOUT: Final = 5.0


@frozen
class ServerStatistics:
    """The load of a server at a moment.

    Attributes:
        rooms: The number of rooms, those that wait for participants included (R2).
        participants: The number of participants in all rooms.
    """

    rooms: int
    participants: int


class RoomServer(Administration):
    """A server of rooms for participants whose token is signed with one of the API keys.

    Participants join through the ASGI app of `create_app`, or from within this process:
    `Room.connect` takes a `RoomServer` in place of a URL.

    Args:
        api_keys: The secret of each API key, or several, the first of which signs.
        limits: The limits of the server.

    Attributes:
        admission: The admission of participants, for transports.
        agents: The workers of LiveKit Agents, and their jobs.

    Raises:
        ValueError: there is no API key, or one without a secret.
    """

    def __init__(self, api_keys: Mapping[str, Secrets], limits: ServerLimits | None = None) -> None:
        super().__init__(limits or ServerLimits())
        self.admission = Admission(api_keys, self.limits, self._rooms, self._budget)
        self.agents = self._rooms.observer = AgentDispatcher(
            self.limits, self._rooms.now, self.remove_participant
        )

    @property
    def shutting_down(self) -> bool:
        """Whether the server admits nobody any more."""
        return self.admission.closed

    def statistics(self) -> ServerStatistics:
        """Return the load of the server."""
        participants = [len(room.members) for room in self._rooms]
        return ServerStatistics(len(participants), sum(participants))

    # Agents

    def dispatch_agent(
        self, request: agent_dispatch.CreateAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch:
        """Send an agent to a room, which is created if need be.

        Raises:
            ValueError: something is too large, or the room has no name.
            RefusedError: the server has as many rooms, or the room as many dispatches, as it may.
        """
        self.create_room(request.room)
        return self.agents.create(self._rooms.get(request.room), request)

    # Joining

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        """Open a link from within this process, for `Room.connect`.

        Raises:
            ConnectError: the token is not valid, or nobody is admitted.
        """
        try:
            parameters = join_parameters(request)
            claims = self.admission.describe(self.admission.authenticate(token), parameters)
            with self.admission.joining():
                self.admission.check_space(claims)
        except RefusedError as error:
            raise ConnectError(f"refused: {error.reason}", status=error.status) from None
        near, far = open_memory_streams()
        backend = concurrency.current()

        async def serve(far: MemoryStream) -> None:
            # Shielded: a cancelled participant still sends a `LeaveRequest`. The end of its link
            # ends this task.
            with backend.cancel_scope(shield=True):
                async with open_framed_link(
                    far, max_queue_bytes=self.limits.max_queue_bytes
                ) as link:
                    await self._serve_link(link, claims, parameters)

        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(serve, far)
            async with open_framed_link(near) as link:
                yield link

    async def _serve_link(
        self, link: ServedLink, claims: Claims, parameters: JoinParameters
    ) -> None:
        """Serve a participant of this process over its link."""
        await serve_member(self.admission, link, claims, parameters)

    async def drain(self, timeout: float = DEFAULT_DRAIN_TIMEOUT) -> None:  # noqa: ASYNC109
        """Have all participants join again, here or on another server, and shut down (L10).

        For a server that is replaced or restarted: programs of this library and LiveKit's SDKs
        open another connection by themselves. Nobody is admitted and no session resumed any more;
        calls in flight that would be lost get half of the time for their answers, and everything
        that is queued for a participant is sent before the request to join again. `statistics`
        tells how many participants are left.

        Args:
            timeout: Seconds that calls and queues may take; participants are asked in any case.
        """
        self.admission.closed = True
        await drain_rooms(concurrency.current(), self._rooms, timeout)
        await self.shut_down()

    async def shut_down(self) -> None:
        """Admit nobody any more, disconnect all participants, and wait until they are gone.

        The participants do not come back by themselves; see `drain`.
        """
        self.admission.closed = True
        self.agents.close()
        for room in self._rooms:
            for member in tuple(room.members.values()):
                member.disconnect(DisconnectReason.SERVER_SHUTDOWN, SHUTDOWN_TEXT)
        backend = concurrency.current()
        all_gone = backend.event()
        self._rooms.close(all_gone.set)
        with backend.move_on_after(_SHUTDOWN_TIMEOUT):
            await all_gone.wait()

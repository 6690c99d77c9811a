"""The sending half of a session: all that `LocalParticipant` needs of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from livekit.protocol import rtc

from ..concurrency import Notifier
from ..errors import DisconnectedError
from ..links.packet_sender import PacketSender, SendQueue
from ..participant import Participant, RemoteParticipant
from ..protocol.capabilities import NO_ABILITIES, Abilities, server_carries_rpc
from ..protocol.limits import SessionLimits
from ..rpc.calls import Calls
from ..streams.buffer_context import BufferContext
from ..streams.outgoing import OutgoingStreams
from .own_changes import OwnChanges
from .server_requests import ServerRequests
from .tracks.publishing import Publishing


class Outbound:
    """The sending half of a session.

    Args:
        link: The link to the server.
        join: The server's response on joining.
        limits: The limits of the session.
        context: The common part of all buffers of the session.
        roster_delay: Seconds by which the server may announce participants late.

    Attributes:
        checkpoint: To be awaited before something is refused, so that a cancellation comes first.
        current_time: Returns the time on the event loop's clock.
        server_version: The version of the server.
        carries_rpc: Whether a server of that version carries RPC.
        room_name: The name of the room.
        remote_participants: The others in the room, by identity. The session's roster keeps it.
        roster_changed: Notified of each change in it, and of the end of the session.
        packet_sender: Sends packets and signalling messages.
        server_requests: Our requests to the server.
        own_changes: The changes of our description, which are made again after a rejoin.
        publishing: The tracks that we have published.
        streams: The data streams that we send.
        calls: Our calls that wait for an answer.
        disconnection: The end of the session; None while we are in the room.
    """

    def __init__(
        self,
        link: SendQueue,
        join: rtc.JoinResponse,
        limits: SessionLimits,
        context: BufferContext,
        roster_delay: float,
    ) -> None:
        backend = self._backend = context.backend
        self.checkpoint = backend.checkpoint
        self.current_time = backend.current_time
        self._take(join, roster_delay)
        self.roster_changed = Notifier(backend)
        self.remote_participants: dict[str, RemoteParticipant] = {}
        self.packet_sender = PacketSender(link, join.participant)
        self.server_requests = ServerRequests(backend, self.packet_sender)
        self.own_changes = OwnChanges(self.server_requests)
        self.publishing = Publishing(backend, self.packet_sender)
        self.streams = OutgoingStreams(backend, self.packet_sender, self)
        self.calls = Calls(
            self.packet_sender,
            self.streams,
            limits,
            context,
            self.remote_participants,
            is_announced=not roster_delay,
        )
        self.disconnection: DisconnectedError | None = None

    def _take(self, join: rtc.JoinResponse, roster_delay: float) -> None:
        self._roster_delay = roster_delay
        self.server_version = join.server_info.version or join.server_version
        self.carries_rpc = server_carries_rpc(self.server_version)
        self.room_name = join.room.name

    def restart(self, join: rtc.JoinResponse, roster_delay: float) -> None:
        """Go on after a rejoin.

        Args:
            join: The server's response on joining.
            roster_delay: Seconds by which the server may announce participants late.
        """
        self._take(join, roster_delay)
        self.packet_sender.restart(join.participant)
        self.calls.requests.is_announced = not roster_delay

    def end(self, disconnection: DisconnectedError) -> None:
        """Fail our requests to the server, and all calls and requests from now on."""
        self.disconnection = disconnection
        self.server_requests.end(disconnection)

    async def missing_callee(self, identity: str, within: float) -> Participant | None:
        """Return a participant that is expected back (L9), or is announced late (C7).

        Args:
            within: Seconds that the server may take at most to announce it.

        Returns:
            The participant; None if it is not expected, nor announced in time, or the session ends.
        """
        if (callee := self.calls.repeats.returning.get(identity)) is not None:
            return callee
        if not self._roster_delay:
            return None
        with self._backend.move_on_after(min(self._roster_delay, within)):
            while identity not in self.remote_participants and self.disconnection is None:
                await self.roster_changed.wait()
        return self.remote_participants.get(identity)

    # The receivers of a stream: `Receivers`

    def all_take_inline(self, destinations: Sequence[str]) -> bool:
        """Whether all receivers accept content in the header of a stream (S5)."""
        return all(each.takes_inline for each in self._abilities(destinations))

    def all_inflate(self, destinations: Sequence[str]) -> bool:
        """Whether all receivers accept compressed streams (S5)."""
        return all(each.inflates for each in self._abilities(destinations))

    def _abilities(self, destinations: Sequence[str]) -> Iterator[Abilities]:
        remote = self.remote_participants
        for identity in destinations or remote:
            yield remote[identity]._abilities if identity in remote else NO_ABILITIES

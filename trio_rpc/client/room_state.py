"""The state of the room, and of our connection to it, as the server tells them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from livekit.protocol import models, rtc

from ..events import (
    ConnectionState,
    ConnectionStateChanged,
    Moved,
    Reconnected,
    Reconnecting,
    RoomEvent,
    RoomMetadataChanged,
    RoomUpdated,
    TokenRefreshed,
)
from ..links import LinkClosedError, LinkFullError
from ..protocol.logs import peer_logger
from .outbound import Outbound
from .roster import Roster
from .roster_changes import RosterChanges

logger = peer_logger(__name__)


class RoomState:
    """The room of one session: its description, its participants, and whether we hear of changes.

    Args:
        room: The description that the server has sent on joining.
        emit: Takes the events, in order.

    Attributes:
        room: The description of the room.
        refreshed_token: The last token that the server has sent for further connections (L11).
        is_reconnecting: Whether the program was told that the connection is lost, and not yet that
            it is restored.
    """

    def __init__(
        self,
        room: models.Room,
        outbound: Outbound,
        roster: Roster,
        roster_changes: RosterChanges,
        emit: Callable[[RoomEvent], None],
    ) -> None:
        self.room = room
        self.refreshed_token = ""
        self.is_reconnecting = False
        self._outbound = outbound
        self._roster = roster
        self._roster_changes = roster_changes
        self._emit = emit
        self._awaits_snapshot = False

    def on_signal(self, response: rtc.SignalResponse) -> None:
        """Handle a signalling message."""
        match response.WhichOneof("message"):
            case "update" if self._awaits_snapshot:
                self._on_snapshot(response.update)
            case "update":
                self._roster_changes.apply(self._roster.update(response.update.participants))
            case "reconnect":
                self._on_signalling_restored()
            case "refresh_token":
                self.refreshed_token = response.refresh_token
                self._emit(TokenRefreshed(response.refresh_token))
            case "request_response":
                self._outbound.server_requests.on_response(response.request_response)
            case "room_update":
                self.on_room(response.room_update.room)
            case "room_moved":
                self._on_moved(response.room_moved)
            case "connection_quality":
                updates = response.connection_quality.updates
                self._roster_changes.apply(self._roster.set_qualities(updates))
            case kind:
                logger.debug("ignored signalling of kind %s", kind)

    def on_room(self, room: models.Room) -> None:
        """Take another description of the room."""
        old, self.room = self.room, room
        if old.metadata != room.metadata:
            self._emit(RoomMetadataChanged(old.metadata, room.metadata))
        self._emit(RoomUpdated())

    def on_lost(self) -> None:
        """Tell the program that the connection, or its signalling, is lost for now."""
        if not self.is_reconnecting:
            self.is_reconnecting = True
            self._emit(ConnectionStateChanged(ConnectionState.CONN_RECONNECTING))
            self._emit(Reconnecting())

    def on_resumed(self) -> None:
        """Expect the current participants, since changes may have been missed."""
        self._awaits_snapshot = True

    def on_restored(self, *, resumed: bool) -> None:
        """Tell the program that the connection is restored, if it was told of the loss."""
        self._awaits_snapshot = False
        if self.is_reconnecting:
            self.is_reconnecting = False
            self._emit(ConnectionStateChanged(ConnectionState.CONN_CONNECTED))
            self._emit(Reconnected(resumed=resumed))

    def _on_snapshot(self, update: rtc.ParticipantUpdate) -> None:
        """Reconcile the roster with the current participants, after a resume."""
        self._roster_changes.apply(self._roster.reconcile(update.participants))
        self.on_restored(resumed=True)

    def _on_signalling_restored(self) -> None:
        """Go on with signalling that was lost and opened again beneath this (L12)."""
        self._awaits_snapshot = True
        for request in self._outbound.server_requests.unanswered_requests():
            with suppress(LinkFullError, LinkClosedError):
                self._outbound.packet_sender.send_signal(request)

    def _on_moved(self, move: rtc.RoomMovedResponse) -> None:
        """Go on in another room, to which the server has moved us."""
        self.refreshed_token = move.token or self.refreshed_token
        self.on_room(move.room)
        participants = self._roster.rejoin(move.participant, move.other_participants)
        self._roster_changes.apply(participants)
        self._emit(Moved())

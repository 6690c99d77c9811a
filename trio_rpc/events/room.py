"""The events of a room: its connection, its participants, and the data that they publish."""

from __future__ import annotations

from enum import IntEnum

from attrs import field, frozen

from ..errors import DisconnectReason
from ..participant import (
    ConnectionQuality,
    Participant,
    ParticipantPermissions,
    RemoteParticipant,
    TrackPublication,
)
from .base import RoomEvent
from .data import DataPacket, SipDTMF, TranscriptionSegment


class ConnectionState(IntEnum):
    """Whether a room is joined."""

    CONN_DISCONNECTED = 0
    CONN_CONNECTED = 1
    CONN_RECONNECTING = 2


@frozen
class Connected(RoomEvent):
    """The room was joined."""


@frozen
class Reconnecting(RoomEvent):
    """The connection is lost, and is opened again; we are still in the room."""


@frozen
class Reconnected(RoomEvent):
    """The connection is there again.

    Attributes:
        resumed: Whether we have been in the room all the time, and nothing was lost.
    """

    resumed: bool


@frozen
class TokenRefreshed(RoomEvent):
    """The server has sent an access token for the next connection.

    Attributes:
        token: The token; whoever has it can join the room as we.
    """

    token: str = field(repr=lambda _: "'…'")


@frozen
class Disconnected(RoomEvent):
    """The room was left or lost."""

    reason: DisconnectReason


@frozen
class ConnectionStateChanged(RoomEvent):
    """The state of the connection changed."""

    connection_state: ConnectionState


@frozen
class RoomUpdated(RoomEvent):
    """The server described the room anew: its metadata, or its number of participants."""


@frozen
class Moved(RoomEvent):
    """The server has moved us to another room, whose participants are the remote ones now."""


@frozen
class RoomMetadataChanged(RoomEvent):
    """The metadata of the room changed."""

    old_metadata: str
    new_metadata: str


@frozen
class ParticipantConnected(RoomEvent):
    """A participant joined."""

    participant: RemoteParticipant


@frozen
class ParticipantActive(RoomEvent):
    """A participant became active: it can be called and sent data from now on."""

    participant: RemoteParticipant


@frozen
class ParticipantDisconnected(RoomEvent):
    """A participant left."""

    participant: RemoteParticipant


@frozen
class ParticipantMetadataChanged(RoomEvent):
    """The metadata of a participant changed; it may be ourselves."""

    participant: Participant
    old_metadata: str
    new_metadata: str


@frozen
class ParticipantNameChanged(RoomEvent):
    """The name of a participant changed; it may be ourselves."""

    participant: Participant
    old_name: str
    new_name: str


@frozen
class ParticipantAttributesChanged(RoomEvent):
    """Attributes of a participant changed; it may be ourselves.

    `changed_attributes` has the new values; a deleted key has the value `""`.
    """

    changed_attributes: dict[str, str]
    participant: Participant


@frozen
class ParticipantPermissionsChanged(RoomEvent):
    """The permissions of a participant changed; it may be ourselves."""

    participant: Participant
    permissions: ParticipantPermissions


@frozen
class ConnectionQualityChanged(RoomEvent):
    """The quality of a participant's connection changed; it may be ours."""

    participant: Participant
    quality: ConnectionQuality


@frozen
class DataReceived(RoomEvent):
    """Data was received."""

    data_packet: DataPacket


@frozen
class SipDTMFReceived(RoomEvent):
    """A key pressed on a telephone was received."""

    sip_dtmf: SipDTMF


@frozen
class TranscriptionReceived(RoomEvent):
    """A transcription was received, of a track if `publication` is not None."""

    segments: list[TranscriptionSegment]
    participant: Participant | None
    publication: TrackPublication | None = None

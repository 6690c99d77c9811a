"""The events of a room, and the data that they carry.

Each is a class. `Room.on` takes its name in LiveKit's spelling (`participant_connected`); its
fields, in order, are the arguments of a callback; and its objects are the items of the iterator
that `Room.events` returns. One definition serves both ways of listening.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, Final, Literal

from attrs import field, frozen

from .errors import DisconnectReason
from .participant import (
    ConnectionQuality,
    LocalTrack,
    LocalTrackPublication,
    Participant,
    ParticipantPermissions,
    RemoteParticipant,
    RemoteTrack,
    RemoteTrackPublication,
    TrackPublication,
)

__all__ = [
    "Connected",
    "ConnectionQualityChanged",
    "ConnectionState",
    "ConnectionStateChanged",
    "DataReceived",
    "Disconnected",
    "EventName",
    "LocalTrackPublished",
    "LocalTrackRepublished",
    "LocalTrackSubscribed",
    "LocalTrackUnpublished",
    "Moved",
    "ParticipantActive",
    "ParticipantAttributesChanged",
    "ParticipantConnected",
    "ParticipantDisconnected",
    "ParticipantMetadataChanged",
    "ParticipantNameChanged",
    "ParticipantPermissionsChanged",
    "Reconnected",
    "Reconnecting",
    "RoomEvent",
    "RoomMetadataChanged",
    "RoomUpdated",
    "SipDTMFReceived",
    "TokenRefreshed",
    "TrackMuted",
    "TrackPublished",
    "TrackSubscribed",
    "TrackSubscriptionFailed",
    "TrackUnmuted",
    "TrackUnpublished",
    "TrackUnsubscribed",
    "TranscriptionReceived",
]

_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class DataPacketKind(IntEnum):
    """The delivery of data: best-effort, or reliable and ordered.

    The integers are those of LiveKit's Python SDK, and not those of its protobuf.
    """

    KIND_LOSSY = 0
    KIND_RELIABLE = 1


@frozen
class DataPacket:
    """Data that another participant published.

    Attributes:
        data: The bytes, as they were sent.
        kind: The kind of delivery.
        participant: The sender; None for the server, or a hidden participant.
        topic: The topic, or None.
    """

    data: bytes
    kind: DataPacketKind
    participant: RemoteParticipant | None
    topic: str | None = None


@frozen
class SipDTMF:
    """A key pressed on a telephone.

    Attributes:
        code: The number of the key, 0 to 15.
        digit: The key as it is printed: `"0"` to `"9"`, `"*"`, `"#"`, `"A"` to `"D"`.
        participant: The sender; None for the server, or a hidden participant.
    """

    code: int
    digit: str
    participant: RemoteParticipant | None = None


@frozen
class TranscriptionSegment:
    """A segment of transcribed speech.

    Attributes:
        id: The id; segments with the same id are versions of one segment, of which the last counts.
        text: The transcribed text.
        start_time: The beginning of the speech, in milliseconds of the track.
        end_time: The end of the speech, in milliseconds of the track.
        language: The language, as a BCP 47 tag such as `"en"`.
        final: Whether this is the last version.
    """

    id: str
    text: str
    start_time: int
    end_time: int
    language: str
    final: bool


@frozen
class Transcription:
    """Transcribed speech of a participant.

    Attributes:
        participant_identity: The identity of the speaker.
        track_sid: The id of the audio track.
        segments: The segments, in order.
    """

    participant_identity: str
    track_sid: str
    segments: Sequence[TranscriptionSegment]


class ConnectionState(IntEnum):
    """Whether a room is joined."""

    CONN_DISCONNECTED = 0
    CONN_CONNECTED = 1
    CONN_RECONNECTING = 2


class RoomEvent:
    """The base class of all events."""

    #: LiveKit's name of the event, as `Room.on` takes it.
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = _WORDS.sub("_", cls.__name__).lower()


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
    """A transcription was received. `publication` is the track, always None."""

    segments: list[TranscriptionSegment]
    participant: Participant | None
    publication: None = None


@frozen
class LocalTrackPublished(RoomEvent):
    """A track of ours was published."""

    publication: LocalTrackPublication
    track: LocalTrack


@frozen
class LocalTrackRepublished(RoomEvent):
    """A track of ours was published again, after a rejoin, which has changed its SID."""

    publication: LocalTrackPublication
    previous_sid: str


@frozen
class LocalTrackUnpublished(RoomEvent):
    """A track of ours is not published any more."""

    publication: LocalTrackPublication


@frozen
class LocalTrackSubscribed(RoomEvent):
    """Somebody has subscribed to a track of ours, for the first time."""

    track: LocalTrack


@frozen
class TrackPublished(RoomEvent):
    """Another participant has published a track."""

    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackUnpublished(RoomEvent):
    """A track of another participant is not published any more."""

    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackSubscribed(RoomEvent):
    """A track of another participant is received from now on."""

    track: RemoteTrack
    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackUnsubscribed(RoomEvent):
    """A track of another participant is not received any more."""

    track: RemoteTrack
    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackSubscriptionFailed(RoomEvent):
    """A track of another participant can't be received."""

    participant: RemoteParticipant
    track_sid: str
    error: str


@frozen
class TrackMuted(RoomEvent):
    """A track is silent from now on; it may be ours."""

    participant: Participant
    publication: TrackPublication


@frozen
class TrackUnmuted(RoomEvent):
    """A track is not silent any more; it may be ours."""

    participant: Participant
    publication: TrackPublication


EventName = Literal[
    "connected",
    "reconnecting",
    "reconnected",
    "token_refreshed",
    "disconnected",
    "connection_state_changed",
    "room_updated",
    "moved",
    "room_metadata_changed",
    "participant_connected",
    "participant_active",
    "participant_disconnected",
    "participant_metadata_changed",
    "participant_name_changed",
    "participant_attributes_changed",
    "participant_permissions_changed",
    "connection_quality_changed",
    "data_received",
    "sip_dtmf_received",
    "transcription_received",
    "local_track_published",
    "local_track_republished",
    "local_track_unpublished",
    "local_track_subscribed",
    "track_published",
    "track_unpublished",
    "track_subscribed",
    "track_unsubscribed",
    "track_subscription_failed",
    "track_muted",
    "track_unmuted",
]
#: The names of all events.
EVENT_NAMES: Final = frozenset(event.name for event in RoomEvent.__subclasses__())

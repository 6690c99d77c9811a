"""The events of a room.

Each is a class. Its name in LiveKit's spelling (`participant_connected`) is what `Room.on` takes;
its fields, in order, are the arguments of a callback; and its objects are the items of the iterator
that `Room.events` returns. One definition serves both ways of listening.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import ClassVar, Final, Literal

from attrs import frozen

from .data import DataPacket, SipDTMF, TranscriptionSegment
from .errors import DisconnectReason
from .participant import Participant, ParticipantPermissions, RemoteParticipant

__all__ = [
    "Connected",
    "ConnectionState",
    "ConnectionStateChanged",
    "DataReceived",
    "Disconnected",
    "EventName",
    "ParticipantActive",
    "ParticipantAttributesChanged",
    "ParticipantConnected",
    "ParticipantDisconnected",
    "ParticipantMetadataChanged",
    "ParticipantNameChanged",
    "ParticipantPermissionsChanged",
    "RoomEvent",
    "RoomMetadataChanged",
    "SipDTMFReceived",
    "TranscriptionReceived",
]

_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ConnectionState(IntEnum):
    """Whether a room is joined."""

    CONN_DISCONNECTED = 0
    CONN_CONNECTED = 1


class RoomEvent:
    """Something that happened in a room."""

    #: LiveKit's name of the event, as `Room.on` takes it.
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = _WORDS.sub("_", cls.__name__).lower()


@frozen
class Connected(RoomEvent):
    """We are in the room."""


@frozen
class Disconnected(RoomEvent):
    """We are not in the room any more."""

    reason: DisconnectReason


@frozen
class ConnectionStateChanged(RoomEvent):
    """We joined or left."""

    connection_state: ConnectionState


@frozen
class RoomMetadataChanged(RoomEvent):
    """The text that belongs to the room is another."""

    old_metadata: str
    new_metadata: str


@frozen
class ParticipantConnected(RoomEvent):
    """Somebody joined."""

    participant: RemoteParticipant


@frozen
class ParticipantActive(RoomEvent):
    """Somebody can be called and sent data from now on."""

    participant: RemoteParticipant


@frozen
class ParticipantDisconnected(RoomEvent):
    """Somebody left."""

    participant: RemoteParticipant


@frozen
class ParticipantMetadataChanged(RoomEvent):
    """Somebody's metadata, perhaps our own, is another."""

    participant: Participant
    old_metadata: str
    new_metadata: str


@frozen
class ParticipantNameChanged(RoomEvent):
    """Somebody's name, perhaps our own, is another."""

    participant: Participant
    old_name: str
    new_name: str


@frozen
class ParticipantAttributesChanged(RoomEvent):
    """Some of somebody's attributes, perhaps our own, are others.

    `changed_attributes` holds the new values; a key that was deleted has the value `""`.
    """

    changed_attributes: dict[str, str]
    participant: Participant


@frozen
class ParticipantPermissionsChanged(RoomEvent):
    """Somebody, perhaps we, may do other things than before."""

    participant: Participant
    permissions: ParticipantPermissions


@frozen
class DataReceived(RoomEvent):
    """Somebody published data to us."""

    data_packet: DataPacket


@frozen
class SipDTMFReceived(RoomEvent):
    """Somebody pressed a key on a telephone."""

    sip_dtmf: SipDTMF


@frozen
class TranscriptionReceived(RoomEvent):
    """Somebody's words came as text. `publication` is the track, which we never have."""

    segments: list[TranscriptionSegment]
    participant: Participant | None
    publication: None = None


EventName = Literal[
    "connected",
    "disconnected",
    "connection_state_changed",
    "room_metadata_changed",
    "participant_connected",
    "participant_active",
    "participant_disconnected",
    "participant_metadata_changed",
    "participant_name_changed",
    "participant_attributes_changed",
    "participant_permissions_changed",
    "data_received",
    "sip_dtmf_received",
    "transcription_received",
]
#: The names of all events.
EVENT_NAMES: Final = frozenset(event.name for event in RoomEvent.__subclasses__())

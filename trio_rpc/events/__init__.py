"""The events of a room, and the data that they carry.

Each is a class. `Room.on` takes its name in LiveKit's spelling (`participant_connected`); its
fields, in order, are the arguments of a callback; and its objects are the items of the iterator
that `Room.events` returns. One definition serves both ways of listening.

* `base`: the base class. `names`: the names of all.
* `room`: those of a room, its participants and data. `tracks`: those of audio and video.
* `data`: the data that they carry.
"""

from .base import RoomEvent
from .names import EventName
from .room import (
    Connected,
    ConnectionQualityChanged,
    ConnectionState,
    ConnectionStateChanged,
    DataReceived,
    Disconnected,
    Moved,
    ParticipantActive,
    ParticipantAttributesChanged,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    ParticipantPermissionsChanged,
    Reconnected,
    Reconnecting,
    RoomMetadataChanged,
    RoomUpdated,
    SipDTMFReceived,
    TokenRefreshed,
    TranscriptionReceived,
)
from .tracks import (
    LocalTrackPublished,
    LocalTrackRepublished,
    LocalTrackSubscribed,
    LocalTrackUnpublished,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    TrackUnsubscribed,
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

"""The values that a program holds of a room: its participants, their tracks, and frames of media.

* `participants`: participants, and their permissions.
* `publications`: the tracks that a participant has published, as the server describes them.
* `tracks`: audio and video of ourselves and others.
* `frames`: the samples and pictures of a track.
"""

from .frames import AudioFrame
from .participants import (
    DEFAULT_RESPONSE_TIMEOUT,
    ConnectionQuality,
    Participant,
    ParticipantKind,
    ParticipantKindDetail,
    ParticipantPermissions,
    ParticipantState,
    PerformRpc,
    RemoteParticipant,
)
from .publications import LocalTrackPublication, RemoteTrackPublication, TrackPublication
from .tracks import (
    LocalAudioTrack,
    LocalTrack,
    RemoteAudioTrack,
    RemoteTrack,
    RemoteVideoTrack,
    Track,
    TrackKind,
    TrackSource,
)

__all__ = [
    "DEFAULT_RESPONSE_TIMEOUT",
    "AudioFrame",
    "ConnectionQuality",
    "LocalAudioTrack",
    "LocalTrack",
    "LocalTrackPublication",
    "Participant",
    "ParticipantKind",
    "ParticipantKindDetail",
    "ParticipantPermissions",
    "ParticipantState",
    "PerformRpc",
    "RemoteAudioTrack",
    "RemoteParticipant",
    "RemoteTrack",
    "RemoteTrackPublication",
    "RemoteVideoTrack",
    "Track",
    "TrackKind",
    "TrackPublication",
    "TrackSource",
]

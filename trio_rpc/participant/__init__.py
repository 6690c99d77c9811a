"""The values that a program holds of a room: its participants, their tracks, and frames of media.

* `participants`: participants, and their permissions.
* `publications`: the tracks that a participant has published, as the server describes them.
* `tracks`: audio and video of ourselves and others.
* `frames`, `video_frames`: the samples and pictures of a track. `video_formats`: their pixels.
* `pictures`: pictures in other formats; imported when one is needed, since it needs PyAV.
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
    AudioTrack,
    LocalAudioTrack,
    LocalTrack,
    LocalVideoTrack,
    RemoteAudioTrack,
    RemoteTrack,
    RemoteVideoTrack,
    Track,
    TrackKind,
    TrackSource,
    VideoTrack,
)
from .video_formats import VideoBufferType
from .video_frames import VideoFrame, VideoRotation

__all__ = [
    "DEFAULT_RESPONSE_TIMEOUT",
    "AudioFrame",
    "AudioTrack",
    "ConnectionQuality",
    "LocalAudioTrack",
    "LocalTrack",
    "LocalTrackPublication",
    "LocalVideoTrack",
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
    "VideoBufferType",
    "VideoFrame",
    "VideoRotation",
    "VideoTrack",
]

"""Differences from LiveKit's Python SDK that are intended.

Each is a name that we lack, of `livekit.rtc` or of a class in it, or a parameter: `perform_rpc(x)`.
"""

from __future__ import annotations

from typing import Final

#: Names of audio, video, tracks and encryption: this library has none of these.
MEDIA: Final = frozenset(
    [
        "AVSynchronizer",
        "AudioDeviceInfo",
        "AudioFilter",
        "AudioFrame",
        "AudioFrameEvent",
        "AudioMixer",
        "AudioProcessingModule",
        "AudioResampler",
        "AudioResamplerQuality",
        "AudioSource",
        "AudioStream",
        "AudioTrack",
        "ContinualGatheringPolicy",
        "DataTrackFrame",
        "DataTrackInfo",
        "DataTrackStream",
        "DegradationPreference",
        "E2EEManager",
        "E2EEOptions",
        "EncodedFrameType",
        "EncodedRateControl",
        "EncodedVideoFrame",
        "EncodedVideoSource",
        "EncodedVideoSourceFeedback",
        "EncryptionState",
        "EncryptionType",
        "FrameCryptor",
        "FrameMetadata",
        "FrameMetadataFeature",
        "FrameProcessor",
        "IceServer",
        "IceTransportType",
        "KeyDerivationFunction",
        "KeyProvider",
        "KeyProviderOptions",
        "LocalAudioTrack",
        "LocalDataTrack",
        "LocalTrack",
        "LocalTrackPublication",
        "LocalVideoTrack",
        "MediaDevices",
        "NoiseCancellationOptions",
        "ParticipantTrackPermission",
        "PlatformAudio",
        "PlatformAudioError",
        "PlatformAudioOptions",
        "PlatformAudioSource",
        "PushFrameError",
        "RemoteAudioTrack",
        "RemoteDataTrack",
        "RemoteTrack",
        "RemoteTrackPublication",
        "RemoteVideoTrack",
        "RtcConfiguration",
        "RtcStats",
        "StreamState",
        "SubscribeDataTrackError",
        "Track",
        "TrackKind",
        "TrackPublication",
        "TrackPublishOptions",
        "TrackSource",
        "VideoBufferType",
        "VideoCodec",
        "VideoEncoderBackend",
        "VideoEncoding",
        "VideoFrame",
        "VideoFrameEvent",
        "VideoQuality",
        "VideoRotation",
        "VideoSource",
        "VideoStream",
        "VideoTrack",
        "combine_audio_frames",
        "stats",
        "LocalParticipant.publish_data_track",
        "LocalParticipant.publish_track",
        "LocalParticipant.set_track_subscription_permissions",
        "LocalParticipant.unpublish_track",
        "Room.e2ee_manager",
        "Room.get_rtc_stats",
        "Room.is_recording",
        "Room.num_publishers",
    ]
)
#: The same of events.
MEDIA_EVENTS: Final = frozenset(
    [
        "active_speakers_changed",
        "data_track_published",
        "data_track_unpublished",
        "e2ee_state_changed",
        "local_track_published",
        "local_track_republished",
        "local_track_subscribed",
        "local_track_unpublished",
        "participant_encryption_status_changed",
        "track_muted",
        "track_published",
        "track_subscribed",
        "track_subscription_failed",
        "track_unmuted",
        "track_unpublished",
        "track_unsubscribed",
    ]
)
#: Classes whose objects come from a room: nobody calls them.
NOT_CALLED: Final = frozenset(
    [
        "ByteStreamReader",
        "ByteStreamWriter",
        "LocalParticipant",
        "Participant",
        "RemoteParticipant",
        "StreamError",
        "TextStreamReader",
        "TextStreamWriter",
    ]
)
#: Anything else, with the reason.
OTHERS: Final = {
    "Room.emit": "events are those of the server",
    "RpcInvocationData.__init__(cancel_reason)": "it is computed",
    **{
        f"{name}.{attribute}": "an attribute of the objects, not of the class"
        for name in ("LocalParticipant", "Participant", "RemoteParticipant")
        for attribute in ("identity", "permissions", "sid")
    },
    **{
        f"StreamError.{name}": "of OSError, and always None"
        for name in ("characters_written", "errno", "filename", "filename2", "strerror")
    },
    "EventEmitter": "a base class; `Room` has its methods",
    "SimulateScenarioKind": "protobuf's numbers; `simulate_scenario` takes LiveKit's names as text",
    "__version__": "importlib.metadata has it",
}

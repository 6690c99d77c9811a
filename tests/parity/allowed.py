"""Differences from LiveKit's Python SDK that are intended.

Each is a name that we lack, of `livekit.rtc` or of a class in it, or a parameter: `perform_rpc(x)`.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

#: Names of audio, video, tracks and encryption: this library has none of these.
MEDIA: Final = frozenset(
    [
        "AVSynchronizer",
        "AudioDeviceInfo",
        "AudioFilter",
        "AudioMixer",
        "AudioProcessingModule",
        "AudioResampler",
        "AudioResamplerQuality",
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
        "LocalDataTrack",
        "MediaDevices",
        "NoiseCancellationOptions",
        "ParticipantTrackPermission",
        "PlatformAudio",
        "PlatformAudioError",
        "PlatformAudioOptions",
        "PlatformAudioSource",
        "PushFrameError",
        "RemoteDataTrack",
        "RtcConfiguration",
        "RtcStats",
        "StreamState",
        "SubscribeDataTrackError",
        "VideoCodec",
        "VideoEncoderBackend",
        "VideoEncoding",
        "VideoQuality",
        "combine_audio_frames",
        "stats",
        "LocalParticipant.publish_data_track",
        "LocalParticipant.set_track_subscription_permissions",
        "Room.e2ee_manager",
        "Room.get_rtc_stats",
        "Room.is_recording",
        "Room.num_publishers",
    ]
)
#: Members of the classes of media that we have, and parameters.
OF_MEDIA: Final = frozenset(
    [
        "AudioSource.__init__(loop)",
        "AudioStream.__init__(auto_close_noise_cancellation)",
        "AudioStream.__init__(loop)",
        "AudioStream.__init__(noise_cancellation)",
        "AudioStream.from_participant",
        "AudioStream.from_track(auto_close_noise_cancellation)",
        "AudioStream.from_track(loop)",
        "AudioStream.from_track(noise_cancellation)",
        *(
            f"{name}.{member}"
            for name in (
                "Track",
                "LocalAudioTrack",
                "LocalVideoTrack",
                "RemoteAudioTrack",
                "RemoteVideoTrack",
            )
            for member in ("get_stats", "stream_state")
        ),
        *(
            f"{name}.{member}"
            for name in ("TrackPublication", "LocalTrackPublication", "RemoteTrackPublication")
            for member in ("audio_features", "encryption_type", "frame_metadata_features")
        ),
        "RemoteTrackPublication.set_video_quality",
        "VideoFrameEvent.__init__(metadata)",
        "VideoFrameEvent.metadata",
        "VideoSource.capture_frame(metadata)",
        "VideoStream.__init__(loop)",
        "VideoStream.from_participant",
        "VideoStream.from_track(loop)",
    ]
)
#: The same of events.
MEDIA_EVENTS: Final = frozenset(
    [
        "active_speakers_changed",
        "data_track_published",
        "data_track_unpublished",
        "e2ee_state_changed",
        "participant_encryption_status_changed",
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
        "LocalTrackPublication",
        "RemoteTrackPublication",
        "TextStreamReader",
        "TextStreamWriter",
        "Track",
        "TrackPublication",
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
    **{
        f"TrackPublishOptions.{name}": "of a message of protobuf; ours is a class of its own"
        for name in [*dir(Message), "Extensions", "FindInitializationErrors"]
    },
    "EventEmitter": "a base class; `Room` has its methods",
    "SimulateScenarioKind": "protobuf's numbers; `simulate_scenario` takes LiveKit's names as text",
    "__version__": "importlib.metadata has it",
}

"""LiveKit RPC under structured concurrency, on trio and on asyncio.

The participants of a room call each other's methods:

    room = Room()

    @room.register_rpc_method("greet")
    async def greet(data: RpcInvocationData) -> str:
        return f"Hello, {data.caller_identity}!"

    async with room.connect(url, token):
        answer = await room.local_participant.perform_rpc(
            destination_identity="bob", method="greet", payload="hi"
        )

`trio_rpc.server` has the room server, `trio_rpc.tokens` the access tokens.
"""

from .client.emitter import EventStream
from .client.local_participant import LocalParticipant
from .client.options import DataStreamOptions, RoomOptions
from .client.reconnecting import ReconnectPolicy
from .client.statistics import RoomStatistics
from .client.stream_handlers import ByteStreamHandler, TextStreamHandler
from .client.tracks import (
    AudioFrameEvent,
    AudioSource,
    AudioStream,
    TrackPublishOptions,
    VideoFrameEvent,
    VideoSource,
    VideoStream,
)
from .errors import (
    ConnectError,
    DisconnectedError,
    DisconnectReason,
    EventsLostError,
    InvalidTokenError,
    PublishDataError,
    PublishDTMFError,
    PublishTrackError,
    PublishTranscriptionError,
    QueueFullError,
    RefusedError,
    RoomError,
    RpcError,
    SignalRequestError,
    StreamError,
    UnpublishTrackError,
)
from .events import ConnectionState, RoomEvent
from .events.data import DataPacket, DataPacketKind, SipDTMF, Transcription, TranscriptionSegment
from .links.webrtc import LiveKitConnector
from .participant import (
    AudioFrame,
    AudioTrack,
    ConnectionQuality,
    LocalAudioTrack,
    LocalTrack,
    LocalTrackPublication,
    LocalVideoTrack,
    Participant,
    ParticipantKind,
    ParticipantKindDetail,
    ParticipantPermissions,
    ParticipantState,
    RemoteAudioTrack,
    RemoteParticipant,
    RemoteTrack,
    RemoteTrackPublication,
    RemoteVideoTrack,
    Track,
    TrackKind,
    TrackPublication,
    TrackSource,
    VideoBufferType,
    VideoFrame,
    VideoRotation,
    VideoTrack,
)
from .protocol.retry import HANDLER_CANNOT_HAVE_RUN, Retry
from .rpc.interceptors import RpcCallInfo, RpcInterceptor
from .rpc.invocation_data import CancelReason, RpcInvocationData
from .rpc.methods import RpcHandler
from .streams import (
    ByteStreamInfo,
    ByteStreamReader,
    ByteStreamWriter,
    StreamOpening,
    TextStreamInfo,
    TextStreamReader,
    TextStreamWriter,
)
from .tokens import AccessToken, VideoGrants
from .typed.calling import TypedCaller
from .typed.codec import Codec, InvalidValueError, JsonCodec
from .typed.context import CallContext
from .typed.discovery import MethodInfo
from .typed.errors import ErrorRegistry, InvalidArguments, InvalidResponse
from .typed.many import Answers
from .typed.outcome import Outcome
from .typed.room import Room
from .typed.streaming import ItemStream

__all__ = [
    "HANDLER_CANNOT_HAVE_RUN",
    "AccessToken",
    "Answers",
    "AudioFrame",
    "AudioFrameEvent",
    "AudioSource",
    "AudioStream",
    "AudioTrack",
    "ByteStreamHandler",
    "ByteStreamInfo",
    "ByteStreamReader",
    "ByteStreamWriter",
    "CallContext",
    "CancelReason",
    "Codec",
    "ConnectError",
    "ConnectionQuality",
    "ConnectionState",
    "DataPacket",
    "DataPacketKind",
    "DataStreamOptions",
    "DisconnectReason",
    "DisconnectedError",
    "ErrorRegistry",
    "EventStream",
    "EventsLostError",
    "InvalidArguments",
    "InvalidResponse",
    "InvalidTokenError",
    "InvalidValueError",
    "ItemStream",
    "JsonCodec",
    "LiveKitConnector",
    "LocalAudioTrack",
    "LocalParticipant",
    "LocalTrack",
    "LocalTrackPublication",
    "LocalVideoTrack",
    "MethodInfo",
    "Outcome",
    "Participant",
    "ParticipantKind",
    "ParticipantKindDetail",
    "ParticipantPermissions",
    "ParticipantState",
    "PublishDTMFError",
    "PublishDataError",
    "PublishTrackError",
    "PublishTranscriptionError",
    "QueueFullError",
    "ReconnectPolicy",
    "RefusedError",
    "RemoteAudioTrack",
    "RemoteParticipant",
    "RemoteTrack",
    "RemoteTrackPublication",
    "RemoteVideoTrack",
    "Retry",
    "Room",
    "RoomError",
    "RoomEvent",
    "RoomOptions",
    "RoomStatistics",
    "RpcCallInfo",
    "RpcError",
    "RpcHandler",
    "RpcInterceptor",
    "RpcInvocationData",
    "SignalRequestError",
    "SipDTMF",
    "StreamError",
    "StreamOpening",
    "TextStreamHandler",
    "TextStreamInfo",
    "TextStreamReader",
    "TextStreamWriter",
    "Track",
    "TrackKind",
    "TrackPublication",
    "TrackPublishOptions",
    "TrackSource",
    "Transcription",
    "TranscriptionSegment",
    "TypedCaller",
    "UnpublishTrackError",
    "VideoBufferType",
    "VideoFrame",
    "VideoFrameEvent",
    "VideoGrants",
    "VideoRotation",
    "VideoSource",
    "VideoStream",
    "VideoTrack",
]

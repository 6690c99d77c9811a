"""Audio and video of participants.

A local track takes frames from its source, and hands them to the sinks that whoever sends them has
attached. A remote track is fed by its feed, which whoever receives it sets; its streams, in the
program, are the sinks.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol, TypeAlias

from livekit.protocol import models

from .frames import AudioFrame
from .video_frames import VideoFrame


class TrackKind(IntEnum):
    """The kind of media of a track."""

    KIND_UNKNOWN = 0
    KIND_AUDIO = 1
    KIND_VIDEO = 2


class TrackSource(IntEnum):
    """The device or program that a track comes from."""

    SOURCE_UNKNOWN = 0
    SOURCE_CAMERA = 1
    SOURCE_MICROPHONE = 2
    SOURCE_SCREENSHARE = 3
    SOURCE_SCREENSHARE_AUDIO = 4

    @classmethod
    def _missing_(cls, value: object) -> TrackSource:  # noqa: ARG003
        # A newer server may know sources that we don't.
        return cls.SOURCE_UNKNOWN


class AudioSink(Protocol):
    """A taker of audio, in any thread."""

    def put(self, frame: AudioFrame) -> None:
        """Take a frame."""
        ...

    def clear(self) -> None:
        """Drop the frames that were not played yet."""
        ...


class VideoSink(Protocol):
    """A taker of pictures, in any thread."""

    def put(self, frame: VideoFrame) -> None:
        """Take a picture."""
        ...


class AudioFeed(Protocol):
    """The origin of a local track's audio: an `AudioSource`."""

    @property
    def sample_rate(self) -> int:
        """Samples of each channel in a second."""
        ...

    @property
    def num_channels(self) -> int:
        """The number of channels."""
        ...

    @property
    def queue_size(self) -> float:
        """Seconds of audio that a sink has to hold."""
        ...

    def attach(self, sink: AudioSink) -> None:
        """Hand all further frames to a sink."""
        ...

    def detach(self, sink: AudioSink) -> None:
        """Hand no further frames to a sink."""
        ...


class VideoFeed(Protocol):
    """The origin of a local track's pictures: a `VideoSource`."""

    @property
    def width(self) -> int:
        """The width of the pictures, in pixels."""
        ...

    @property
    def height(self) -> int:
        """The height of the pictures, in pixels."""
        ...

    def attach(self, sink: VideoSink) -> None:
        """Hand all further pictures to a sink."""
        ...

    def detach(self, sink: VideoSink) -> None:
        """Hand no further pictures to a sink."""
        ...


class StreamSink(Protocol):
    """A stream of a remote track, as its receiver sees it."""

    def end(self) -> None:
        """End the stream."""
        ...


class Receiver(Protocol):
    """The receiver of a remote track, for which it has decoded frames."""

    def attach(self, sink: StreamSink) -> None:
        """Hand all further frames to a stream."""
        ...

    def detach(self, sink: StreamSink) -> None:
        """Hand no further frames to a stream."""
        ...


class Track:
    """Audio or video of one participant."""

    def __init__(self, info: models.TrackInfo) -> None:
        self._info = info

    @property
    def sid(self) -> str:
        """The id that the server gave its publication; empty while it is not published."""
        return self._info.sid

    @property
    def name(self) -> str:
        """The name that its publisher gave it."""
        return self._info.name

    @property
    def kind(self) -> TrackKind:
        """The kind of media."""
        return kind_of(self._info)

    @property
    def muted(self) -> bool:
        """Whether its publisher sends silence, or nothing."""
        return self._info.muted

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.sid}>"


class LocalTrack(Track):
    """Audio or video of ours, sent once `publish_track` has published it."""

    def __init__(self, info: models.TrackInfo) -> None:
        super().__init__(info)
        # Set while the track is published
        self._on_muted: Callable[[bool], None] | None = None

    def mute(self) -> None:
        """Send silence, or no pictures, from now on, and tell the others."""
        self._set_muted(True)

    def unmute(self) -> None:
        """Send what the source captures from now on, and tell the others."""
        self._set_muted(False)

    def _set_muted(self, muted: bool) -> None:
        if muted != self.muted:
            self._info.muted = muted
            if self._on_muted is not None:
                self._on_muted(muted)


class LocalAudioTrack(LocalTrack):
    """Audio of ours, made by `create_audio_track`."""

    def __init__(self, info: models.TrackInfo, source: AudioFeed) -> None:
        super().__init__(info)
        self._source = source

    @staticmethod
    def create_audio_track(name: str, source: AudioFeed) -> LocalAudioTrack:
        """Return a track for the audio of a source.

        Args:
            name: The name for others.
            source: The `AudioSource`.
        """
        return LocalAudioTrack(models.TrackInfo(name=name, type=models.AUDIO), source)


class LocalVideoTrack(LocalTrack):
    """Video of ours, made by `create_video_track`."""

    def __init__(self, info: models.TrackInfo, source: VideoFeed) -> None:
        super().__init__(info)
        self._source = source

    @staticmethod
    def create_video_track(name: str, source: VideoFeed) -> LocalVideoTrack:
        """Return a track for the pictures of a source.

        Args:
            name: The name for others.
            source: The `VideoSource`.
        """
        info = models.TrackInfo(
            name=name, type=models.VIDEO, width=source.width, height=source.height
        )
        return LocalVideoTrack(info, source)


class RemoteTrack(Track):
    """Audio or video of another participant, which we have subscribed to."""

    def __init__(self, info: models.TrackInfo) -> None:
        super().__init__(info)
        self._receiver: Receiver | None = None
        self._sinks: list[StreamSink] = []
        self._has_ended = False

    def _attach(self, sink: StreamSink) -> None:
        if self._has_ended:
            sink.end()
            return
        self._sinks.append(sink)
        if self._receiver is not None:
            self._receiver.attach(sink)

    def _detach(self, sink: StreamSink) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)
            if self._receiver is not None:
                self._receiver.detach(sink)

    def _receive_from(self, receiver: Receiver | None) -> None:
        """Go on with another receiver, after a rejoin, or with none for now."""
        if receiver is not self._receiver:
            for sink in self._sinks:
                if self._receiver is not None:
                    self._receiver.detach(sink)
                if receiver is not None:
                    receiver.attach(sink)
            self._receiver = receiver

    def _end(self) -> None:
        self._has_ended = True
        self._receive_from(None)
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.end()


class RemoteAudioTrack(RemoteTrack):
    """Audio of another participant; an `AudioStream` has its frames."""


class RemoteVideoTrack(RemoteTrack):
    """Video of another participant; a `VideoStream` has its frames."""


AudioTrack: TypeAlias = LocalAudioTrack | RemoteAudioTrack
VideoTrack: TypeAlias = LocalVideoTrack | RemoteVideoTrack


def kind_of(info: models.TrackInfo) -> TrackKind:
    """Return the kind of a track."""
    match info.type:
        case models.AUDIO:
            return TrackKind.KIND_AUDIO
        case models.VIDEO:
            return TrackKind.KIND_VIDEO
        case _:
            return TrackKind.KIND_UNKNOWN

"""The frames of others' tracks, which a program reads.

Frames come from the thread of the peers; the reader is woken in the program's event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from attrs import frozen

from ... import concurrency
from ...concurrency import Notifier
from ...participant import (
    AudioFrame,
    RemoteAudioTrack,
    RemoteVideoTrack,
    VideoBufferType,
    VideoFrame,
    VideoRotation,
)
from ...participant.tracks import RemoteTrack

#: The frames that wait for a slow reader, unless set otherwise.
DEFAULT_CAPACITY: Final = 100
#: The same of pictures, which are large.
DEFAULT_VIDEO_CAPACITY: Final = 5
_DEFAULT_FRAME_SIZE_MS: Final = 10

F = TypeVar("F")


class FrameStream(Generic[F]):
    """The frames of one track from now on, of which the oldest are dropped for a slow reader.

    Args:
        track: The track.
        capacity: The most frames that wait to be read.
    """

    def __init__(self, track: RemoteTrack, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"a stream can't hold {capacity} frames")
        backend = concurrency.current()
        self._checkpoint = backend.checkpoint
        self._frames: deque[F] = deque(maxlen=capacity)
        self._run_in_host: Callable[[Callable[[], object]], object] = backend.run_sync_soon()
        self._changed = Notifier(backend)
        self._is_reading = False
        self._has_ended = False
        self._track = track

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> F:
        await self._checkpoint()
        while not self._frames:
            if self._has_ended:
                raise StopAsyncIteration
            self._is_reading = True
            if self._frames:
                # It came just before the mark.
                break
            await self._changed.wait()
        return self._frames.popleft()

    async def aclose(self) -> None:
        """End the stream; a reader that waits gets the end."""
        self.close()
        await self._checkpoint()

    def close(self) -> None:
        """End the stream, as `aclose`."""
        self._track._detach(self)
        self._frames.clear()
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # For the track

    def end(self) -> None:
        """End the stream; frames that wait can still be read."""
        self._has_ended = True
        self._changed.notify()

    def _put(self, frame: F) -> None:
        """Add a frame, in the thread of the peers."""
        self._frames.append(frame)
        if self._is_reading:
            self._is_reading = False
            # The event loop may be over.
            with suppress(RuntimeError):
                self._run_in_host(self._changed.notify)


@frozen
class AudioFrameEvent:
    """A frame that was received."""

    frame: AudioFrame


class AudioStream(FrameStream[AudioFrameEvent]):
    """The audio of another participant's track from now on, as an async iterator.

        async with AudioStream(track) as stream:
            async for event in stream:
                play(event.frame)

    The stream ends with the track, and when it is closed. Over a rejoin it goes on.

    Args:
        track: The track.
        capacity: The most frames that wait to be read, before the oldest are dropped; 0 for 100.
        sample_rate: Samples of each channel in a second, into which the audio is converted.
        num_channels: 1 or 2, likewise.
        frame_size_ms: Milliseconds of a frame; 10 unless given.

    Raises:
        TypeError: `track` is not the audio of another participant.
        ValueError: one of the numbers is out of range.
    """

    def __init__(
        self,
        track: RemoteAudioTrack,
        *,
        capacity: int = 0,
        sample_rate: int = 48000,
        num_channels: int = 1,
        frame_size_ms: int | None = None,
    ) -> None:
        # The type checker believes the annotations; callers need not have one.
        if not isinstance(track, RemoteAudioTrack):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"an AudioStream is of a RemoteAudioTrack, not of {track!r}")
        if num_channels not in (1, 2):
            raise ValueError(f"audio has 1 or 2 channels, not {num_channels}")
        size = _DEFAULT_FRAME_SIZE_MS if frame_size_ms is None else frame_size_ms
        if sample_rate <= 0 or size <= 0:
            raise ValueError("sample_rate and frame_size_ms are above 0")
        super().__init__(track, capacity or DEFAULT_CAPACITY)
        self.sample_rate = sample_rate
        self.num_channels = num_channels
        self.samples_per_frame = max(sample_rate * size // 1000, 1)
        track._attach(self)

    @classmethod
    def from_track(
        cls,
        *,
        track: RemoteAudioTrack,
        capacity: int = 0,
        sample_rate: int = 48000,
        num_channels: int = 1,
        frame_size_ms: int | None = None,
    ) -> AudioStream:
        """Return a stream, as the constructor does; LiveKit's SDK has both."""
        return cls(
            track,
            capacity=capacity,
            sample_rate=sample_rate,
            num_channels=num_channels,
            frame_size_ms=frame_size_ms,
        )

    def put(self, frame: AudioFrame) -> None:
        """Take a frame, in the thread of the peers."""
        self._put(AudioFrameEvent(frame))


@frozen
class VideoFrameEvent:
    """A picture that was received.

    Attributes:
        frame: The picture.
        timestamp_us: Its time, in microseconds since the first one of the track.
        rotation: The rotation with which it is to be shown.
    """

    frame: VideoFrame
    timestamp_us: int
    rotation: VideoRotation = VideoRotation.VIDEO_ROTATION_0


class VideoStream(FrameStream[VideoFrameEvent]):
    """The pictures of another participant's track from now on, as an async iterator.

        async with VideoStream(track) as stream:
            async for event in stream:
                show(event.frame)

    The stream ends with the track, and when it is closed. Over a rejoin it goes on.

    Args:
        track: The track.
        capacity: The most pictures that wait to be read, before the oldest are dropped; 0 for 5.
        format: The format of the pixels, into which pictures are converted; I420 unless given.

    Raises:
        TypeError: `track` is not the video of another participant.
        ValueError: `capacity` is below 0.
    """

    def __init__(
        self,
        track: RemoteVideoTrack,
        *,
        capacity: int = 0,
        format: VideoBufferType | None = None,  # noqa: A002
    ) -> None:
        # The type checker believes the annotations; callers need not have one.
        if not isinstance(track, RemoteVideoTrack):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a VideoStream is of a RemoteVideoTrack, not of {track!r}")
        super().__init__(track, capacity or DEFAULT_VIDEO_CAPACITY)
        self.format = VideoBufferType.I420 if format is None else VideoBufferType(format)
        track._attach(self)

    @classmethod
    def from_track(
        cls,
        *,
        track: RemoteVideoTrack,
        format: VideoBufferType | None = None,  # noqa: A002
        capacity: int = 0,
    ) -> VideoStream:
        """Return a stream, as the constructor does; LiveKit's SDK has both."""
        return cls(track, capacity=capacity, format=format)

    def put(self, frame: VideoFrame, timestamp_us: int) -> None:
        """Take a picture, in the thread of the peers."""
        self._put(VideoFrameEvent(frame, timestamp_us))

"""The origins of our tracks' frames, which a program fills.

A source plays its queue at the speed of the clock, whether or not a track of it is published:
frames that nobody takes are gone.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from ... import concurrency
from ...participant import AudioFrame, VideoFrame, VideoRotation
from ...participant.tracks import AudioSink, VideoSink

_MIN_SAMPLE_RATE: Final = 8_000
_MAX_SAMPLE_RATE: Final = 48_000
#: Milliseconds that are queued beside the `queue_size_ms` of a source for the jitter of the clock.
_JITTER_MS: Final = 200


class AudioSource:
    """Audio that a program makes, for a `LocalAudioTrack`.

    Args:
        sample_rate: Samples of each channel in a second, from 8,000 to 48,000.
        num_channels: 1 or 2.
        queue_size_ms: Milliseconds of audio by which the program may be ahead of the clock.

    Raises:
        ValueError: one of them is outside of that.
    """

    def __init__(self, sample_rate: int, num_channels: int, queue_size_ms: int = 1000) -> None:
        if not _MIN_SAMPLE_RATE <= sample_rate <= _MAX_SAMPLE_RATE:
            raise ValueError(
                f"{sample_rate} samples in a second are not from {_MIN_SAMPLE_RATE:,} to "
                f"{_MAX_SAMPLE_RATE:,}"
            )
        if num_channels not in (1, 2):
            raise ValueError(f"audio has 1 or 2 channels, not {num_channels}")
        if queue_size_ms <= 0:
            raise ValueError(f"a queue of {queue_size_ms} ms holds nothing")
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._ahead = queue_size_ms / 1000
        self._sinks: list[AudioSink] = []
        # The time on the clock of the event loop at which everything has been played, and what is
        # still to be, each with the time of its end
        self._played_at = -math.inf
        self._queue: deque[tuple[float, AudioFrame]] = deque()
        self._is_closed = False

    @property
    def sample_rate(self) -> int:
        """Samples of each channel in a second."""
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        """The number of channels."""
        return self._num_channels

    @property
    def queue_size(self) -> float:
        """Seconds of audio that a sink has to hold."""
        return self._ahead + _JITTER_MS / 1000

    @property
    def queued_duration(self) -> float:
        """Seconds of audio that wait to be played."""
        return max(self._played_at - concurrency.current().current_time(), 0.0)

    async def capture_frame(self, frame: AudioFrame) -> None:
        """Queue a frame, once the program is not too far ahead of the clock.

        Args:
            frame: A frame, of the rate and the channels of the source.

        Raises:
            ValueError: it has another rate, or other channels.
            RuntimeError: the source is closed.
        """
        if (frame.sample_rate, frame.num_channels) != (self._sample_rate, self._num_channels):
            raise ValueError(
                f"{frame} does not fit a source of {self._sample_rate} Hz and "
                f"{self._num_channels} channels"
            )
        backend = concurrency.current()
        await backend.checkpoint()
        # A frame that is longer than the queue is taken as the only one.
        while (now := backend.current_time()) < (
            until := min(self._played_at, self._played_at + frame.duration - self._ahead)
        ):
            await backend.sleep(until - now)
        if self._is_closed:
            raise RuntimeError("the AudioSource is closed")
        self._played_at = max(self._played_at, now) + frame.duration
        self._forget_played(now)
        self._queue.append((self._played_at, frame))
        for sink in self._sinks:
            sink.put(frame)

    def _forget_played(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            self._queue.popleft()

    def clear_queue(self) -> None:
        """Drop everything that was not played yet."""
        self._played_at = -math.inf
        self._queue.clear()
        for sink in self._sinks:
            sink.clear()

    async def wait_for_playout(self) -> None:
        """Wait until everything that is queued was played, or dropped."""
        backend = concurrency.current()
        await backend.checkpoint()
        while (now := backend.current_time()) < self._played_at:
            await backend.sleep(self._played_at - now)

    async def aclose(self) -> None:
        """Close the source: its track plays silence from now on."""
        self._is_closed = True
        self.clear_queue()
        await concurrency.current().checkpoint()

    # For tracks: `AudioFeed`

    def attach(self, sink: AudioSink) -> None:
        """Hand all further frames to a sink, beginning with those that were not played yet."""
        self._forget_played(concurrency.current().current_time())
        for _, frame in self._queue:
            sink.put(frame)
        self._sinks.append(sink)

    def detach(self, sink: AudioSink) -> None:
        """Hand no further frames to a sink."""
        self._sinks.remove(sink)


class VideoSource:
    """Pictures that a program makes, for a `LocalVideoTrack`.

    Args:
        width, height: The size of its pictures in pixels, which the others are told. A picture may
            have another.
        is_screencast: Without effect.

    Raises:
        ValueError: there is no pixel.
    """

    def __init__(self, width: int, height: int, *, is_screencast: bool = False) -> None:  # noqa: ARG002
        if width <= 0 or height <= 0:
            raise ValueError(f"pictures of {width} x {height} have no pixel")
        self._width = width
        self._height = height
        self._sinks: list[VideoSink] = []
        self._last: VideoFrame | None = None
        self._is_closed = False

    @property
    def width(self) -> int:
        """The width of its pictures, in pixels."""
        return self._width

    @property
    def height(self) -> int:
        """The height of its pictures, in pixels."""
        return self._height

    def capture_frame(
        self,
        frame: VideoFrame,
        *,
        timestamp_us: int = 0,  # noqa: ARG002
        rotation: VideoRotation = VideoRotation.VIDEO_ROTATION_0,
    ) -> None:
        """Show a picture from now on; one that was not sent yet is dropped for it.

        The pixels are read when it is sent: do not write into them.

        Args:
            frame: The picture.
            timestamp_us: Without effect: a picture is shown as soon as it comes.
            rotation: The rotation, of which none is sent but 0.

        Raises:
            RuntimeError: the source is closed.
            ValueError: the picture is to be rotated.
        """
        if self._is_closed:
            raise RuntimeError("the VideoSource is closed")
        if rotation is not VideoRotation.VIDEO_ROTATION_0:
            raise ValueError("the rotation of pictures is not sent: rotate their pixels")
        self._last = frame
        for sink in self._sinks:
            sink.put(frame)

    async def aclose(self) -> None:
        """Close the source: its track shows the last picture from now on."""
        self._is_closed = True
        await concurrency.current().checkpoint()

    # For tracks: `VideoFeed`

    def attach(self, sink: VideoSink) -> None:
        """Hand the last picture to a sink, and all further ones."""
        if self._last is not None:
            sink.put(self._last)
        self._sinks.append(sink)

    def detach(self, sink: VideoSink) -> None:
        """Hand no further pictures to a sink."""
        self._sinks.remove(sink)

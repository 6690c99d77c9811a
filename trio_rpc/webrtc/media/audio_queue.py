"""The audio that waits to be sent, between the program's event loop and the thread of the peers."""

from __future__ import annotations

from collections import deque
from threading import Lock

from ...participant import AudioFrame
from ...participant.frames import SAMPLE_BYTES


class AudioQueue:
    """A queue of samples, which drops the oldest where there are too many. Thread-safe.

    Args:
        sample_rate: Samples of each channel in a second.
        num_channels: The number of channels.
        max_seconds: Seconds of audio that it holds at most.

    Attributes:
        muted: Whether silence takes the place of what is played.
    """

    def __init__(self, sample_rate: int, num_channels: int, max_seconds: float) -> None:
        self.sample_rate = sample_rate
        self.num_channels = num_channels
        self.muted = False
        self._sample_bytes = num_channels * SAMPLE_BYTES
        self._max_bytes = int(max_seconds * sample_rate) * self._sample_bytes
        self._lock = Lock()
        self._chunks: deque[memoryview] = deque()
        self._size = 0

    def put(self, frame: AudioFrame) -> None:
        """Add the samples of a frame, of the rate and channels of the queue."""
        chunk = memoryview(bytes(frame.data.cast("B")))
        chunk = chunk[: frame.samples_per_channel * self._sample_bytes]
        with self._lock:
            self._chunks.append(chunk)
            self._size += len(chunk)
            while self._size > self._max_bytes and len(self._chunks) > 1:
                self._size -= len(self._chunks.popleft())

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._chunks.clear()
            self._size = 0

    def take(self, samples: int) -> bytes:
        """Return the next samples of each channel, with silence for those that are not there."""
        wanted = samples * self._sample_bytes
        taken = bytearray()
        with self._lock:
            while self._chunks and len(taken) < wanted:
                chunk = self._chunks.popleft()
                missing = wanted - len(taken)
                taken += chunk[:missing]
                if len(chunk) > missing:
                    self._chunks.appendleft(chunk[missing:])
            self._size -= len(taken)
        return bytes(wanted) if self.muted else bytes(taken.ljust(wanted, b"\0"))

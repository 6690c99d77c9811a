"""Our tracks, as aiortc encodes them; in the thread of the peers."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import Final

from aiortc import MediaStreamTrack
from av import AudioFrame as EncodedAudioFrame

from .audio_queue import AudioQueue

#: Frames in a second: 20 ms each, as Opus is sent.
_FRAMES_A_SECOND: Final = 50
#: Seconds by which the thread may be late before time is skipped, instead of made up for.
_MAX_LATE: Final = 0.2


class OutgoingAudio(MediaStreamTrack):
    """Audio at the speed of the clock, and silence while there is none.

    Args:
        queue: The samples to send.
    """

    kind = "audio"

    def __init__(self, queue: AudioQueue) -> None:
        super().__init__()
        self._queue = queue
        self._samples = queue.sample_rate // _FRAMES_A_SECOND
        self._layout = "mono" if queue.num_channels == 1 else "stereo"
        self._next_at: float | None = None
        self._position = 0

    async def recv(self) -> EncodedAudioFrame:
        """Return the next frame, once it is time for it."""
        now = time.monotonic()
        if self._next_at is None or now > self._next_at + _MAX_LATE:
            self._next_at = now
        await asyncio.sleep(self._next_at - now)
        rate = self._queue.sample_rate
        self._next_at += self._samples / rate
        frame = EncodedAudioFrame(format="s16", layout=self._layout, samples=self._samples)
        frame.planes[0].update(self._queue.take(self._samples))
        frame.sample_rate = rate
        frame.pts = self._position
        frame.time_base = Fraction(1, rate)
        self._position += self._samples
        return frame

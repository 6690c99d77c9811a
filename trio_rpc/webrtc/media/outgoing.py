"""Our tracks, as aiortc encodes them; in the thread of the peers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import Final

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame as Sound
from av import VideoFrame as Picture

from ...participant import VideoFrame
from ...participant.pictures import picture_of
from .audio_queue import AudioQueue
from .video_slot import VideoSlot

#: Frames in a second: 20 ms each, as Opus is sent.
_FRAMES_A_SECOND: Final = 50
#: Seconds by which the thread may be late before time is skipped, instead of made up for.
_MAX_LATE: Final = 0.2
#: Seconds after which the last picture is sent again: those who come later have none yet.
_REPEAT: Final = 1.0
_VIDEO_CLOCK: Final = 90_000


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

    async def recv(self) -> Sound:
        """Return the next frame, once it is time for it.

        Raises:
            MediaStreamError: the track is not sent any more.
        """
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        if self._next_at is None or now > self._next_at + _MAX_LATE:
            self._next_at = now
        await asyncio.sleep(self._next_at - now)
        rate = self._queue.sample_rate
        self._next_at += self._samples / rate
        frame = Sound(format="s16", layout=self._layout, samples=self._samples)
        frame.planes[0].update(self._queue.take(self._samples))
        frame.sample_rate = rate
        frame.pts = self._position
        frame.time_base = Fraction(1, rate)
        self._position += self._samples
        return frame


class OutgoingVideo(MediaStreamTrack):
    """The newest picture, whenever there is one, and the last one again now and then.

    Args:
        slot: The pictures to send.
    """

    kind = "video"

    def __init__(self, slot: VideoSlot) -> None:
        super().__init__()
        self._slot = slot
        self._has_come = asyncio.Event()
        loop = asyncio.get_running_loop()
        slot.on_frame = partial(loop.call_soon_threadsafe, self._has_come.set)
        if slot.frame is not None:
            self._has_come.set()

    async def recv(self) -> Picture:
        """Return the next picture; otherwise as in `OutgoingAudio`."""
        if self.readyState != "live":
            raise MediaStreamError
        frame: VideoFrame | None = None
        while frame is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPEAT):
                    await self._has_come.wait()
            self._has_come.clear()
            frame = None if self._slot.muted else self._slot.frame
        picture = picture_of(frame.width, frame.height, frame.type, frame.data)
        picture.pts = int(time.monotonic() * _VIDEO_CLOCK)
        picture.time_base = Fraction(1, _VIDEO_CLOCK)
        return picture

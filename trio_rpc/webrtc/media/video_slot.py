"""The picture that waits to be sent, between the program and the thread of the peers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...participant import VideoFrame


class VideoSlot:
    """A place for one picture: a newer one takes the place of one that was not sent. Thread-safe.

    Attributes:
        muted: Whether nothing is sent.
        frame: The newest picture.
        on_frame: Called with each picture, in the thread of the program.
    """

    def __init__(self) -> None:
        self.muted = False
        self.frame: VideoFrame | None = None
        self.on_frame: Callable[[], object] | None = None

    def put(self, frame: VideoFrame) -> None:
        """Put the newest picture."""
        self.frame = frame
        if self.on_frame is not None:
            # The thread may have ended.
            with suppress(RuntimeError):
                self.on_frame()

    def clear(self) -> None:
        """Drop the picture."""
        self.frame = None

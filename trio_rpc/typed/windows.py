"""The back-pressure of streamed answers: a window of bytes that the caller has not taken (T8).

    caller                                        callee
    accepts "items window=65536" ───────────────►
          ◄─────────────────────────────────────── lines of items, up to 65,536 bytes
    takes half of them: a line "32800" ──────────►
          ◄─────────────────────────────────────── further lines

The confirmations travel in a text stream of their own, which is opened with the first one: a short
answer has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from .. import concurrency
from ..concurrency import Event
from ..errors import StreamError
from ..protocol.logs import peer_logger
from ..streams import StreamOpening, TextStreamWriter
from ..streams.writers import ABANDON_TIMEOUT
from .receiving import Expectation, Lines

logger = peer_logger(__name__)

#: The topic of the confirmations.
TAKEN_TOPIC: Final = "trio_rpc.taken"
#: The bytes of items that are in flight or not taken yet, at most.
DEFAULT_WINDOW: Final = 256 * 1024
_ACCEPTED: Final = re.compile(r"window=([1-9][0-9]{0,11})", re.ASCII)
#: The characters of a line with a confirmation, at most.
_MAX_CONFIRMATION: Final = 15
_TOTAL: Final = re.compile(r"[0-9]{1,15}", re.ASCII)


def window_word(size: int) -> str:
    """Return the word by which a caller announces its window in what it accepts."""
    return f"window={size}"


class SendWindow:
    """The window of a callee, which waits before it exceeds it.

    Args:
        size: The bytes that may be sent and not taken.
    """

    def __init__(self, size: float) -> None:
        self._backend = concurrency.current()
        self._size = size
        self._sent = 0
        self._taken = 0
        # Set when more was taken, where a sender waits for that
        self._changed: Event | None = None

    @classmethod
    def of(cls, accepts: Sequence[str]) -> SendWindow:
        """Return the window that a caller has announced; one without a limit if it has not."""
        for word in accepts:
            if match := _ACCEPTED.fullmatch(word):
                return cls(int(match[1]))
        return cls(math.inf)

    async def reserve(self, count: int) -> None:
        """Wait until so many bytes may be sent; one item may always be."""
        while self._sent > self._taken and self._sent - self._taken + count > self._size:
            if self._changed is None:
                self._changed = self._backend.event()
            await self._changed.wait()
        self._sent += count

    async def read(self, expectation: Expectation) -> None:
        """Read the confirmations of the caller, and return when it takes no more items."""
        await expectation.changed.wait()
        if expectation.reader is None:
            # It has left.
            return
        lines = Lines(expectation.reader, _MAX_CONFIRMATION)
        try:
            while (line := await lines.next()) is not None:
                if not _TOTAL.fullmatch(line):
                    raise StreamError("a confirmation is no number")
                self._on_taken(int(line))
        except StreamError as error:
            logger.debug("no further confirmations: %s", error)

    def _on_taken(self, total: int) -> None:
        self._taken = max(self._taken, min(total, self._sent))
        if self._changed is not None:
            self._changed.set()
            self._changed = None


class ReceiveWindow:
    """The window of a caller, which confirms what it has taken.

    Args:
        size: The window that it has announced.
        open_stream: Opens the stream of the confirmations.
        tells_end: Whether the callee is told by that stream alone that no more items are taken.
    """

    def __init__(
        self,
        size: int,
        open_stream: Callable[[], StreamOpening[TextStreamWriter]],
        *,
        tells_end: bool,
    ) -> None:
        self._size = size
        self._open_stream = open_stream
        self._tells_end = tells_end
        self._writer: TextStreamWriter | None = None
        self._taken = 0
        self._confirmed = 0

    def add(self, count: int) -> None:
        """Record that the program has taken an item of so many bytes."""
        self._taken += count

    async def confirm(self) -> None:
        """Tell the callee what was taken, if that is half of the window.

        Raises:
            StreamError: the connection was lost.
        """
        if 2 * (self._taken - self._confirmed) < self._size:
            return
        if self._writer is None:
            self._writer = await self._open_stream()
        # Before it is sent: a cancelled confirmation comes with the next one.
        self._confirmed = self._taken
        await self._writer.write(f"{self._taken}\n")

    async def aclose(self, *, early: bool) -> None:
        """End the stream of the confirmations; best effort.

        Args:
            early: Whether the call is not over for the callee.
        """
        if self._writer is None and early and self._tells_end:
            # Shielded: the block of the call is often left by a cancellation.
            with (
                suppress(StreamError, RuntimeError),
                concurrency.current().move_on_after(ABANDON_TIMEOUT, shield=True),
            ):
                self._writer = await self._open_stream()
        if self._writer is not None:
            await self._writer.__aexit__(StreamError, StreamError("no more items are taken"), None)

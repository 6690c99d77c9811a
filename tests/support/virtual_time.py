"""An asyncio event loop whose clock jumps, as trio's autojump clock does.

When nothing is ready to run, time jumps to the next timer instead of waiting for it. I/O is looked
at first, for as long as `THRESHOLD` real seconds, so that worker threads and sockets get their
turn.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Final

#: Real seconds of nothing to do after which time jumps; the same on trio.
THRESHOLD: Final = 0.0


class _JumpingSelector(selectors.DefaultSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(THRESHOLD)
        if not ready:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's selector event loop on a clock that starts at 0 and jumps."""

    def __init__(self) -> None:
        self._jumping_selector = _JumpingSelector()
        super().__init__(self._jumping_selector)

    def time(self) -> float:
        return self._jumping_selector.skipped

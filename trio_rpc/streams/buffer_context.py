"""The common part of the buffers of received streams: the budget, and turns of inflating."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from ..concurrency import Backend
from ..errors import StreamError
from ..protocol.budgets import Budget, BudgetExceededError


class BufferContext:
    """The common part of the buffers of one session.

    Args:
        max_bytes: The most bytes that one stream holds unread, and that are read as a whole (S7).

    Attributes:
        inflating: Held while a piece is inflated.
    """

    def __init__(self, backend: Backend, budget: Budget, max_bytes: int) -> None:
        self.backend = backend
        self.budget = budget
        self.max_bytes = max_bytes
        self.inflating: AbstractAsyncContextManager[None] = backend.lock()

    def charge(self, sender: str, size: int) -> None:
        """Charge a sender for `size` bytes that are held.

        Raises:
            StreamError: it would exceed a budget.
        """
        try:
            self.budget.charge(sender, size)
        except BudgetExceededError as error:
            why = str(error)
        else:
            return
        # Not in the handler above: as its context, that error would be held as long as this one.
        raise StreamError(why)

    def charge_text(self, sender: str, text: str, size: int) -> int:
        """Charge a sender for a whole text that came without a buffer.

        Args:
            size: The bytes of the text in UTF-8.

        Returns:
            The bytes charged: as a `str` the text may be up to four times as large as in UTF-8.

        Raises:
            StreamError: it is larger than a stream may be, or would exceed a budget.
        """
        if size > self.max_bytes:
            raise self.too_much()
        if not text.isascii():
            size = max(size, text.__sizeof__())
        if size:
            self.charge(sender, size)
        return size

    def too_much(self) -> StreamError:
        """Return the error of a stream over the limit."""
        return StreamError(
            f"it has more than {self.max_bytes:,} bytes that are not read, which is the limit "
            "(max_stream_bytes)"
        )

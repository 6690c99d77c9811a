"""The loss of a room, and the block of `Room.connect` that it cancels.

The block is cancelled before anything that waits in it fails. At its end:

    it was cancelled by the loss ──────────────► DisconnectedError
    it raises only errors from the loss ───────► DisconnectedError, with those as its cause
    it raises an error of its own ─────────────► that error, with a note about the loss
    it is cancelled from outside as well ──────► that cancellation
    it has ended by itself ────────────────────► nothing

An error is from the loss if it is one of ours and the loss is among its causes. Such errors occur
although the block is cancelled: in a shielded scope, for example, or when the link ends a moment
before the session.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias, get_args

from ..concurrency import Backend, leaves
from ..errors import DisconnectedError, RoomError
from ..links import LinkClosedError
from ..links.framed import CLOSE_TIMEOUT

#: The effects of a lost room on the block of `Room.connect`.
OnDisconnect: TypeAlias = Literal["raise", "continue"]


class LossGuard:
    """The guard of one block, which cancels it when its room is lost.

    Args:
        on_disconnect: `"continue"` for a block that goes on.

    Raises:
        ValueError: `on_disconnect` is neither `"raise"` nor `"continue"`.
    """

    def __init__(self, backend: Backend, on_disconnect: OnDisconnect) -> None:
        if on_disconnect not in get_args(OnDisconnect):
            raise ValueError(f"on_disconnect is 'raise' or 'continue', not {on_disconnect!r}")
        self._backend = backend
        self._raises = on_disconnect == "raise"
        self._scope = backend.cancel_scope()
        self._loss: DisconnectedError | None = None

    def on_lost(self, loss: DisconnectedError) -> None:
        """Cancel the block: the room is lost."""
        if self._raises:
            self._loss = loss
            self._scope.cancel()

    @asynccontextmanager
    async def block(self, wait_closed: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
        """Run the block.

        Args:
            wait_closed: Waits until the session is over.

        Raises:
            DisconnectedError: the room was lost, and the block did nothing else than end.
        """
        try:
            with self._scope:
                yield
        except Exception as error:
            if self._raises and await self._is_from_loss(error, wait_closed):
                raise self._error() from error
            if self._loss is not None:
                error.add_note(f"The room was lost meanwhile: {self._loss}")
            raise
        if self._scope.cancelled_caught:
            raise self._error()

    async def _is_from_loss(
        self, error: Exception, wait_closed: Callable[[], Awaitable[None]]
    ) -> bool:
        errors = [*leaves(error)]
        if any(isinstance(cause, LinkClosedError) for each in errors for cause in _causes(each)):
            # The session is about to notice, unless it is another one's link.
            with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
                await wait_closed()
        return self._loss is not None and all(map(self._is_effect, errors))

    def _is_effect(self, error: BaseException) -> bool:
        assert self._loss is not None
        return isinstance(error, RoomError) and any(
            isinstance(cause, LinkClosedError)
            or (isinstance(cause, DisconnectedError) and cause.args == self._loss.args)
            for cause in _causes(error)
        )

    def _error(self) -> DisconnectedError:
        # Another one, since the loss is the cause of other errors.
        assert self._loss is not None
        return DisconnectedError(self._loss.reason, self._loss.message)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on; each once."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__

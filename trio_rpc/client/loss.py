"""The loss of a room, and the block of `Room.connect` that it cancels.

The block is cancelled before anything that waits in it fails. At its end:

    it was cancelled by the loss ──────────────► DisconnectedError
    it raises only errors from the loss ───────► DisconnectedError, with those as its cause
    it raises an error of its own ─────────────► that error, with a note about the loss
    it is cancelled from outside as well ──────► that cancellation, or an error of its own
    it has ended by itself ────────────────────► nothing

An error is from the loss if it is one of ours and the loss is among its causes. Such errors occur
although the block is cancelled: in a shielded scope, for example, or when the link ends a moment
before the session.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias, get_args

from ..concurrency import Backend, leaves
from ..errors import DisconnectedError, RoomError
from ..links import LinkClosedError
from ..links.framed import CLOSE_TIMEOUT
from .session import Session

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
    async def block(self, session: Session) -> AsyncGenerator[None]:
        """Run the block.

        Raises:
            DisconnectedError: the room was lost, and the block had nothing else to say.
        """
        try:
            with self._scope:
                yield
        except Exception as error:
            if await self._is_from_end(error, session):
                # A cancellation from outside ends the session too, and comes first.
                await self._backend.checkpoint_if_cancelled()
                if self._loss is not None:
                    raise self._error() from error
            elif self._loss is not None:
                error.add_note(f"The room was lost meanwhile: {self._loss}")
            raise
        if self._scope.cancelled_caught:
            raise self._error()

    async def _is_from_end(self, error: Exception, session: Session) -> bool:
        """Whether an error, or all of a group, are from the end of the session."""
        errors = [*leaves(error)]
        if self._raises and any(_has_cause(each, LinkClosedError) for each in errors):
            # The session is about to notice, unless it is another one's link.
            with self._backend.move_on_after(CLOSE_TIMEOUT, shield=True):
                await session.wait_closed()
        end = session.outbound.disconnection
        return end is not None and all(_is_from(end, each) for each in errors)

    def _error(self) -> DisconnectedError:
        # Another one, since the loss is the cause of other errors.
        assert self._loss is not None
        return DisconnectedError(self._loss.reason, self._loss.message)


def _is_from(end: DisconnectedError, error: BaseException) -> bool:
    return isinstance(error, RoomError) and any(
        isinstance(cause, LinkClosedError)
        or (isinstance(cause, DisconnectedError) and cause.args == end.args)
        for cause in _causes(error)
    )


def _has_cause(error: BaseException, error_type: type[Exception]) -> bool:
    return any(isinstance(cause, error_type) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on; each once."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__

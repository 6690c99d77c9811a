"""The context of a call, for handlers that ask for it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, TypeAlias

import msgspec

from ..rpc.invocation_data import RpcInvocationData
from ..streams import StreamOpening, TextStreamWriter

#: The topic of the reports of progress (T9).
PROGRESS_TOPIC: Final = "trio_rpc.progress"
#: The kind of stream that a caller accepts who wants reports of progress.
PROGRESS: Final = "progress"

#: Opens a stream of text to the caller of an invocation, on a topic.
OpenStream: TypeAlias = Callable[[RpcInvocationData, str], StreamOpening[TextStreamWriter]]


class ProgressReport(msgspec.Struct):
    """A report of progress, as it travels: one JSON object a line."""

    progress: float
    message: str = ""


class CallContext:
    """A call that a handler answers; a parameter with this annotation takes it.

    It is no argument of the method, and in no schema.

    Attributes:
        caller_identity: The identity of the caller; the server vouches for it.
        request_id: The id of the call, unique among all calls.
        deadline: The time at which the handler is cancelled, on the event loop's clock.
    """

    def __init__(
        self, invocation: RpcInvocationData, deadline: float, open_stream: OpenStream
    ) -> None:
        self.caller_identity: Final = invocation.caller_identity
        self.request_id: Final = invocation.request_id
        self.deadline: Final = deadline
        self._invocation = invocation
        self._open_stream = open_stream
        # Opened with the first report
        self._reports: TextStreamWriter | None = None

    async def progress(self, progress: float, message: str = "") -> None:
        """Tell the caller how far the method is, if the caller wants to know (T9).

        Args:
            progress: The part that is done, from 0 to 1.
            message: A text for people.

        Raises:
            StreamError: the connection was lost.
            ValueError: `progress` is not from 0 to 1.
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is from 0 to 1, not {progress}")
        if PROGRESS not in self._invocation.accepts:
            return
        if self._reports is None:
            self._reports = await self._open_stream(self._invocation, PROGRESS_TOPIC)
        report = msgspec.json.encode(ProgressReport(progress, message)).decode()
        await self._reports.write(f"{report}\n")

    async def __aenter__(self) -> CallContext:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reports is not None:
            await self._reports.__aexit__(exc_type, exc, traceback)

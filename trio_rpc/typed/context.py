"""The context of a call, for handlers that ask for it."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Final

import msgspec

from ..errors import StreamError
from ..rpc.invocation_data import RpcInvocationData
from ..streams import TextStreamWriter
from .answer_streams import AnswerStreams

#: The topic of the reports of progress (T9).
PROGRESS_TOPIC: Final = "trio_rpc.progress"
#: The kind of stream that a caller accepts who wants reports of progress.
PROGRESS: Final = "progress"


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
        self, invocation: RpcInvocationData, deadline: float, streams: AnswerStreams
    ) -> None:
        self.caller_identity: Final = invocation.caller_identity
        self.request_id: Final = invocation.request_id
        self.deadline: Final = deadline
        self._streams = streams
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
        if PROGRESS not in self._streams.accepts:
            return
        if self._reports is None:
            self._reports = await self._streams.open(PROGRESS_TOPIC)
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
        if self._reports is None:
            return
        if not isinstance(exc, Exception):
            await self._reports.__aexit__(exc_type, exc, traceback)
            return
        # The error is for the response. LiveKit's SDK drops what was not read of a stream that
        # breaks off, so this one ends as others do.
        with suppress(StreamError):
            await self._reports.aclose()

"""The signalling of a link to one of LiveKit's servers, over one WebSocket after another (L12).

A server keeps a participant for as long as its peer connection lives. So a WebSocket that is lost
is opened again beneath the session, whose calls and data go on:

    served ──closed, or silent──► lost ──another WebSocket, `reconnect`──► served
      │                            │ └──no answer──► lost, after a while tried again
      └──`leave`──► over ◄─────────┴──`leave`, or a refusal

While it is lost, signalling that is sent is dropped: the session sends again what has no response
once it is told of the `reconnect`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

from attrs import define
from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from ...concurrency import IGNORED_TASK_STATUS, Backend, CancelScope, Nursery, TaskStatus
from ...errors import ConnectError
from ...protocol.logs import peer_logger
from ...webrtc.signal_stream import SignalStream
from ...webrtc.stream import PeerStream
from ..base import Channel, Frame, LinkClosedError, MessageStream, SignallingLostError
from ..framed import FramedLink, open_framed_link
from ..websocket import SignallingServer, join_query
from .joining import is_about_announcement, resume_request

logger = peer_logger(__name__)

#: Seconds without signalling after which the session is told.
_MOMENT: Final = 1.0
#: Seconds that opening another WebSocket may take.
_ATTEMPT_TIMEOUT: Final = 5.0
#: Seconds between attempts: a random part of the second, and at least the first.
_MIN_DELAY: Final = 0.3
_MAX_DELAY: Final = 1.0
#: The received but unread messages at which reading of the signalling stops.
_MAX_UNREAD: Final = 1_000
#: The statuses of HTTP that say nothing about us: a timeout, and too many requests.
_TEMPORARY: Final = frozenset({408, 429})


@define(eq=False)
class Membership:
    """A membership on a server, as far as another WebSocket resumes it.

    Args:
        server: The server.
        request: The request that we joined with.
        token: The access token; later, the last that the server has sent (L11).
        sid: Our SID.
    """

    server: SignallingServer
    request: rtc.JoinRequest
    token: str
    sid: str = ""

    def open_again(self) -> AbstractAsyncContextManager[MessageStream]:
        """Open another WebSocket for a block."""
        query = join_query(resume_request(self.request, self.sid))
        return self.server.open("/rtc/v1", query, self.token)


class Signalling:
    """The signalling of one link.

    Args:
        nursery: The nursery for a task for each WebSocket.
        stream: The stream that the messages for the session are put into.
        membership: The membership to resume; None where a WebSocket is the only one.
        silence_timeout: Seconds without an answer to a ping after which a WebSocket is lost.

    Attributes:
        leave: The server's `LeaveRequest`, if it has sent one.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: Nursery,
        stream: PeerStream,
        membership: Membership | None,
        silence_timeout: float,
    ) -> None:
        self._backend = backend
        self._nursery = nursery
        self._stream = stream
        self._membership = membership
        self._silence_timeout = silence_timeout
        self.leave: rtc.LeaveRequest | None = None
        # The present WebSocket, and the scope of receiving from it; None while it is lost
        self._signals: FramedLink | None = None
        self._receiving: CancelScope | None = None
        self._lost = backend.event()
        self._losses = 0
        self._is_over = False

    @property
    def is_attached(self) -> bool:
        """Whether there is a WebSocket."""
        return self._signals is not None

    def send(self, request: bytes) -> None:
        """Queue a message, or drop it while there is no WebSocket.

        Raises:
            LinkFullError: the queue is full.
        """
        if self._signals is not None:
            try:
                self._signals.send_nowait(Frame(Channel.SIGNAL, request))
            except LinkClosedError:
                # The task that receives from it gets the same error.
                return

    def ping(self, request: bytes) -> None:
        """Queue a ping, whose answer shows that the WebSocket is alive."""
        self.send(request)
        if self._receiving is not None and self._receiving.deadline == math.inf:
            self._receiving.deadline = self._backend.current_time() + self._silence_timeout

    async def wait_sent(self) -> None:
        """Wait until everything that is queued was sent, or the WebSocket is lost."""
        if self._signals is not None:
            await self._signals.wait_sent()

    def discard_queued(self) -> None:
        """Discard the queue."""
        if self._signals is not None:
            self._signals.discard_queued()

    async def wait_leave(self) -> bytes | None:
        """Return the server's request to leave, if there is one, once its peer connection is gone.

        A server closes both at once, and the message may be read a moment later.
        """
        if self.leave is None and self.is_attached:
            with self._backend.move_on_after(_MOMENT):
                await self._lost.wait()
        if self.leave is None:
            return None
        return rtc.SignalResponse(leave=self.leave).SerializeToString()

    def end(self) -> None:
        """Open no other WebSocket."""
        self._is_over = True

    async def run(self, signals: FramedLink, early_frames: list[Frame]) -> None:
        """Serve WebSockets until the membership is over.

        Args:
            signals: The first, which is attached.
            early_frames: The frames that came with the server's `JoinResponse`.
        """
        self._nursery.start_soon(self._serve, signals, early_frames)
        while True:
            await self._lost.wait()
            if self._is_over or self._stream.end_reason is not None:
                return
            if self._membership is None or not self._stream.is_open:
                self._stream.end("the WebSocket of the signalling was lost")
                return
            await self._reopen(self._membership)

    # One WebSocket

    def attach(self, signals: FramedLink) -> None:
        """Send over a WebSocket from now on."""
        self._signals = signals
        self._lost = self._backend.event()

    async def _serve(self, signals: FramedLink, frames: list[Frame]) -> None:
        with self._backend.cancel_scope() as scope:
            self._receiving = scope
            try:
                while True:
                    for frame in frames:
                        self._on_frame(frame)
                    while self._stream.unread >= _MAX_UNREAD:
                        await self._stream.wait_changed()
                    frames = await signals.receive()
                    scope.deadline = math.inf
            except LinkClosedError as error:
                logger.info("the signalling is lost: %s", error)
        self._signals = self._receiving = None
        self._losses += 1
        self._lost.set()
        if scope.cancelled_caught:
            logger.info("the signalling is lost: no answer to pings")
            signals.discard_queued()
            await signals.aclose("no answer to pings")

    def _on_frame(self, frame: Frame) -> None:
        try:
            response = rtc.SignalResponse.FromString(frame.body)
        except DecodeError:
            # The session handles malformed frames.
            self._stream.put(frame)
            return
        match response.WhichOneof("message"):
            case "offer" | "answer" | "trickle" | "media_sections_requirement":
                self._stream.describe(response)
            case "reconnect":
                self._stream.describe(response)
                self._stream.put(frame)
            case "leave":
                self._is_over = True
                self.leave = response.leave
                self._stream.put(frame)
            case "refresh_token":
                if self._membership is not None:
                    self._membership.token = response.refresh_token
                self._stream.put(frame)
            case _ if is_about_announcement(response):
                logger.debug("the server has answered our announcement")
            case _:
                self._stream.put(frame)

    # Another one

    async def _reopen(self, membership: Membership) -> None:
        self._nursery.start_soon(self._tell_loss, self._losses)
        for delay in _delays():
            await self._backend.sleep(delay)
            if self._is_over or self._stream.end_reason is not None:
                return
            with self._backend.move_on_after(_ATTEMPT_TIMEOUT):
                if await self._nursery.start(self._serve_again, membership):
                    return

    async def _tell_loss(self, loss: int) -> None:
        await self._backend.sleep(_MOMENT)
        if self._losses == loss and not self.is_attached and not self._is_over:
            self._stream.put(SignallingLostError())

    async def _serve_again(
        self, membership: Membership, *, task_status: TaskStatus = IGNORED_TASK_STATUS
    ) -> None:
        """Open another WebSocket, and serve it; reports whether to try no more."""
        is_started = False
        try:
            async with (
                membership.open_again() as websocket,
                open_framed_link(SignalStream(websocket)) as signals,
            ):
                frames = await signals.receive()
                if not _is_answer(frames[0]):
                    self._is_over = True
                    self._stream.end("the server did not resume the session")
                self.attach(signals)
                is_started = True
                task_status.started(True)
                await self._serve(signals, frames)
                return
        except ConnectError as error:
            logger.info("the signalling is still lost: %s", error)
            is_refused = error.status is not None and 400 <= error.status < 500
            if is_refused and error.status not in _TEMPORARY:
                self._is_over = True
                self._stream.end(f"the server did not resume the session: {error}")
        except LinkClosedError as error:
            logger.info("the signalling is still lost: %s", error)
        if not is_started:
            task_status.started(self._is_over)


def _is_answer(frame: Frame) -> bool:
    """Whether a message is the answer to a request to resume."""
    with suppress(DecodeError):
        response = rtc.SignalResponse.FromString(frame.body)
        return response.WhichOneof("message") in ("reconnect", "leave")
    return False


def _delays() -> Iterator[float]:
    """Yield the seconds before each attempt: none before the first."""
    yield 0.0
    while True:
        yield random.uniform(_MIN_DELAY, _MAX_DELAY)

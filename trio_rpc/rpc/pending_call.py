"""A call that waits for its outcome: its states, and its response if that comes as a stream.

    PENDING ──outcome, left──► FINISHED
       ├──gave up──► HELD_BACK ──left, timeout──► FINISHED
       └──timeout──► TIMED_OUT

Each end comes to the caller's task through a memory channel, and there is one: an event without a
transition in the table is ignored, such as a second response. A call that is cancelled keeps its
state, and is forgotten.

When the callee gives up just before the deadline of a cancel scope around the call, its 1502 is
held back: the call ends with that scope, or because one of the two leaves, or at its own deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final, TypeAlias

from attrs import define
from livekit.protocol import models

from ..concurrency import CancelScope, ReceiveChannel, SendChannel
from ..errors import RpcError, StreamError
from ..participant import Participant
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext


class CallState(IntEnum):
    """A state of a call."""

    PENDING = auto()
    HELD_BACK = auto()
    TIMED_OUT = auto()
    FINISHED = auto()


class CallEvent(IntEnum):
    """An event that changes the state of a call."""

    OUTCOME = auto()
    GAVE_UP = auto()
    LEFT = auto()
    TIMEOUT = auto()


_TRANSITIONS: Final[Mapping[CallState, Mapping[CallEvent, CallState]]] = {
    CallState.PENDING: {
        CallEvent.OUTCOME: CallState.FINISHED,
        CallEvent.GAVE_UP: CallState.HELD_BACK,
        CallEvent.LEFT: CallState.FINISHED,
        CallEvent.TIMEOUT: CallState.TIMED_OUT,
    },
    CallState.HELD_BACK: {
        CallEvent.LEFT: CallState.FINISHED,
        CallEvent.TIMEOUT: CallState.FINISHED,
    },
    CallState.TIMED_OUT: {},
    CallState.FINISHED: {},
}
_ANSWERED: Final = frozenset({CallState.HELD_BACK, CallState.FINISHED})

#: The outcome of a call; None if its `response` is a stream that the caller's task is to read.
Outcome: TypeAlias = str | RpcError | None


@define(eq=False)
class PendingCall:
    """A call, from before its request is written until its caller has the outcome.

    Attributes:
        ack_by: The deadline for an ack or an earlier response (C2), on the event loop's clock.
        respond_by: The deadline of the whole call (C1).
        wait_until: The deadline that the callee is told: `respond_by`, or an earlier deadline of a
            scope around the call (C3).
        response_timeout: The seconds until `respond_by`, as the caller gave them.
        max_round_trip_latency: Seconds in which it must be acknowledged (C2).
        ready_at: The time at which it was ready to be sent, on the event loop's clock.
        send_channel, receive_channel: The channel of the outcome, with room for one.
        payload: The payload, kept for another try.
        payload_bytes: The size of the payload in UTF-8.
        accepts: The kinds of streams that we accept besides the response (T8, T9).
        first_sid: The SID of the callee's session that it was sent to first, in part at least;
            empty before that.
        is_acknowledged: An ack has come.
        sending: The scope of a request that is being sent, if that has to wait.
        is_interrupted: Sending it was interrupted, and the rest of it is a repeat's.
        is_repeated: It was sent again, or is going to be.
        awaits_return: It waits for its callee to rejoin (L9).
        awaits_sending: It waits for the connection, or for its callee, and was not sent yet.
        response: Takes the response, if that comes as a stream.
        charged: The bytes that were charged to the callee for a response inline in a header.
    """

    callee: Participant
    method: str
    request_id: str
    ack_by: float
    respond_by: float
    wait_until: float
    response_timeout: float
    max_round_trip_latency: float
    ready_at: float
    send_channel: SendChannel[Outcome]
    receive_channel: ReceiveChannel[Outcome]
    payload: str
    payload_bytes: int
    accepts: str = ""
    first_sid: str = ""
    is_acknowledged: bool = False
    sending: CancelScope | None = None
    is_interrupted: bool = False
    is_repeated: bool = False
    awaits_return: bool = False
    awaits_sending: bool = False
    response: ResponseBody | None = None
    charged: int = 0
    _state: CallState = CallState.PENDING
    _held_back: RpcError | None = None

    @property
    def deadline(self) -> float:
        """The deadline for the next thing that the call waits for."""
        if self.is_acknowledged or self._state is CallState.HELD_BACK:
            return self.respond_by
        return self.ack_by

    @property
    def is_answered(self) -> bool:
        """Whether the callee has answered, or has left."""
        return self._state in _ANSWERED

    @property
    def is_over(self) -> bool:
        """Whether any further response is ignored."""
        return self._state is not CallState.PENDING

    def is_premature(self, error: RpcError) -> bool:
        """Whether an error only says that the callee is not back yet (L9)."""
        return self.awaits_return and error.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND

    def prepare_repeat(self) -> None:
        """Stop sending the request, and drop the part of a response that has come."""
        if self.sending is not None:
            self.is_interrupted = True
            self.sending.cancel()
        if self.response is not None:
            self.response.close()
            self.response = None

    def finish(self, outcome: Outcome, event: CallEvent = CallEvent.OUTCOME) -> None:
        """Pass the outcome to the caller's task, and end the sending of its request."""
        transitions = _TRANSITIONS[self._state]
        if event in transitions:
            self._state = transitions[event]
            self.send_channel.send_nowait(outcome)
            if self.sending is not None:
                self.sending.cancel()

    def time_out(self, error: RpcError) -> None:
        """End the call at its deadline, with an error that was held back or else `error`."""
        self.finish(self._held_back or error, CallEvent.TIMEOUT)

    def hold_back(self, error: RpcError) -> None:
        """Wait for the end of a scope around the call, which is about to be cancelled."""
        transitions = _TRANSITIONS[self._state]
        if CallEvent.GAVE_UP in transitions:
            self._state = transitions[CallEvent.GAVE_UP]
            self._held_back = error


class ResponseBody(StreamBuffer):
    """The sink of a response that comes as a stream, which finishes its call."""

    def __init__(
        self, context: BufferContext, call: PendingCall, header: models.DataStream.Header
    ) -> None:
        super().__init__(context, call.callee.identity, header)
        self._call = call

    def end(self, error: StreamError | None = None) -> None:
        super().end(error)
        if error is not None:
            self._call.finish(broken(error))
            return
        try:
            # Anything else takes a while, and is left to the caller's task.
            self._call.finish(self.take_text() if self.has_small_text else None)
        except StreamError as failure:
            self._call.finish(broken(failure))


def broken(error: StreamError) -> RpcError:
    """Return the outcome of a call whose response broke off."""
    return RpcError.built_in(
        RpcError.ErrorCode.APPLICATION_ERROR, f"the response broke off: {error}"
    )

"""A call that waits for its outcome: its states, and its response if that comes as a stream.

    SENDING ──sent──► SENT ──ack──► ACKNOWLEDGED     outcome: the response, or a write that failed
       │                                ▲            from each of these ──outcome──► FINISHED
       └──ack──► SENDING_ACKNOWLEDGED ──┘                               ──gave up──► HELD_BACK
                                                                        ──left─────► FINISHED

When the callee gives up just before the deadline of a cancel scope around the call, its 1502 is
held back: the call ends with that scope, or because one of the two leaves, and not with the error.

An event without a transition in the table is ignored, such as a second response or a late ack. A
call that times out or is cancelled keeps its state, and is forgotten. A call that is sent again
(L8) counts as sent, and keeps the ack that it may have had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final, TypeAlias

from attrs import define
from livekit.protocol import models

from ..concurrency import WOULD_BLOCK, CancelScope, ReceiveChannel, SendChannel
from ..errors import RpcError, StreamError
from ..participant import Participant
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext


class CallState(IntEnum):
    """A state of a call."""

    SENDING = auto()
    SENDING_ACKNOWLEDGED = auto()
    SENT = auto()
    ACKNOWLEDGED = auto()
    HELD_BACK = auto()
    FINISHED = auto()


class CallEvent(IntEnum):
    """An event that changes the state of a call."""

    SENT = auto()
    ACK = auto()
    OUTCOME = auto()
    GAVE_UP = auto()
    LEFT = auto()


_ENDS: Final[Mapping[CallEvent, CallState]] = {
    CallEvent.OUTCOME: CallState.FINISHED,
    CallEvent.GAVE_UP: CallState.HELD_BACK,
    CallEvent.LEFT: CallState.FINISHED,
}
_TRANSITIONS: Final[Mapping[CallState, Mapping[CallEvent, CallState]]] = {
    CallState.SENDING: {
        CallEvent.SENT: CallState.SENT,
        CallEvent.ACK: CallState.SENDING_ACKNOWLEDGED,
        **_ENDS,
    },
    CallState.SENDING_ACKNOWLEDGED: {CallEvent.SENT: CallState.ACKNOWLEDGED, **_ENDS},
    CallState.SENT: {CallEvent.ACK: CallState.ACKNOWLEDGED, **_ENDS},
    CallState.ACKNOWLEDGED: _ENDS,
    CallState.HELD_BACK: {CallEvent.LEFT: CallState.FINISHED},
    CallState.FINISHED: {},
}
#: The states in which the caller's task waits for nothing but the outcome.
_RECEIVING: Final = frozenset({CallState.SENT, CallState.ACKNOWLEDGED})
_SENDING: Final = frozenset({CallState.SENDING, CallState.SENDING_ACKNOWLEDGED})
_UNACKNOWLEDGED: Final = frozenset({CallState.SENDING, CallState.SENT})
_ANSWERED: Final = frozenset({CallState.HELD_BACK, CallState.FINISHED})

#: The outcome of a call. A large or compressed response is read by the caller's task.
Outcome: TypeAlias = "str | RpcError | ResponseBody"


@define(eq=False)
class PendingCall:
    """A call, from before its request is written until its caller has the outcome.

    Attributes:
        scope: Bounds sending the request, and the wait for the ack or an earlier response.
        wait_until: The deadline that the callee is told: `respond_by`, or an earlier deadline of a
            scope around the call.
        send_channel, receive_channel: The channel of the outcome, with room for one.
        payload: The payload, kept for another try.
        payload_bytes: The size of the payload in UTF-8.
        first_sid: The SID of the callee's session that it was sent to first, in part at least;
            empty before that.
        ready_at: The time at which it was ready to be sent, on the event loop's clock.
        is_interrupted: Sending it was interrupted, and the rest of it is a repeat's.
        is_repeated: It was sent again, or is going to be.
        awaits_return: It waits for its callee to rejoin (L9).
        response: Takes the response, if that comes as a stream.
        charged: The bytes that were charged to the callee for a response inline in a header.
        max_round_trip_latency: Seconds in which it must be acknowledged (C2).
        accepts: The kinds of streams that we accept besides the response (T8, T9).
        was_acknowledged: An ack has come.
    """

    callee: Participant
    method: str
    request_id: str
    scope: CancelScope
    respond_by: float
    wait_until: float
    send_channel: SendChannel[Outcome]
    receive_channel: ReceiveChannel[Outcome]
    payload: str = ""
    payload_bytes: int = 0
    first_sid: str = ""
    ready_at: float = 0.0
    is_interrupted: bool = False
    is_repeated: bool = False
    awaits_return: bool = False
    response: ResponseBody | None = None
    charged: int = 0
    max_round_trip_latency: float = math.inf
    accepts: str = ""
    was_acknowledged: bool = False
    _state: CallState = CallState.SENDING
    _held_back: RpcError | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether an ack has come, or an outcome that makes it unnecessary."""
        return self._state not in _UNACKNOWLEDGED

    @property
    def is_answered(self) -> bool:
        """Whether any further response is ignored."""
        return self._state in _ANSWERED

    def is_premature(self, error: RpcError) -> bool:
        """Whether an error only says that the callee is not back yet (L9)."""
        return self.awaits_return and error.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND

    def prepare_repeat(self) -> None:
        """Stop sending the request, and drop the part of a response that has come."""
        if self._state in _SENDING:
            self.is_interrupted = True
            self.change(CallEvent.SENT)
            self.scope.cancel()
        if self.response is not None:
            self.response.close()
            self.response = None

    def on_ack(self) -> None:
        """Record an ack, unless it comes too late."""
        self.was_acknowledged = True
        if self.scope.cancelled_caught and not self.is_interrupted:
            # Too late. One that comes before the caller's task has noticed still counts.
            return
        if self.change(CallEvent.ACK) and self._state is CallState.SENDING_ACKNOWLEDGED:
            # The rest of the request may take longer than the timeout for the ack.
            self.scope.deadline = self.respond_by

    def finish(self, outcome: Outcome, event: CallEvent = CallEvent.OUTCOME) -> None:
        """Pass the outcome to the caller's task."""
        is_receiving = self._state in _RECEIVING
        if self.change(event):
            self.send_channel.send_nowait(outcome)
            if not is_receiving:
                # Ends what the caller's task waits for instead: sending, or an outer scope.
                self.scope.cancel()

    def hold_back(self, error: RpcError) -> None:
        """Wait for the end of a scope around the call, which is about to be cancelled."""
        if self.change(CallEvent.GAVE_UP):
            self._held_back = error
            self.scope.deadline = self.respond_by

    def take_outcome(self) -> Outcome | None:
        """Return the outcome that has come, if one has."""
        try:
            return self.receive_channel.receive_nowait()
        except WOULD_BLOCK:
            return self._held_back

    def change(self, event: CallEvent) -> bool:
        """Change the state; return whether there is such a transition."""
        transitions = _TRANSITIONS[self._state]
        if event not in transitions:
            return False
        self._state = transitions[event]
        return True


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
            self._call.finish(self.take_text() if self.has_small_text else self)
        except StreamError as failure:
            self._call.finish(broken(failure))


def broken(error: StreamError) -> RpcError:
    """Return the outcome of a call whose response broke off."""
    return RpcError.built_in(
        RpcError.ErrorCode.APPLICATION_ERROR, f"the response broke off: {error}"
    )

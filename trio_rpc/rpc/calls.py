"""The caller's half of RPC: calls that wait for their answers.

The states of a call, and their ends:

    checked ──► pending ──ack──► acknowledged ──response──► returned, or RpcError as sent
                  │  └─response (it may overtake its ack) ──┘
                  ├─ no ack in time ─► 1501       at any time:  no response in time ─► 1502
                  └─ write fails ────► 1505                     the callee leaves ───► 1503
                                                                we leave ────────────► 1503
                                                                cancelled ───────────► forgotten

The call is pending from before its request is written until the caller has its outcome. Acks and
responses come to it through a memory channel; any that come when it is not pending, or not from the
callee, are ignored.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final, TypeAlias

from attrs import define, frozen
from livekit.protocol import models

from ..concurrency import (
    WOULD_BLOCK,
    CancelScope,
    ChannelEnds,
    Event,
    ReceiveChannel,
    SendChannel,
)
from ..errors import DisconnectedError, RpcError, StreamError
from ..links import LinkClosedError, LinkFullError
from ..links.packet_sender import PacketSender
from ..logs import peer_logger
from ..participant import Participant
from ..protocol.capabilities import speaks_rpc_v2, takes_cancellation
from ..protocol.ids import make_uuid
from ..protocol.limits import (
    MAX_METHOD_BYTES,
    MAX_PAYLOAD_BYTES,
    CallLimits,
    utf8_length,
    wire_timeout_ms,
)
from ..protocol.rpc_messages import (
    request_id_of,
    request_info,
    rpc_cancellation,
    rpc_outcome,
    rpc_request,
    set_timeout,
)
from ..protocol.stream_assembly import inline_text
from ..streams.buffer import BufferContext, StreamBuffer
from ..streams.outgoing import OutgoingStreams

logger = peer_logger(__name__)

#: Seconds, besides the round trip, by which a callee may give up before its caller's scope does.
_GAVE_UP_WITHIN: Final = 0.05
#: The channels kept for further calls: opening one is a tenth of a call.
_MAX_SPARE_CHANNELS: Final = 100
#: Seconds in which a call must be acknowledged, unless the room says otherwise (C2).
DEFAULT_MAX_ROUND_TRIP_LATENCY: Final = 7.0


@frozen
class _Acknowledged:
    """The item that the channel of a call delivers for its ack."""


_ACKNOWLEDGED: Final = _Acknowledged()


@define(eq=False)
class _PendingCall:
    """A call, from before its request is written until its caller has the outcome.

    Attributes:
        scope: Bounds the wait: by the time for the ack at first, then by `respond_by`.
        wait_until: The deadline that the callee is told: `respond_by`, or an earlier deadline of a
            scope around the call.
        sending: The request is being sent; an outcome makes that unnecessary.
        response: Takes the response, if that comes as a stream.
        charged: The bytes that were charged to the callee for a response inline in a header.
        held_back: The outcome is a 1502 that counts only if nothing else ends the call.
        drained: The outcome was taken from the channels, which stay empty.
    """

    callee: Participant
    method: str
    request_id: str
    scope: CancelScope
    respond_by: float
    wait_until: float
    send_channel: SendChannel[_Outcome | _Acknowledged]
    receive_channel: ReceiveChannel[_Outcome | _Acknowledged]
    sending: bool = True
    acknowledged: bool = False
    finished: bool = False
    held_back: bool = False
    drained: bool = False
    outcome: _Outcome | None = None
    response: _ResponseBody | None = None
    charged: int = 0

    def acknowledge(self) -> None:
        if not (self.acknowledged or self.finished or self.scope.cancel_called):
            self.acknowledged = True
            # Not left to the caller's task, which may run when the time for the ack is over.
            self.scope.deadline = self.respond_by
            self.send_channel.send_nowait(_ACKNOWLEDGED)

    def finish(self, outcome: _Outcome) -> None:
        if not self.finished:
            self.finished = True
            self.outcome = outcome
            self.send_channel.send_nowait(outcome)
            if self.sending:
                self.scope.cancel()

    def hold_back(self, outcome: RpcError) -> None:
        """Wait for the end of a scope around the call, which is about to be cancelled.

        The call ends with that, or with the session's end, and not with `outcome`.
        """
        if not self.finished:
            self.finished = self.held_back = True
            self.outcome = outcome
            self.scope.deadline = self.respond_by

    def break_off(self, reason: str, cause: DisconnectedError | None = None) -> None:
        """Finish with 1503: the callee will not answer any more."""
        if self.held_back:
            self.finished = self.held_back = False
        error = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, reason)
        error.__cause__ = cause
        self.finish(error)


class _ResponseBody(StreamBuffer):
    """The sink of a response that comes as a stream, which finishes its call."""

    def __init__(
        self, context: BufferContext, call: _PendingCall, header: models.DataStream.Header
    ) -> None:
        super().__init__(context, call.callee.identity, header)
        self._call = call

    def end(self, error: StreamError | None = None) -> None:
        super().end(error)
        if error is not None:
            self._call.finish(_broken(error))
            return
        try:
            # Anything else takes a while, and is left to the caller's task.
            self._call.finish(self.take_text() if self.has_small_text else self)
        except StreamError as failure:
            self._call.finish(_broken(failure))


#: The outcome of a call. A large or compressed response is read by the caller's task.
_Outcome: TypeAlias = "str | RpcError | _ResponseBody"


def _broken(error: StreamError) -> RpcError:
    return RpcError.built_in(
        RpcError.ErrorCode.APPLICATION_ERROR, f"the response broke off: {error}"
    )


def check_call(method: object, payload: object, response_timeout: float) -> None:
    """Validate the arguments of a call (rule C11).

    Raises:
        TypeError: `method` or `payload` is not a `str`.
        ValueError: the method's name is empty or too long, the timeout not positive, or the payload
            not Unicode.
    """
    if not isinstance(method, str):
        raise TypeError(f"the name of a method is a str, not {type(method).__name__}")
    if not isinstance(payload, str):
        raise TypeError(
            f"the payload of a call is a str, not {type(payload).__name__}: encode it, as JSON say"
        )
    if not 1 <= utf8_length(method) <= MAX_METHOD_BYTES:
        raise ValueError(
            f"the name of a method has 1 to {MAX_METHOD_BYTES} UTF-8 bytes, "
            f"not {utf8_length(method):,}"
        )
    if math.isnan(response_timeout) or response_timeout <= 0:
        raise ValueError(f"response_timeout is a number of seconds above 0, not {response_timeout}")
    utf8_length(payload)


def check_payload_size(payload: str, max_bytes: int) -> None:
    """Refuse a payload that is larger than the callee takes (rule C10).

    Raises:
        RpcError: 1402.
    """
    size = utf8_length(payload)
    if size > max_bytes:
        raise RpcError.built_in(
            RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
            f"the payload has {size:,} bytes, over the limit of {max_bytes:,}",
        )


class Calls:
    """The pending calls of one session."""

    def __init__(
        self,
        packet_sender: PacketSender,
        streams: OutgoingStreams,
        limits: CallLimits,
        context: BufferContext,
    ) -> None:
        self._backend = context.backend
        self._context = context
        self._packet_sender = packet_sender
        self._streams = streams
        self._limits = limits
        self._pending: dict[str, _PendingCall] = {}
        # Set when there is a connection again; None while there is one
        self._restored: Event | None = None
        # The empty channels of finished calls, for the next ones
        self._spare_channels: list[ChannelEnds[_Outcome | _Acknowledged]] = []

    def __len__(self) -> int:
        return len(self._pending)

    async def perform(
        self,
        callee: Participant,
        method: str,
        payload: str,
        response_timeout: float,
        *,
        wait_for_ready: bool = True,
    ) -> str:
        """Send a request and wait for its response.

        All but the size of the payload has been checked.

        Args:
            wait_for_ready: Whether to wait while the connection is lost, in place of raising 1505.

        Raises:
            RpcError: the callee's error, or 1402, 1501, 1502, 1503, 1505.
        """
        if self._restored is not None and not wait_for_ready:
            what = "the connection is lost, and not restored yet"
            raise RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
        limits = self._limits
        v2 = speaks_rpc_v2(callee)
        check_payload_size(payload, limits.max_payload_bytes if v2 else MAX_PAYLOAD_BYTES)
        started = self._backend.current_time()
        ack_by = started + limits.max_round_trip_latency
        respond_by = started + response_timeout
        # Inside a handler, or any other cancel scope, there may be less time than that.
        wait_until = min(respond_by, self._backend.current_effective_deadline())
        # Room for an ack and a response, which is all that a call is ever sent.
        channels = (
            self._spare_channels.pop() if self._spare_channels else self._backend.open_queue(2)
        )
        scope = self._backend.cancel_scope(deadline=min(ack_by, respond_by))
        call = _PendingCall(callee, method, make_uuid(), scope, respond_by, wait_until, *channels)
        self._pending[call.request_id] = call
        outcome: _Outcome | None = None
        try:
            with scope:
                try:
                    outcome = await self._exchange(call, payload)
                finally:
                    self._forget(call)
            if scope.cancelled_caught:
                outcome = call.outcome
            if isinstance(outcome, _ResponseBody):
                outcome = await self._read(outcome, respond_by)
        finally:
            if call.response is not None:
                # Anything that comes for it from here on is ignored.
                call.response.close()
            if call.charged:
                self._context.budget.refund(callee.identity, call.charged)
        if outcome is None:
            outcome = self._timed_out(call, response_timeout)
        if isinstance(outcome, RpcError):
            if outcome.__cause__ is not None:
                # The session has ended. A cancellation comes first: it may have ended the session.
                await self._backend.checkpoint_if_cancelled()
            raise outcome
        return outcome

    async def _read(self, body: _ResponseBody, respond_by: float) -> str | RpcError | None:
        with self._backend.cancel_scope(deadline=respond_by):
            try:
                return await body.read_text()
            except StreamError as error:
                return _broken(error)
        return None

    async def _exchange(self, call: _PendingCall, payload: str) -> _Outcome:
        """Send the request and wait for its outcome."""
        receive = call.receive_channel.receive
        try:
            if self._restored is not None:
                call.scope.deadline = call.respond_by
                await self._restored.wait()
            if speaks_rpc_v2(call.callee):
                await self._send_stream(call, payload)
            else:
                await self._send_packet(call, payload)
            call.sending = False
            if len(self._pending) == 1:
                # No other call is about to send a request that could leave together with this one.
                self._packet_sender.flush_nowait()
            received: _Outcome | _Acknowledged = await receive()
            while isinstance(received, _Acknowledged):
                try:
                    # The response has mostly come with its ack.
                    received = call.receive_channel.receive_nowait()
                except WOULD_BLOCK:
                    received = await receive()
            call.drained = True
            outcome = received
        except (LinkClosedError, StreamError) as error:
            # Unless we left while the request waited for room: that is 1503, and comes first.
            what = f"the request to {call.callee.identity!r} was not sent: {error}"
            failure = RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
            failure.__cause__ = error
            call.finish(failure)
            assert call.outcome is not None
            return call.outcome
        return outcome

    def _forget(self, call: _PendingCall) -> None:
        del self._pending[call.request_id]
        if call.drained and len(self._spare_channels) < _MAX_SPARE_CHANNELS:
            self._spare_channels.append((call.send_channel, call.receive_channel))
        if not call.finished and takes_cancellation(call.callee):
            # Cancels the handler, if the callee supports that; best effort.
            with suppress(LinkFullError, LinkClosedError):
                self._packet_sender.send_nowait(
                    rpc_cancellation(call.callee.identity, call.request_id)
                )
        call.finished = True

    def on_connection_lost(self) -> None:
        """Suspend the timeouts for acks while there is no connection (C2)."""
        self._restored = self._backend.event()
        for call in self._pending.values():
            if not call.acknowledged:
                call.scope.deadline = call.respond_by

    def on_connection_restored(self) -> None:
        """Restart the timeouts for acks."""
        assert self._restored is not None
        self._restored.set()
        self._restored = None
        ack_by = self._backend.current_time() + self._limits.max_round_trip_latency
        for call in self._pending.values():
            if not (call.acknowledged or call.held_back):
                call.scope.deadline = min(ack_by, call.respond_by)

    def on_ack(self, sender: str, request_id: str) -> None:
        """Record an ack."""
        if call := self._find(sender, request_id, "ack"):
            call.acknowledge()

    def on_response(self, sender: str, response: models.RpcResponse) -> None:
        """Finish a call with its response."""
        if call := self._find(sender, response.request_id, "response"):
            outcome = rpc_outcome(response)
            if outcome is None:
                logger.debug("ignored a response of %s that says nothing", sender)
            elif isinstance(outcome, RpcError) and self._gave_up_first(call, outcome):
                call.hold_back(outcome)
            else:
                call.finish(outcome)

    def open_response_stream(
        self, sender: str, header: models.DataStream.Header
    ) -> StreamBuffer | None:
        """Return the sink for a response that comes as a stream; None if no call waits for it.

        A call has one response: a second stream for it is ignored.
        """
        call = self._find(sender, request_id_of(header.attributes), "response stream")
        if call is None:
            return None
        if call.response is not None:
            logger.debug("ignored a second response stream of %s", sender)
            return None
        call.response = _ResponseBody(self._context, call, header)
        return call.response

    def on_inline_response(self, sender: str, header: models.DataStream.Header) -> None:
        """Finish a call with a response that is inline in the header of its stream."""
        call = self._find(sender, request_id_of(header.attributes), "response stream")
        if call is not None and call.response is None and not call.finished:
            try:
                text = inline_text(header)
                call.charged = self._context.charge_text(sender, text, len(header.inline_content))
                call.finish(text)
            except StreamError as error:
                call.finish(_broken(error))

    def fail(self, reason: str, destination: str) -> None:
        """Fail the calls to `destination`, which will not answer any more, with 1503."""
        for call in self._pending.values():
            if call.callee.identity == destination:
                call.break_off(reason)

    def end(self, reason: str, cause: DisconnectedError | None = None) -> None:
        """Fail all calls with 1503: the session is over.

        Args:
            reason: The data of the errors.
            cause: Their `__cause__`.
        """
        for call in self._pending.values():
            call.break_off(reason, cause)

    def _find(self, sender: str, request_id: str, what: str) -> _PendingCall | None:
        call = self._pending.get(request_id)
        if call is None:
            logger.debug("ignored a late or unknown %s of %s to %s", what, sender, request_id)
        elif call.callee.identity != sender:
            logger.debug("ignored %s's %s to a call of %s", sender, what, call.callee.identity)
        else:
            return call
        return None

    def _gave_up_first(self, call: _PendingCall, outcome: RpcError) -> bool:
        """Whether a callee gave up just before the deadline of a scope around the call."""
        if (
            outcome.code != RpcError.ErrorCode.RESPONSE_TIMEOUT
            or call.wait_until == call.respond_by
        ):
            return False
        remaining = call.wait_until - self._backend.current_time()
        return remaining <= self._packet_sender.round_trip + _GAVE_UP_WITHIN

    async def _send_packet(self, call: _PendingCall, payload: str) -> None:
        def refresh(packet: models.DataPacket) -> None:
            packet.rpc_request.response_timeout_ms = self._timeout_ms(call)

        timeout_ms = self._timeout_ms(call)
        request = rpc_request(
            call.callee.identity, call.request_id, call.method, payload, timeout_ms
        )
        await self._packet_sender.send(request, refresh)

    async def _send_stream(self, call: _PendingCall, payload: str) -> None:
        def refresh(packet: models.DataPacket) -> None:
            set_timeout(packet.stream_header, self._timeout_ms(call))

        content = payload.encode()
        info = request_info(call.request_id, call.method, self._timeout_ms(call), len(content))
        await self._streams.send_whole(
            info, content, [call.callee.identity], refresh=refresh, abandon_timeout=0
        )

    def _timeout_ms(self, call: _PendingCall) -> int:
        remaining = call.wait_until - self._backend.current_time()
        return wire_timeout_ms(remaining, self._packet_sender.round_trip)

    def _timed_out(self, call: _PendingCall, response_timeout: float) -> RpcError:
        latency = self._limits.max_round_trip_latency
        method = call.method
        if call.acknowledged:
            code = RpcError.ErrorCode.RESPONSE_TIMEOUT
            what = f"acknowledged {method!r} but did not answer it within {response_timeout:g} s"
        elif call.scope.deadline >= call.respond_by:
            code = RpcError.ErrorCode.RESPONSE_TIMEOUT
            what = f"neither acknowledged nor answered {method!r} within {response_timeout:g} s"
        else:
            code = RpcError.ErrorCode.CONNECTION_TIMEOUT
            what = f"did not acknowledge {method!r} within {latency:g} s"
        return RpcError.built_in(code, f"{call.callee.identity!r} {what}")

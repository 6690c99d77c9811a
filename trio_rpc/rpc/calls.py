"""The caller's half of RPC: calls that wait for their answers.

The states of a call, and their ends:

    checked ──► pending ──ack──► acknowledged ──response──► returned, or RpcError as sent
                  │  └─response (it may overtake its ack) ──┘
                  ├─ no ack in time ─► 1501       at any time:  no response in time ─► 1502
                  └─ write fails ────► 1505                     the callee leaves ───► 1503
                                                                we leave ────────────► 1503
                                                                cancelled ───────────► forgotten

The call is pending from before its request is written until the caller has its outcome, which comes
to it through a memory channel. Acks and responses that come when it is not pending, or not from the
callee, are ignored. `pending_call` has the states of a call in a table, `call_timeouts` ends those
that are not answered in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from livekit.protocol import models

from ..concurrency import ChannelEnds, Event
from ..errors import DisconnectedError, RpcError, StreamError
from ..links import LinkClosedError
from ..links.packet_sender import PacketSender
from ..participant import Participant
from ..protocol.ids import make_uuid
from ..protocol.limits import MAX_PAYLOAD_BYTES, CallLimits
from ..protocol.logs import peer_logger
from ..protocol.rpc_messages import request_id_of, rpc_error
from ..protocol.stream_assembly import inline_text
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext
from ..streams.outgoing import OutgoingStreams
from .call_arguments import too_large
from .call_errors import disconnected, not_back, not_found, not_sent, unanswered
from .call_timeouts import CallTimeouts
from .handler_context import IN_HANDLER
from .pending_call import CallEvent, Outcome, PendingCall, ResponseBody, broken
from .repeats import Repeats
from .request_sender import RequestSender

logger = peer_logger(__name__)

#: Seconds, besides the round trip, by which a callee may give up before its caller's scope does.
_GAVE_UP_WITHIN: Final = 0.05
#: The most channels that are kept for further calls.
_MAX_SPARE_CHANNELS: Final = 1_000
#: Seconds in which a call must be acknowledged, unless the room says otherwise (C2).
DEFAULT_MAX_ROUND_TRIP_LATENCY: Final = 7.0


class Calls:
    """The pending calls of one session.

    Args:
        participants: The other participants in the room, by identity.
        is_announced: Whether callees know what we announce, so that small calls may go as packets
            (N4).

    Attributes:
        requests: Sends the requests.
        repeats: The calls that are to be sent again after a rejoin.
    """

    def __init__(
        self,
        packet_sender: PacketSender,
        streams: OutgoingStreams,
        limits: CallLimits,
        context: BufferContext,
        participants: Mapping[str, Participant],
        *,
        is_announced: bool,
    ) -> None:
        self._backend = context.backend
        self._context = context
        self.requests = RequestSender(self._backend, packet_sender, streams, is_announced)
        self._limits = limits
        self._participants = participants
        self._pending: dict[str, PendingCall] = {}
        self.repeats = Repeats(
            self._backend, self.requests, participants, self._pending, self._restart_clock
        )
        self._timeouts = CallTimeouts(self._backend, self._pending, self._time_out)
        # Those of calls that have had their outcomes: opening one costs more than receiving from it
        self._channels: deque[ChannelEnds[Outcome]] = deque(maxlen=_MAX_SPARE_CHANNELS)
        # Set when there is a connection again; None while there is one
        self._restored: Event | None = None

    def __len__(self) -> int:
        return len(self._pending)

    async def run_timeouts(self) -> None:
        """End the calls that are not answered in time, until `end`, also when cancelled."""
        await self._timeouts.run()

    async def perform(
        self,
        callee: Participant,
        method: str,
        payload: str,
        payload_bytes: int,
        response_timeout: float,
        wait_for_ready: bool = True,
        max_round_trip_latency: float | None = None,
        request_id: str | None = None,
        accepts: str = "",
    ) -> str:
        """Send a request and wait for its response.

        All but the size of the payload has been checked.

        Args:
            payload_bytes: The size of the payload in UTF-8.
            wait_for_ready: Whether to wait while the connection is lost, in place of raising 1505.
            max_round_trip_latency: Seconds in which the callee must acknowledge it, if not the
                room's (C2).
            request_id: The id of the request; a random one unless given.
            accepts: The kinds of streams that we accept besides the response (T8, T9).

        Raises:
            RpcError: the callee's error, or 1402, 1501, 1502, 1503, 1505.
            ValueError: another call in flight has the id.
        """
        if self._restored is not None and not wait_for_ready:
            what = "the connection is lost, and not restored yet"
            raise RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, what)
        v2 = callee._abilities.speaks_rpc_v2
        max_bytes = self._limits.max_payload_bytes if v2 else MAX_PAYLOAD_BYTES
        if payload_bytes > max_bytes:
            raise too_large(payload_bytes, max_bytes)
        if request_id in self._pending:
            raise ValueError(f"a call with the request_id {request_id!r} is in flight")
        if max_round_trip_latency is None:
            max_round_trip_latency = self._limits.max_round_trip_latency
        channel: ChannelEnds[Outcome] = (
            self._channels.pop() if self._channels else self._backend.open_memory_channel(1)
        )
        started = self._backend.current_time()
        respond_by = started + response_timeout
        call = PendingCall(
            callee,
            method,
            request_id or make_uuid(),
            min(started + max_round_trip_latency, respond_by),
            respond_by,
            self._told_deadline(callee, respond_by),
            response_timeout,
            max_round_trip_latency,
            started,
            *channel,
            payload,
            payload_bytes,
            accepts,
        )
        self._pending[call.request_id] = call
        try:
            self._timeouts.watch(call)
            must_wait = self._restored is not None or bool(self.repeats.returning.expected)
            if must_wait or not self.requests.send_nowait(call):
                await self._send(call, must_wait=must_wait)
            if len(self._pending) == 1:
                # No other call is about to send a request that could leave together with this one.
                self.requests.flush_nowait()
            outcome = await call.receive_channel.receive()
            # The only one: nothing else is sent into the channel, and another call may have it.
            self._channels.append(channel)
            if outcome is None:
                outcome = await self._read(call)
        finally:
            self._forget(call)
        if isinstance(outcome, RpcError):
            outcome._acknowledged = call.is_acknowledged
            if outcome.__cause__ is not None:
                # The session has ended. A cancellation comes first: it may have ended the session.
                await self._backend.checkpoint_if_cancelled()
            raise outcome
        return outcome

    def _told_deadline(self, callee: Participant, respond_by: float) -> float:
        """Return the deadline that a callee is told, which it passes on to its handler (C3).

        In a cancel scope there may be less time than the call has. Elsewhere than in a handler, it
        is enough that the callee is told when that scope is cancelled: to look for scopes is slow.
        """
        if callee._abilities.takes_cancellation and not IN_HANDLER.get():
            return respond_by
        return min(respond_by, self._backend.current_effective_deadline())

    async def _send(self, call: PendingCall, *, must_wait: bool) -> None:
        """Send a request that may have to wait, until the call ends.

        Args:
            must_wait: Whether it waits for the connection or for its callee.
        """
        with self._backend.cancel_scope() as call.sending:
            if not must_wait or await self._is_ready(call):
                try:
                    await self.requests.send(call)
                except (LinkClosedError, StreamError) as error:
                    if not call.is_interrupted:
                        # Unless we left while it waited for room: that is 1503, and comes first.
                        call.finish(not_sent(call, error))
        call.sending = None

    async def _is_ready(self, call: PendingCall) -> bool:
        """Wait for the connection, and for a callee that is expected back (L9).

        Returns:
            Whether the request can be sent; otherwise the call has an outcome.
        """
        call.awaits_sending = True
        self._restart_clock(call)
        identity = call.callee.identity
        while (callee := self._participants.get(identity)) is None or self._restored is not None:
            if self._restored is not None:
                await self._restored.wait()
            elif identity in self.repeats.returning.expected:
                await self.repeats.returning.wait(identity)
            else:
                call.finish(not_found(identity))
                return False
        call.callee = callee
        call.wait_until = self._told_deadline(callee, call.respond_by)
        call.ready_at = self._backend.current_time()
        call.awaits_sending = False
        self._restart_clock(call)
        return True

    async def _read(self, call: PendingCall) -> str | RpcError:
        """Read a response that is large or compressed."""
        assert call.response is not None
        # An ack may have been lost.
        call.is_acknowledged = True
        with self._backend.cancel_scope(deadline=call.respond_by):
            try:
                return await call.response.read_text()
            except StreamError as error:
                return broken(error)
        return self._timed_out(call)

    def _forget(self, call: PendingCall) -> None:
        del self._pending[call.request_id]
        if call.is_repeated:
            self.repeats.discard(call)
        if not call.is_answered and call.callee._abilities.takes_cancellation:
            self.requests.cancel(call)
        if call.response is not None:
            # Anything that comes for it from here on is ignored.
            call.response.close()
        if call.charged:
            self._context.budget.refund(call.callee.identity, call.charged)

    def on_connection_lost(self) -> None:
        """Suspend the timeouts for acks while there is no connection (C2)."""
        self._restored = self._backend.event()
        for call in self._pending.values():
            self._restart_clock(call)

    def on_connection_restored(self) -> None:
        """Restart the timeouts for acks."""
        assert self._restored is not None
        self._restored.set()
        self._restored = None
        for call in self._pending.values():
            self._restart_clock(call)

    def _restart_clock(self, call: PendingCall) -> None:
        """Restart the timeout for the ack of a call, or suspend it (C2)."""
        if self._restored is not None or call.awaits_return or call.awaits_sending:
            call.ack_by = call.respond_by
        elif not call.is_acknowledged:
            ack_by = self._backend.current_time() + call.max_round_trip_latency
            call.ack_by = min(ack_by, call.respond_by)
            self._timeouts.watch(call)

    def on_ack(self, sender: str, request_id: str) -> None:
        """Record an ack."""
        call = self._pending.get(request_id)
        if call is None or call.callee.identity != sender:
            _log_ignored(call, "ack", sender, request_id)
        else:
            call.is_acknowledged = True

    def on_response(self, sender: str, response: models.RpcResponse) -> None:
        """Finish a call with its response."""
        call = self._pending.get(response.request_id)
        if call is None or call.callee.identity != sender:
            _log_ignored(call, "response", sender, response.request_id)
        elif response.HasField("payload"):
            call.finish(response.payload)
        elif response.HasField("error"):
            self._on_error(call, rpc_error(response.error))
        else:
            logger.debug("ignored a response of %s that says nothing", sender)

    def _on_error(self, call: PendingCall, error: RpcError) -> None:
        if call.is_premature(error):
            logger.debug("ignored a 1401 for a call that waits for %s", call.callee.identity)
        elif self._gave_up_first(call, error):
            call.hold_back(error)
        else:
            call.finish(error)

    def open_response_stream(
        self, sender: str, header: models.DataStream.Header
    ) -> StreamBuffer | None:
        """Return the sink for a response that comes as a stream; None if no call waits for it.

        A call has one response: a second stream for it is ignored.
        """
        call = self._find(sender, request_id_of(header.attributes), "response stream")
        if call is None:
            return None
        if call.response is not None or call.is_over:
            logger.debug("ignored a second response stream of %s", sender)
            return None
        call.response = ResponseBody(self._context, call, header)
        return call.response

    def on_inline_response(self, sender: str, header: models.DataStream.Header) -> None:
        """Finish a call with a response that is inline in the header of its stream."""
        call = self._find(sender, request_id_of(header.attributes), "response stream")
        if call is not None and call.response is None and not call.is_over:
            try:
                text = inline_text(header)
                call.charged = self._context.charge_text(sender, text, len(header.inline_content))
                call.finish(text)
            except StreamError as error:
                call.finish(broken(error))

    def fail(self, reason: str, destination: str) -> None:
        """Fail the calls to `destination`, which will not answer any more, with 1503."""
        for call in self._pending.values():
            if call.callee.identity == destination:
                call.finish(disconnected(reason), CallEvent.LEFT)

    def end(self, reason: str, cause: DisconnectedError | None = None) -> None:
        """Fail all calls with 1503: the session is over.

        Args:
            reason: The data of the errors.
            cause: Their `__cause__`.
        """
        self._timeouts.stop()
        for call in self._pending.values():
            error = disconnected(reason)
            error.__cause__ = cause
            call.finish(error, CallEvent.LEFT)

    def _find(self, sender: str, request_id: str, what: str) -> PendingCall | None:
        call = self._pending.get(request_id)
        if call is None or call.callee.identity != sender:
            _log_ignored(call, what, sender, request_id)
            return None
        return call

    def _gave_up_first(self, call: PendingCall, outcome: RpcError) -> bool:
        """Whether a callee gave up just before the deadline of a scope around the call."""
        if (
            outcome.code != RpcError.ErrorCode.RESPONSE_TIMEOUT
            or call.wait_until == call.respond_by
        ):
            return False
        remaining = call.wait_until - self._backend.current_time()
        return remaining <= self.requests.round_trip + _GAVE_UP_WITHIN

    def _time_out(self, call: PendingCall) -> None:
        try:
            error = self._timed_out(call)
        except Exception:
            # A failure of ours: it concerns this call alone (B3).
            logger.exception("telling why a call was not answered failed")
            error = RpcError.built_in(RpcError.ErrorCode.RESPONSE_TIMEOUT)
        call.time_out(error)

    def _timed_out(self, call: PendingCall) -> RpcError:
        if call.awaits_return:
            return not_back(call)
        if not call.first_sid and call.callee.identity in self.repeats.returning.expected:
            return not_found(call.callee.identity)
        return unanswered(call)


def _log_ignored(call: PendingCall | None, what: str, sender: str, request_id: str) -> None:
    if call is None:
        logger.debug("ignored a late or unknown %s of %s to %s", what, sender, request_id)
    else:
        logger.debug("ignored %s's %s to a call of %s", sender, what, call.callee.identity)

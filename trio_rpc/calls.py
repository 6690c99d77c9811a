"""The caller's half of RPC: calls that wait for their answers.

A call's life, and what ends it:

    checked ──► pending ──ack──► acknowledged ──response──► returned, or RpcError as sent
                  │  └─response (it may overtake its ack) ──┘
                  ├─ no ack in time ─► 1501       at any time:  no response in time ─► 1502
                  └─ write fails ────► 1505                     the callee leaves ───► 1503
                                                                we leave ────────────► 1503
                                                                cancelled ───────────► forgotten

The call is pending from before its request is written until the caller has its outcome. Acks and
responses come to it through a memory channel; whatever comes when it is not pending, or from
somebody else than the callee, is ignored.
"""

from __future__ import annotations

import logging
import math
from typing import Final, Protocol
from uuid import uuid4

from attrs import define, frozen
from livekit.protocol import models

from .concurrency import Backend, CancelScope, SendChannel
from .errors import RpcError
from .limits import MAX_METHOD_BYTES, MAX_PAYLOAD_BYTES, utf8_length, wire_timeout_ms
from .links import LinkClosedError, LinkFullError
from .packets import rpc_outcome, rpc_request

logger = logging.getLogger(__name__)

#: Seconds that a call may take, unless its caller says otherwise (C1).
DEFAULT_RESPONSE_TIMEOUT: Final = 10.0
#: Seconds in which a call must be acknowledged, unless the room says otherwise (C2).
DEFAULT_MAX_ROUND_TRIP_LATENCY: Final = 7.0


class Outlet(Protocol):
    """Where packets leave for the room."""

    @property
    def round_trip(self) -> float:
        """Seconds to the server and back, as last measured; 0 before that."""
        ...

    def send_nowait(self, packet: models.DataPacket) -> None:
        """Number a reliable packet and queue it, or raise `LinkFullError`, `LinkClosedError`."""
        ...

    async def wait_writable(self) -> None:
        """Wait until it is worth trying again after a `LinkFullError`."""
        ...


@frozen
class _Acknowledged:
    """What the channel of a call delivers for its ack."""


_ACKNOWLEDGED: Final = _Acknowledged()


@define(eq=False)
class _PendingCall:
    destination: str
    channel: SendChannel
    scope: CancelScope
    respond_by: float
    acknowledged: bool = False
    finished: bool = False

    def acknowledge(self) -> None:
        if not self.acknowledged and not self.scope.cancel_called:
            self.acknowledged = True
            # Not left to the caller's task, which may run when the time for the ack is over.
            self.scope.deadline = self.respond_by
            self.channel.send_nowait(_ACKNOWLEDGED)

    def finish(self, outcome: str | RpcError) -> None:
        if not self.finished:
            self.finished = True
            self.channel.send_nowait(outcome)


def check_call(method: object, payload: object, response_timeout: float) -> None:
    """Refuse a call that nobody could mean (rules C10 and C11).

    Raises:
        TypeError: `method` or `payload` is no text.
        ValueError: the method's name is empty or too long, the timeout not positive, or the payload
            not Unicode.
        RpcError: 1402, the payload is too large.
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
    size = utf8_length(payload)
    if size > MAX_PAYLOAD_BYTES:
        raise RpcError.built_in(
            RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
            f"the payload has {size:,} bytes, over the limit of {MAX_PAYLOAD_BYTES:,}",
        )


class Calls:
    """The calls of one stay in a room that wait for an answer."""

    def __init__(self, backend: Backend, outlet: Outlet, max_round_trip_latency: float) -> None:
        self._backend = backend
        self._outlet = outlet
        self._max_round_trip_latency = max_round_trip_latency
        self._pending: dict[str, _PendingCall] = {}

    def __len__(self) -> int:
        return len(self._pending)

    async def perform(
        self, destination: str, method: str, payload: str, response_timeout: float
    ) -> str:
        """Send a request and wait for its response.

        The arguments have been checked, and `destination` is in the room.

        Raises:
            RpcError: as the callee sent it, or 1501, 1502, 1503, 1505.
        """
        started = self._backend.current_time()
        ack_by = started + self._max_round_trip_latency
        respond_by = started + response_timeout
        request_id = str(uuid4())
        # Room for an ack and a response, which is all that a call is ever sent.
        send_channel, receive_channel = self._backend.open_memory_channel(2)
        outcome: str | RpcError | _Acknowledged
        with self._backend.cancel_scope(deadline=min(ack_by, respond_by)) as scope:
            call = _PendingCall(destination, send_channel, scope, respond_by)
            self._pending[request_id] = call
            try:
                await self._send_request(destination, request_id, method, payload, respond_by)
                outcome = await receive_channel.receive()
                if outcome is _ACKNOWLEDGED:
                    outcome = await receive_channel.receive()
            except LinkClosedError as error:
                # Unless we left while the request waited for room: that is 1503, and comes first.
                call.finish(RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, str(error)))
                outcome = receive_channel.receive_nowait()
            finally:
                del self._pending[request_id]
                send_channel.close()
                receive_channel.close()
        if scope.cancelled_caught:
            outcome = self._timed_out(call, method, response_timeout)
        if isinstance(outcome, RpcError):
            raise outcome
        assert isinstance(outcome, str)
        return outcome

    def on_ack(self, sender: str, request_id: str) -> None:
        """An ack has come."""
        if call := self._find(sender, request_id, "ack"):
            call.acknowledge()

    def on_response(self, sender: str, response: models.RpcResponse) -> None:
        """A response has come."""
        if call := self._find(sender, response.request_id, "response"):
            outcome = rpc_outcome(response)
            if outcome is None:
                logger.debug("ignored a response of %s that says nothing", sender)
            else:
                call.finish(outcome)

    def fail(self, reason: str, destination: str | None = None) -> None:
        """Nobody will answer any more: 1503 for the calls to `destination`, or for all."""
        for call in self._pending.values():
            if destination is None or call.destination == destination:
                call.finish(RpcError.built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, reason))

    def _find(self, sender: str, request_id: str, what: str) -> _PendingCall | None:
        call = self._pending.get(request_id)
        if call is None:
            logger.debug("ignored a late or unknown %s of %s to %s", what, sender, request_id)
        elif call.destination != sender:
            logger.debug("ignored %s's %s to a call of %s", sender, what, call.destination)
        else:
            return call
        return None

    async def _send_request(
        self, destination: str, request_id: str, method: str, payload: str, respond_by: float
    ) -> None:
        while True:
            remaining = respond_by - self._backend.current_time()
            timeout_ms = wire_timeout_ms(remaining, self._outlet.round_trip)
            request = rpc_request(destination, request_id, method, payload, timeout_ms)
            try:
                return self._outlet.send_nowait(request)
            except LinkFullError:
                await self._outlet.wait_writable()

    def _timed_out(self, call: _PendingCall, method: str, response_timeout: float) -> RpcError:
        latency = self._max_round_trip_latency
        if call.acknowledged:
            code = RpcError.ErrorCode.RESPONSE_TIMEOUT
            what = f"acknowledged {method!r} but did not answer it within {response_timeout:g} s"
        elif response_timeout <= latency:
            code = RpcError.ErrorCode.RESPONSE_TIMEOUT
            what = f"neither acknowledged nor answered {method!r} within {response_timeout:g} s"
        else:
            code = RpcError.ErrorCode.CONNECTION_TIMEOUT
            what = f"did not acknowledge {method!r} within {latency:g} s"
        return RpcError.built_in(code, f"{call.destination!r} {what}")

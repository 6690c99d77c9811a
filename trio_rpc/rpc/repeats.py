"""Sending calls again, in another session of the caller or of the callee (rule L8).

A call that is sent again has the same request id, and names the SID of the callee's session that it
was sent to first. So a callee that has seen it answers without running a handler again, and one
that has another process by now runs none.

One task sends all of them, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import define, field

from ..concurrency import Backend, CancelScope, Nursery
from ..errors import StreamError
from ..participant import Participant
from ..protocol.logs import peer_logger
from ..protocol.rpc_messages import may_have_run
from .call_errors import not_back
from .pending_call import CallEvent, PendingCall
from .request_sender import RequestSender
from .returning import Returning

logger = peer_logger(__name__)


@define(eq=False)
class Repeats:
    """The calls that are to be sent again.

    Args:
        participants: The other participants in the room, by identity.
        pending: The calls that wait for an answer, by id.
        restart_clock: Restarts the timeout for the ack of a call.

    Attributes:
        returning: The participants that are expected back (L9).
    """

    _backend: Backend
    _requests: RequestSender
    _participants: Mapping[str, Participant]
    _pending: Mapping[str, PendingCall]
    _restart_clock: Callable[[PendingCall], None]
    returning: Returning = field(init=False)
    _nursery: Nursery = field(init=False)
    _queue: dict[PendingCall, None] = field(init=False, factory=dict[PendingCall, None])
    _is_running: bool = field(init=False, default=False)
    # The call that is being sent, and the scope of sending it
    _current: tuple[PendingCall, CancelScope] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.returning = Returning(self._backend)

    def run_in(self, nursery: Nursery) -> None:
        """Start the task in a nursery from here on."""
        self._nursery = nursery

    def on_rejoined(self, why: str, gone: Iterable[Participant], until: float) -> None:
        """Send the calls again that were sent in the last session.

        Args:
            why: The reason for calls that fail instead, for people.
            gone: The participants that are not in the room any more; they are expected back.
            until: The time at which they are given up, on the event loop's clock.
        """
        self.returning.expect(gone, until)
        for call in tuple(self._pending.values()):
            self._add(call, why)

    def on_callee_replaced(self, identity: str) -> None:
        """Send the calls to a participant again, in its next session."""
        for call in self._calls_to(identity):
            self._add(call, f"{identity!r} left the room, and joined again")

    def on_arrival(self, identity: str) -> None:
        """Go on with the calls to a participant, if it was expected back (L9)."""
        if self.returning.remove(identity):
            for call in self._calls_to(identity):
                if call.awaits_return:
                    self._add(call, f"{identity!r} joined again")

    def expire(self) -> None:
        """Fail the calls to participants that have not come back in time (L9)."""
        for identity in self.returning.remove_expired(self._backend.current_time()):
            for call in self._calls_to(identity):
                if call.awaits_return:
                    call.finish(not_back(call), CallEvent.LEFT)

    def _calls_to(self, identity: str) -> list[PendingCall]:
        return [call for call in self._pending.values() if call.callee.identity == identity]

    def _add(self, call: PendingCall, why: str) -> None:
        """Send a call again, if its callee may answer that without running a handler twice.

        Args:
            why: The reason, for people.
        """
        if call.is_answered or not call.first_sid:
            return
        call.prepare_repeat()
        call.is_repeated = True
        if not call.callee._abilities.resumes:
            _fail(call, why)
            return
        self._queue[call] = None
        if not self._is_running:
            self._is_running = True
            self._nursery.start_soon(self._send_all)

    def discard(self, call: PendingCall) -> None:
        """Stop sending a call that is over."""
        self._queue.pop(call, None)
        if self._current is not None and self._current[0] is call:
            self._current[1].cancel()

    async def _send_all(self) -> None:
        try:
            while self._queue:
                call = next(iter(self._queue))
                del self._queue[call]
                with self._backend.cancel_scope() as scope:
                    self._current = call, scope
                    await self._send(call)
                self._current = None
        finally:
            self._is_running = False
            self._current = None

    async def _send(self, call: PendingCall) -> None:
        identity = call.callee.identity
        callee = self._participants.get(identity)
        call.awaits_return = callee is None and identity in self.returning.expected
        self._restart_clock(call)
        if call.awaits_return:
            return
        if callee is None or not callee._abilities.resumes:
            _fail(call, f"{identity!r} left the room")
            return
        call.callee = callee
        join = self._requests.joins
        try:
            await self._requests.send_again(call)
        except StreamError as error:
            # After another rejoin, it is in the queue again.
            if self._requests.joins == join:
                _fail(call, str(error))
        except Exception:
            # A failure of ours: it concerns this call alone (B3).
            logger.exception("sending a call to %s again failed", identity)
            _fail(call, "it could not be sent again")


def _fail(call: PendingCall, why: str) -> None:
    call.finish(may_have_run(why), CallEvent.LEFT)

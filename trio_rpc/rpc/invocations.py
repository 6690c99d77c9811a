"""The callee's half of RPC: requests, and a task for each.

A task acknowledges its request before anything else, then runs the handler inside a
cancel scope with the request's deadline, and answers exactly once in any case:

    acknowledged ──► a handler slot ──► handler done ──► answered
         ├─ no such method ─► 1400        the time is over ─► 1502
         ├─ other version ──► 1404        we leave ─────────► 1503
         └─ over a limit ───► 1500

A request comes as a packet (version 1) or as a stream (version 2), and the answer takes the same
way; acks and errors are packets always (rules N3 and S3).

When all handler slots are taken, a request waits without a task (`HandlerSlots`). What is held on
behalf of a caller, from the request to its answer, is charged to the caller's budget (B4).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import Final

from livekit.protocol import models

from ..concurrency import CANCELLED, Nursery, TaskStarter
from ..errors import RpcError, StreamError
from ..links import LinkClosedError
from ..links.packet_sender import PacketSender
from ..participant import Participant
from ..protocol.answered_requests import LATE_REPEATS, AnsweredRequests, Outcome
from ..protocol.budgets import BudgetExceededError
from ..protocol.limits import MAX_PAYLOAD_BYTES, SessionLimits, utf8_length
from ..protocol.logs import peer_logger
from ..protocol.rpc_messages import RPC_VERSION, STREAM_RPC_VERSION, may_have_run, rpc_ack
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext
from ..streams.outgoing import OutgoingStreams
from .handler_slots import HandlerSlots, TooManyWaitingError
from .invocation_data import RpcInvocationData
from .methods import MethodRegistry, call_handler
from .repeated_requests import RepeatedRequests
from .replies import Replies
from .requests import (
    FAILED,
    GAVE_UP,
    LEFT,
    REQUEST_BYTES,
    Request,
    RequestBody,
    late,
    not_taken,
    read_inline,
    read_request,
    refusal_of,
)
from .waiting_requests import WaitingRequests

logger = peer_logger(__name__)

#: The handlers of a participant that run at the same time, unless set otherwise (A13).
DEFAULT_MAX_CONCURRENT_HANDLERS: Final = 1000
#: The requests of one caller that may wait for a handler slot, unless set otherwise (B5).
DEFAULT_MAX_WAITING_REQUESTS: Final = 10_000
#: The blocking functions among them, each in a thread: the default of trio and anyio.
_MAX_HANDLER_THREADS: Final = 40


class Invocations:
    """The invocations of one session.

    Args:
        registry: Our methods.
        context: The common part of all buffers of the session, such as the budget.
        participants: The other participants in the room, by identity.
        sid: Our SID.
    """

    def __init__(
        self,
        packet_sender: PacketSender,
        streams: OutgoingStreams,
        registry: MethodRegistry,
        limits: SessionLimits,
        context: BufferContext,
        participants: Mapping[str, Participant],
        sid: str,
    ) -> None:
        self._backend = context.backend
        self._packet_sender = packet_sender
        self._participants = participants
        self._registry = registry
        self._limits = limits
        self._context = context
        self._budget = context.budget
        self._threads = self._backend.capacity_limiter(
            min(limits.max_concurrent_handlers, _MAX_HANDLER_THREADS)
        )
        self._tasks: TaskStarter
        self._replies = Replies(packet_sender, streams)
        # Requests that are not answered yet, by caller and id
        self._unanswered: dict[tuple[str, str], Request] = {}
        self._answered = AnsweredRequests(self._budget)
        self._repeats = RepeatedRequests(
            self._backend, self._answered, self._replies, self._budget, sid
        )
        self._slots: HandlerSlots[Request] = HandlerSlots(
            limits.max_concurrent_handlers, limits.max_waiting_requests
        )
        # Those without a task: they wait for their body or for a handler slot
        self._waiting = WaitingRequests(
            self._backend, lambda request: self._answer_waiting(request, late(request))
        )

    def __len__(self) -> int:
        return len(self._unanswered)

    def run_in(self, nursery: Nursery) -> None:
        """Start the tasks of requests in a nursery from here on."""
        self._tasks = self._backend.many_tasks(nursery)
        self._clean = copy_context()
        self._replies.run_in(nursery)
        self._repeats.run_in(nursery)
        self._waiting.run_in(nursery)

    def start(self, caller: str, request: models.RpcRequest) -> None:
        """Answer a request that came as a packet."""
        accepted = Request(
            caller,
            request.id,
            RPC_VERSION,
            request.method,
            request.version,
            request.response_timeout_ms,
            request.payload,
        )
        if self._accept(accepted):
            self._schedule(accepted)

    def start_inline(self, caller: str, header: models.DataStream.Header) -> None:
        """Answer a request that is inline in the header of its stream."""
        request = read_inline(caller, header)
        if self._accept(request):
            self._schedule(request)

    def start_stream(self, caller: str, header: models.DataStream.Header) -> StreamBuffer | None:
        """Answer a request that comes as a stream.

        Returns:
            The sink for the stream's content; None where no answer is possible (S8), or none needs
            the content.
        """
        request = read_request(caller, header)
        if not self._accept(request):
            return None
        request.body = RequestBody(
            self._context, caller, header, lambda: self._on_body_ended(request)
        )
        if not header.HasField("inline_content"):
            self._let_wait(request)
        return request.body

    def refuse_stream(self, caller: str, header: models.DataStream.Header, why: str) -> None:
        """Answer 1500 to a request whose stream was refused."""
        request = read_request(caller, header)
        if request.id and request.again:
            # Whatever became of the first try, this one is not taken.
            self._refuse(request, may_have_run(why))
        elif request.id and (caller, request.id) not in self._unanswered:
            self._refuse(request, not_taken(why))

    def cancel(self, caller: str, request_id: str) -> None:
        """Cancel an invocation whose caller has given up, whether its handler runs or waits."""
        request = self._unanswered.get((caller, request_id))
        if request is None:
            return
        request.given_up = True
        if request.scope is not None:
            request.scope.cancel()
        elif request in self._waiting:
            self._answer_waiting(request, GAVE_UP)

    def forget_expired(self) -> None:
        """Forget the answered requests whose deadline has passed."""
        self._answered.forget_expired(self._backend.current_time())

    def on_caller_left(self, caller: Participant) -> None:
        """Forget the answered requests of a participant that will not ask again.

        Its handlers run on to their deadlines, as LiveKit's do.
        """
        if caller._abilities.resumes:
            self._drop(*self._waiting.incomplete(caller.identity))
            return
        for request in self._unanswered.values():
            if request.caller == caller.identity:
                request.is_remembered = False
        self._answered.forget_caller(caller.identity)

    def on_rejoined(self, sid: str) -> None:
        """Go on in another session, in which our SID is `sid`."""
        self._repeats.on_rejoined(sid)
        self._drop(*self._waiting.incomplete(None))

    def _drop(self, *requests: Request) -> None:
        """Drop requests whose rest will not come: a repeat comes as a whole (L8)."""
        for request in requests:
            request.is_remembered = False
            self._close(request)

    def end(self) -> None:
        """Answer 1503 to requests that have no task yet: the session ends (A12)."""
        for request in tuple(self._waiting):
            self._answer_waiting(request, LEFT)
        for request in self._unanswered.values():
            request.has_left = True

    def _accept(self, request: Request) -> bool:
        """Charge a request to its caller; return whether it was accepted."""
        if not request.id:
            logger.debug("ignored a request of %s without an id", request.caller)
            return False
        key = request.caller, request.id
        now = self._backend.current_time()
        running = self._unanswered.get(key)
        if running is not None and request.again and self._waiting.is_incomplete(running):
            # The repeat comes in place of its rest.
            self._drop(running)
            running = None
        if running is not None or self._answered.has(*key, now):
            self._repeats.answer(request, running)
            return False
        if request.again and (unknown := self._repeats.refusal_of(request)) is not None:
            self._refuse(request, unknown)
            return False
        if request.version == request.transport and not request.problem:
            request.handler = self._registry.get(request.method)
        if request.handler is None:
            self._refuse(request, refusal_of(request))
            return False
        request.deadline = now + request.timeout_ms / 1000
        size = REQUEST_BYTES + request.payload.__sizeof__()
        try:
            self._budget.charge(request.caller, size)
        except BudgetExceededError as error:
            self._refuse(request, not_taken(str(error)))
            return False
        request.charged = size
        caller = self._participants.get(request.caller)
        if caller is not None:
            request.keeps_outcome = caller._abilities.resumes
            request.takes_stream = caller._abilities.takes_either
        if request.transport == STREAM_RPC_VERSION:
            request.takes_stream = True
        self._unanswered[key] = request
        return True

    def _on_body_ended(self, request: Request) -> None:
        if self._unanswered.get((request.caller, request.id)) is request:
            self._schedule(request)

    def _schedule(self, request: Request) -> None:
        """Start the task of a complete request, or queue the request for a handler slot."""
        try:
            has_slot = self._slots.reserve(request)
        except TooManyWaitingError as error:
            request.is_remembered = False
            self._close(request)
            self._refuse(request, not_taken(str(error)))
            return
        if not has_slot:
            self._let_wait(request)
        elif request.acknowledged:
            self._start_task(request)
        else:
            self._tasks.start_soon(self._answer, request)

    def _start_task(self, request: Request) -> None:
        """Start the task of a request that has waited, without another's context variables."""
        self._waiting.discard(request)
        self._clean.run(self._tasks.start_soon, self._answer, request)

    def _let_wait(self, request: Request) -> None:
        """Acknowledge a request that has no task for now, and watch its deadline."""
        if request.acknowledged:
            return
        request.acknowledged = True
        self._replies.send(rpc_ack(request.caller, request.id))
        self._waiting.add(request)

    def _answer_waiting(self, request: Request, error: RpcError) -> None:
        self._slots.remove(request)
        self._replies.respond_nowait(request, error)
        self._close(request, error)

    def _refuse(self, request: Request, error: RpcError) -> None:
        """Refuse a request, of which nothing is kept."""
        if not request.acknowledged:
            self._replies.send(rpc_ack(request.caller, request.id))
        self._replies.respond_nowait(request, error)

    def _close(self, request: Request, outcome: Outcome | None = None) -> None:
        """Release everything that was held for a request, except its id and its outcome.

        The outcome is kept for a caller that may ask again (L7).
        """
        if request.acknowledged:
            self._waiting.discard(request)
        del self._unanswered[request.caller, request.id]
        if request.body is not None:
            request.body.close()
            # They refer to each other.
            request.body = None
        if request.is_remembered:
            now = request.ended_at or self._backend.current_time()
            deadline = request.deadline
            if request.keeps_outcome:
                deadline += LATE_REPEATS
            else:
                outcome = None
            self._answered.add(request.caller, request.id, deadline, now, outcome, request.charged)
        else:
            self._budget.refund(request.caller, request.charged)

    # A request's task

    async def _answer(self, request: Request) -> None:
        outcome: Outcome = LEFT
        try:
            if request.acknowledged:
                # The slot is that of a handler that has ended, perhaps because all are cancelled.
                await self._backend.checkpoint_if_cancelled()
            else:
                await self._packet_sender.send(rpc_ack(request.caller, request.id))
            outcome = await self._invoke(request)
            await self._replies.respond(request, outcome)
            if len(self._unanswered) == 1:
                # No other task is about to answer, with packets that could leave with these.
                self._packet_sender.flush_nowait()
        except (LinkClosedError, StreamError) as error:
            logger.debug("no answer to %s: %s", request.caller, error)
        except CANCELLED:
            # Waiting is over, but a final response may still be queued.
            is_small = isinstance(outcome, RpcError) or utf8_length(outcome) <= MAX_PAYLOAD_BYTES
            self._replies.respond_nowait(request, outcome if is_small else LEFT)
            raise
        except Exception:
            # A failure of ours: it concerns this request alone (B3).
            logger.exception("answering a request of %s failed", request.caller)
            self._replies.respond_nowait(request, FAILED)
        finally:
            self._close(request, outcome)
            if (waiting := self._slots.release(request)) is not None:
                self._start_task(waiting)

    async def _invoke(self, request: Request) -> Outcome:
        assert request.handler is not None
        # The time has been running since the request came, also while it waited.
        with self._backend.cancel_scope(deadline=request.deadline) as scope:
            request.scope = scope
            # A cancellation may have come together with the request, before this task had begun.
            outcome: Outcome | None = GAVE_UP if request.given_up else None
            if outcome is None and request.body is not None:
                outcome = await self._read_body(request)
            if outcome is None:
                data = RpcInvocationData(
                    request.id,
                    request.caller,
                    request.payload,
                    request.timeout_ms / 1000,
                    request.method,
                    tuple(request.accepts.split()) if request.accepts else (),
                )
                data._reason = request.cancel_reason
                most = self._limits.max_payload_bytes if request.takes_stream else MAX_PAYLOAD_BYTES
                outcome = await call_handler(
                    self._backend, self._threads, request.handler, data, most
                )
            # Its answer may have to wait for room.
            request.payload = ""
            # The result of a handler after its time, or after we left, does not count.
            request.ended_at = now = self._backend.current_time()
            if not request.given_up and now < request.deadline:
                await self._backend.checkpoint_if_cancelled()
                return outcome
        return GAVE_UP if request.given_up else late(request)

    async def _read_body(self, request: Request) -> RpcError | None:
        """Read the payload of a request that came as a stream; return the error if it broke off."""
        assert request.body is not None
        try:
            request.payload = await request.body.read_text()
        except StreamError as error:
            # No handler has run for it, so another try may.
            request.is_remembered = False
            return RpcError.built_in(
                RpcError.ErrorCode.APPLICATION_ERROR, f"the request broke off: {error}"
            )
        return None

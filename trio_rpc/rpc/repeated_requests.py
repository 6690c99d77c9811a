"""The answers to requests that are sent again (rules L7 and L8).

a repeat, and its id          the answer
running                       that of the handler, when it is done
answered, the outcome kept    the outcome
answered, and not kept        1503: the handler has run
unknown, maybe forgotten      1503: the handler may have run
unknown, first sent to        none: it runs like any request
    one of our sessions
unknown, first sent to        1503: the handler may have run there
    another process
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Final

from ..concurrency import Backend, Nursery
from ..errors import RpcError, StreamError
from ..links import LinkClosedError
from ..protocol.answered_requests import AnsweredRequests, Outcome
from ..protocol.budgets import Budget, BudgetExceededError
from ..protocol.logs import peer_logger
from ..protocol.rpc_messages import may_have_run, rpc_ack, rpc_response
from .replies import Replies
from .requests import REQUEST_BYTES, Request

logger = peer_logger(__name__)

#: Our last sessions, whose requests are known.
_MAX_SESSIONS: Final = 64


class RepeatedRequests:
    """The repeats that come to one session, and to those that follow it in the same process.

    Args:
        answered: The requests that were answered.
        replies: Sends the answers.
        budget: Charged for the answers that are being sent (B4).
        sid: Our SID.
    """

    def __init__(
        self,
        backend: Backend,
        answered: AnsweredRequests,
        replies: Replies,
        budget: Budget,
        sid: str,
    ) -> None:
        self._backend = backend
        self._answered = answered
        self._replies = replies
        self._budget = budget
        self._sids = deque([sid], _MAX_SESSIONS)
        self._nursery: Nursery
        # Whose outcomes are being sent again, by caller and id
        self._answering: set[tuple[str, str]] = set()

    def run_in(self, nursery: Nursery) -> None:
        """Start the tasks of answers in a nursery from here on."""
        self._nursery = nursery

    def on_rejoined(self, sid: str) -> None:
        """Go on in another session.

        Args:
            sid: Our SID.
        """
        self._sids.append(sid)

    def answer(self, repeat: Request, running: Request | None) -> None:
        """Answer a repeat of a request that is known; ignore one that is no repeat (B1).

        Args:
            running: The request, if it is not answered yet.
        """
        if not repeat.again:
            logger.debug("ignored a request of %s with an id that came before", repeat.caller)
            return
        self._replies.send(rpc_ack(repeat.caller, repeat.id))
        if running is not None:
            running.is_repeated = True
            return
        outcome = self._answered.outcome(repeat.caller, repeat.id)
        if outcome is None:
            what = "the handler has run, but its outcome is not kept any more"
            outcome = RpcError.built_in(RpcError.ErrorCode.RECIPIENT_DISCONNECTED, what)
        if isinstance(outcome, RpcError):
            self._replies.send(rpc_response(repeat.caller, repeat.id, outcome))
            return
        key = repeat.caller, repeat.id
        if key in self._answering:
            return
        size = REQUEST_BYTES + sys.getsizeof(outcome)
        try:
            self._budget.charge(repeat.caller, size)
        except BudgetExceededError as error:
            logger.debug("ignored a repeat of %s: %s", repeat.caller, error)
            return
        self._answering.add(key)
        self._nursery.start_soon(self._answer, repeat, outcome, size)

    async def _answer(self, repeat: Request, outcome: Outcome, size: int) -> None:
        try:
            await self._replies.respond(repeat, outcome)
        except (LinkClosedError, StreamError) as error:
            logger.debug("no answer to %s: %s", repeat.caller, error)
        except Exception:
            # A failure of ours: it concerns this request alone (B3).
            logger.exception("answering a repeat of %s failed", repeat.caller)
        finally:
            self._answering.remove((repeat.caller, repeat.id))
            self._budget.refund(repeat.caller, size)

    def refusal_of(self, repeat: Request) -> RpcError | None:
        """Return the error for a repeat whose id is unknown; None if its handler has never run."""
        if repeat.again not in self._sids:
            return may_have_run("another process was called first")
        if self._answered.may_have_forgotten(repeat.caller, self._backend.current_time()):
            return may_have_run("this call is not known any more")
        return None

"""The requests that were answered, and their outcomes (rules B1 and L7). No I/O.

No handler runs twice for one id, so ids are remembered. The outcomes are kept for callers that may
ask again, under the same id, after a lost connection.
"""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from typing import Final, TypeAlias

from attrs import Factory, define, field

from ..errors import RpcError
from .budgets import Budget, BudgetExceededError

#: The answered requests remembered of one caller at least; the oldest are forgotten first.
MAX_ANSWERED_REQUESTS: Final = 10_000
#: They are forgotten so many at once, which costs less: to find the oldest, a dict looks at all
#: that were there before it.
FORGOTTEN_TOGETHER: Final = 500
#: Seconds after its answer for which a request is remembered at the most. Its deadline may be
#: weeks away, and who is hidden, or has left before the request came, is never seen to leave.
MAX_REMEMBERED: Final = 300.0
#: Seconds after its deadline for which a request is remembered that may be sent again: a repeat may
#: wait for the connections of both sides, each of which may be silent and then resume.
LATE_REPEATS: Final = 60.0
#: The bytes charged for remembering one, without its outcome.
ANSWERED_REQUEST_BYTES: Final = 384
#: The part of a budget that outcomes may take: one in so many bytes.
_OUTCOMES_PART: Final = 4
#: Of the outcomes of a caller, so large a part is dropped at once: one in so many bytes. All of its
#: requests are looked at for that.
_DROPPED_PART: Final = 8
#: The bytes charged for an error besides its texts.
_ERROR_BYTES: Final = 512
#: The callers of whom requests were forgotten early, each with the deadline of the last of them.
_MAX_FORGETFUL: Final = 1_000

#: The outcome of an invocation.
Outcome: TypeAlias = "str | RpcError"


#: An answered request: its deadline, its outcome, if that is kept, and the bytes charged for it.
_Answered: TypeAlias = "tuple[float, Outcome | None, int]"


@define(eq=False)
class _OfCaller:
    # By id, with the oldest first; an outcome is dropped together with its request, or before
    requests: dict[str, _Answered] = Factory(dict[str, _Answered])
    outcome_bytes: int = 0
    # No deadline is before it: to look for those that have passed, all requests are looked at
    earliest: float = math.inf


@define(eq=False)
class AnsweredRequests:
    """Answered requests by caller, each until its deadline.

    Args:
        budget: Charged for the ids that are remembered, and the outcomes, which make room where it
            is needed.
    """

    _budget: Budget
    _callers: dict[str, _OfCaller] = Factory(dict[str, _OfCaller])
    _outcome_bytes: int = 0
    # The deadlines until which requests may be unknown although they were answered: of one caller,
    # and of all
    _forgotten_until: OrderedDict[str, float] = Factory(OrderedDict[str, float])
    _all_forgotten_until: float = 0.0
    # The most bytes of outcomes
    _most_of_caller: int = field(init=False)
    _most_of_all: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._most_of_caller = self._budget.max_peer_bytes // _OUTCOMES_PART
        self._most_of_all = self._budget.max_peers_bytes // _OUTCOMES_PART
        self._budget.make_room = self._make_room

    def add(
        self,
        caller: str,
        request_id: str,
        deadline: float,
        now: float,
        outcome: Outcome | None = None,
        charged: int = ANSWERED_REQUEST_BYTES,
    ) -> None:
        """Remember a request until its deadline.

        Args:
            outcome: The outcome to keep as well; it is not kept where there is no room.
            charged: The bytes that are charged for the request already, at least
                `ANSWERED_REQUEST_BYTES`. What is remembered is charged in their place.
        """
        of_caller = self._callers.get(caller)
        if of_caller is None:
            of_caller = self._callers[caller] = _OfCaller()
        requests = of_caller.requests
        if request_id in requests:
            self._forget(caller, (request_id,))
        elif len(requests) >= MAX_ANSWERED_REQUESTS + FORGOTTEN_TOGETHER:
            oldest = list(islice(requests, FORGOTTEN_TOGETHER))
            self._forget_early(caller, max(requests[each][0] for each in oldest))
            self._forget(caller, oldest)
        if deadline > now + MAX_REMEMBERED:
            self._forget_early(caller, deadline)
            deadline = now + MAX_REMEMBERED
        left = charged - ANSWERED_REQUEST_BYTES
        size = 0
        if outcome is not None:
            size = outcome.__sizeof__() if isinstance(outcome, str) else _error_size(outcome)
            # Mostly there is room, and an outcome takes no more than its request did.
            if (
                size > left
                or of_caller.outcome_bytes + size > self._most_of_caller
                or self._outcome_bytes + size > self._most_of_all
            ):
                if self._has_room(caller, of_caller, size, left):
                    left = max(left, size)
                else:
                    outcome, size = None, 0
            of_caller.outcome_bytes += size
            self._outcome_bytes += size
        requests[request_id] = deadline, outcome, size
        if deadline < of_caller.earliest:  # noqa: PLR1730 - `min` takes longer
            of_caller.earliest = deadline
        self._budget.refund(caller, left - size)

    def has(self, caller: str, request_id: str, now: float) -> bool:
        """Whether a request was answered and its deadline has not passed."""
        if caller not in self._callers:
            return False
        requests = self._callers[caller].requests
        return request_id in requests and requests[request_id][0] > now

    def outcome(self, caller: str, request_id: str) -> Outcome | None:
        """Return the outcome of an answered request; None if it is not kept."""
        of_caller = self._callers.get(caller)
        answered = None if of_caller is None else of_caller.requests.get(request_id)
        return None if answered is None else answered[1]

    def may_have_forgotten(self, caller: str, now: float) -> bool:
        """Whether a request that is not known may have been answered nevertheless."""
        return max(self._forgotten_until.get(caller, 0.0), self._all_forgotten_until) > now

    def forget_expired(self, now: float) -> None:
        """Forget the requests whose deadline has passed."""
        for caller, of_caller in tuple(self._callers.items()):
            if now < of_caller.earliest:
                continue
            requests = of_caller.requests
            self._forget(
                caller, [each for each, answered in requests.items() if answered[0] <= now]
            )
            if not requests:
                del self._callers[caller]
            else:
                of_caller.earliest = min([answered[0] for answered in requests.values()])
        for caller in [each for each, until in self._forgotten_until.items() if until <= now]:
            del self._forgotten_until[caller]

    def forget_caller(self, caller: str) -> None:
        """Forget the requests of a caller that has left, and will not ask again."""
        if (of_caller := self._callers.get(caller)) is not None:
            self._forget(caller, tuple(of_caller.requests))
            del self._callers[caller]
        self._forgotten_until.pop(caller, None)

    def _has_room(self, caller: str, of_caller: _OfCaller, size: int, charged: int) -> bool:
        """Whether there is room for an outcome, perhaps that of older ones; it is charged then.

        Args:
            size: The bytes of the outcome.
            charged: The bytes that are charged already, and free.
        """
        if of_caller.outcome_bytes + size > self._most_of_caller or (
            self._outcome_bytes + size > self._most_of_all
        ):
            if size > of_caller.outcome_bytes:
                return False
            self._drop_oldest_outcomes(caller, of_caller, size)
        if size > charged:
            try:
                self._budget.charge(caller, size - charged)
            except BudgetExceededError:
                return False
        return True

    def _drop_oldest_outcomes(self, caller: str, of_caller: _OfCaller, size: int) -> None:
        """Drop outcomes of a caller, the oldest first, until `size` bytes were refunded."""
        at_least = max(size, of_caller.outcome_bytes // _DROPPED_PART)
        requests = of_caller.requests
        dropped: list[str] = []
        refunded = 0
        for request_id, (_, outcome, charged) in requests.items():
            if refunded >= at_least:
                break
            if outcome is not None:
                dropped.append(request_id)
                refunded += charged
        for request_id in dropped:
            requests[request_id] = requests[request_id][0], None, 0
        self._refund_outcomes(of_caller, refunded)
        self._budget.refund(caller, refunded)

    def _make_room(self, caller: str, size: int) -> None:
        """Drop outcomes of a caller, the oldest first, until so many bytes were refunded."""
        of_caller = self._callers.get(caller)
        if size > 0 and of_caller is not None and of_caller.outcome_bytes:
            self._drop_oldest_outcomes(caller, of_caller, size)

    def _refund_outcomes(self, of_caller: _OfCaller, size: int) -> None:
        of_caller.outcome_bytes -= size
        self._outcome_bytes -= size

    def _forget(self, caller: str, request_ids: Collection[str]) -> None:
        of_caller = self._callers[caller]
        take = of_caller.requests.pop
        outcome_bytes = sum([take(request_id)[2] for request_id in request_ids])
        self._refund_outcomes(of_caller, outcome_bytes)
        if size := len(request_ids) * ANSWERED_REQUEST_BYTES + outcome_bytes:
            self._budget.refund(caller, size)

    def _forget_early(self, caller: str, deadline: float) -> None:
        """Record that a request is forgotten before its deadline."""
        until = max(self._forgotten_until.pop(caller, 0.0), deadline)
        self._forgotten_until[caller] = until
        if len(self._forgotten_until) > _MAX_FORGETFUL:
            _, earlier = self._forgotten_until.popitem(last=False)
            self._all_forgotten_until = max(self._all_forgotten_until, earlier)


def _error_size(error: RpcError) -> int:
    """Return the bytes that are charged for an error."""
    return sys.getsizeof(error.message) + sys.getsizeof(error.data) + _ERROR_BYTES

"""The ids of requests that were answered, so that no handler runs twice for one (B1). No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from attrs import Factory, define

from .budgets import Budget

#: The answered requests remembered of one caller; the oldest are forgotten first.
MAX_ANSWERED_REQUESTS: Final = 10_000
#: Seconds after its answer for which a request is remembered at the most. Its deadline may be
#: weeks away, and who is hidden, or has left before the request came, is never seen to leave.
MAX_REMEMBERED: Final = 300.0
#: The bytes charged for remembering one.
ANSWERED_REQUEST_BYTES: Final = 384


@define(eq=False)
class AnsweredRequests:
    """Answered requests by caller, each until its deadline or until its caller has left.

    Args:
        budget: Charged for the ids that are remembered.
    """

    _budget: Budget
    _deadlines: dict[str, OrderedDict[str, float]] = Factory(dict[str, OrderedDict[str, float]])

    def add(self, caller: str, request_id: str, deadline: float) -> None:
        """Remember a request until its deadline; `ANSWERED_REQUEST_BYTES` are charged already."""
        deadlines = self._deadlines.get(caller)
        if deadlines is None:
            deadlines = self._deadlines[caller] = OrderedDict()
        elif request_id in deadlines:
            self._forget(caller, (request_id,))
        elif len(deadlines) >= MAX_ANSWERED_REQUESTS:
            self._forget(caller, (next(iter(deadlines)),))
        deadlines[request_id] = deadline

    def has(self, caller: str, request_id: str, now: float) -> bool:
        """Whether a request was answered and its deadline has not passed."""
        deadlines = self._deadlines.get(caller)
        return deadlines is not None and deadlines.get(request_id, now) > now

    def forget_expired(self, now: float) -> None:
        """Forget the requests whose deadline has passed."""
        for caller, deadlines in tuple(self._deadlines.items()):
            self._forget(caller, [each for each, deadline in deadlines.items() if deadline <= now])
            if not deadlines:
                del self._deadlines[caller]

    def forget_caller(self, caller: str) -> None:
        """Forget the requests of a caller that has left."""
        self._forget(caller, tuple(self._deadlines.get(caller, ())))
        self._deadlines.pop(caller, None)

    def _forget(self, caller: str, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            del self._deadlines[caller][request_id]
            self._budget.refund(caller, ANSWERED_REQUEST_BYTES)

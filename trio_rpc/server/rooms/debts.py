"""The acks and answers that one member owes to others (B8).

They are charged to the caller: a callee must not wait for a caller that does not read. An ack or
answer without a request is charged to its sender.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final

from attrs import define, field

#: The callers that have left and are remembered.
_MAX_DEPARTED: Final = 1000
#: An ack and an answer.
_PER_REQUEST: Final = 2


@define(eq=False)
class Debts:
    """The acks and answers that one member has yet to send, by caller."""

    _owed: defaultdict[str, int] = field(factory=lambda: defaultdict(int))
    # To callers that have left: the answers may come after they have joined again
    _owed_to_departed: dict[str, int] = field(factory=dict[str, int])

    def incur(self, caller: str) -> None:
        """Count a request to the member."""
        self._owed[caller] += _PER_REQUEST

    def pay(self, caller: str) -> bool:
        """Count an ack or an answer that the member sends; return whether it was owed."""
        if (left := self._owed.get(caller, 0)) > 1:
            self._owed[caller] = left - 1
            return True
        return _take_one(self._owed, caller) or _take_one(self._owed_to_departed, caller)

    def cancel(self, caller: str) -> None:
        """Forget a request that did not reach the member."""
        for _ in range(_PER_REQUEST):
            _take_one(self._owed, caller)

    @property
    def callers(self) -> Collection[str]:
        """The callers that the member owes something, without those that have left."""
        return self._owed.keys()

    def on_departures(self, callers: Iterable[str]) -> None:
        """Remember the debts to callers that leave; beyond a limit, forget the oldest."""
        if not self._owed:
            return
        departed = self._owed_to_departed
        for caller in callers:
            if left := self._owed.pop(caller, 0):
                departed[caller] = departed.pop(caller, 0) + left
                if len(departed) > _MAX_DEPARTED:
                    del departed[next(iter(departed))]


def _take_one(owed: dict[str, int], caller: str) -> bool:
    left = owed.get(caller, 0)
    if left > 1:
        owed[caller] = left - 1
    elif left:
        del owed[caller]
    return left > 0

"""The policy for calling again (rule T4)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import field, frozen

from ..errors import RpcError

#: The errors after which no handler can have run, if the callee has not acknowledged the call.
HANDLER_CANNOT_HAVE_RUN: Final = frozenset(
    {int(RpcError.ErrorCode.RECIPIENT_NOT_FOUND), int(RpcError.ErrorCode.SEND_FAILED)}
)
#: The errors after which a handler may have run, and may have had its effect.
HANDLER_MAY_HAVE_RUN: Final = frozenset(
    {
        int(RpcError.ErrorCode.CONNECTION_TIMEOUT),
        int(RpcError.ErrorCode.RESPONSE_TIMEOUT),
        int(RpcError.ErrorCode.RECIPIENT_DISCONNECTED),
    }
)


def _codes(codes: Iterable[int]) -> frozenset[int]:
    return frozenset(int(each) for each in codes)


@frozen
class Retry:
    """The policy for calling again after an error.

    The delays are random, from 0 to a limit that grows, so that many callers do not come back
    together. The timeout of the call is the total over all attempts and delays.

    Attributes:
        attempts: The most attempts, the first included.
        backoff: Seconds that the first delay takes at most.
        factor: The factor by which this limit grows with each further delay.
        cap: Seconds that any delay takes at most.
        on: The codes of the errors after which the call is made again. Where the callee has
            acknowledged the call, those of `HANDLER_CANNOT_HAVE_RUN` do not count: they come from a
            handler.
        idempotent: Whether a handler may run more than once: then the errors after which it may
            have run count as well, 1501, 1502 and 1503.

    Raises:
        ValueError: a number is out of its range.
    """

    attempts: int = field(default=3)
    backoff: float = field(default=0.2)
    factor: float = field(default=2.0)
    cap: float = field(default=5.0)
    on: frozenset[int] = field(default=HANDLER_CANNOT_HAVE_RUN, converter=_codes)
    idempotent: bool = False

    def __attrs_post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is a number from 1, not {self.attempts}")
        for name in ("backoff", "cap"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is a number of seconds from 0, not {getattr(self, name)}")
        if not self.factor >= 1:
            raise ValueError(f"factor is a number from 1, not {self.factor}")

    def allows(self, error: RpcError) -> bool:
        """Return whether a call that failed with this error may be made again."""
        code = int(error.code)
        if self.idempotent and code in HANDLER_MAY_HAVE_RUN | HANDLER_CANNOT_HAVE_RUN:
            return True
        if code in HANDLER_CANNOT_HAVE_RUN and error.acknowledged:
            return False
        return code in self.on

    def delays(self) -> Iterator[float]:
        """Yield the seconds before each further attempt."""
        limit = self.backoff
        for _ in range(self.attempts - 1):
            yield random.uniform(0, min(limit, self.cap))
            limit = min(limit * self.factor, self.cap)

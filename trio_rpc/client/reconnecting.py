"""The way back into a room whose connection was lost (rules L1 and L2).

To *resume* is to continue the same session, with its SID; to *rejoin* is to begin another one.
The next step depends on the last one, and on how it ended:

    ended by        a connection      an attempt to resume   an attempt to rejoin
    LOST            resume            resume                 rejoin
    LOST_FOR_GOOD   rejoin
    RECONNECT       rejoin, at once   rejoin, at once        rejoin
    UNAUTHORIZED                      rejoin, at once        rejoin, at once; the second time, end
    FINAL           end               end                    end

Every other step comes after a delay of the `ReconnectPolicy`, and so does a rejoin after
connections that the server soon asked us to give up. No I/O.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from attrs import define, field, frozen
from attrs import validators as check


class Step(Enum):
    """The steps of keeping a connection."""

    CONNECTED = auto()
    RESUME = auto()
    REJOIN = auto()
    END = auto()


class Ending(Enum):
    """The ways in which a connection, or an attempt to open one, ends.

    LOST: by the network, or by a server that asks us to resume. LOST_FOR_GOOD: the same, of a link
    that cannot be resumed. RECONNECT: by a server that asks us
    to join again, or cannot resume the session. UNAUTHORIZED: by a server that does not accept the
    token, or not any more. FINAL: by a server that removes us from the room.
    """

    LOST = auto()
    LOST_FOR_GOOD = auto()
    RECONNECT = auto()
    UNAUTHORIZED = auto()
    FINAL = auto()


_NEXT_STEP: Final = {
    (Step.CONNECTED, Ending.LOST): Step.RESUME,
    (Step.CONNECTED, Ending.LOST_FOR_GOOD): Step.REJOIN,
    (Step.CONNECTED, Ending.RECONNECT): Step.REJOIN,
    (Step.RESUME, Ending.LOST): Step.RESUME,
    (Step.RESUME, Ending.RECONNECT): Step.REJOIN,
    (Step.RESUME, Ending.UNAUTHORIZED): Step.REJOIN,
    (Step.REJOIN, Ending.LOST): Step.REJOIN,
    (Step.REJOIN, Ending.RECONNECT): Step.REJOIN,
    (Step.REJOIN, Ending.UNAUTHORIZED): Step.REJOIN,
}
_AT_ONCE: Final = {
    (Step.CONNECTED, Ending.RECONNECT),
    (Step.RESUME, Ending.RECONNECT),
    (Step.RESUME, Ending.UNAUTHORIZED),
    (Step.REJOIN, Ending.UNAUTHORIZED),
}


@frozen(kw_only=True)
class ReconnectPolicy:
    """The delays of the attempts to open a lost connection again, and the time to give up.

    The first attempt comes after `first_delay`, each further one after a random part of a delay
    that grows from `base` by `factor` up to `cap`: "full jitter", which spreads the participants of
    a server that restarts. With the default of `factor`, a network that is back after five seconds
    is found within two more: before a call to us that was made meanwhile is given up (C2).

    Attributes:
        give_up_after: Seconds after which the room is lost for good.
        first_delay: Seconds before the first attempt.
        base: The longest delay before the second attempt, in seconds.
        factor: The growth of the longest delay with each further attempt; at least 1.
        cap: The longest delay, in seconds.

    Raises:
        ValueError: one of them is negative, or `factor` below 1.
    """

    give_up_after: float = field(default=60.0, validator=check.ge(0))
    first_delay: float = field(default=0.0, validator=check.ge(0))
    base: float = field(default=0.3, validator=check.ge(0))
    factor: float = field(default=1.1, validator=check.ge(1))
    cap: float = field(default=7.0, validator=check.ge(0))

    def delay(self, tries: int, jitter: float) -> float:
        """Return the seconds before the next attempt.

        Args:
            tries: The attempts so far.
            jitter: From 0 to 1.
        """
        if tries == 0:
            return self.first_delay
        # Any power that would overflow is over the cap.
        growth = self.factor ** min(tries - 1, 64)
        return min(self.base * growth, self.cap) * jitter


#: The policy of rooms, unless set otherwise.
DEFAULT_RECONNECT_POLICY: Final = ReconnectPolicy()


@define(eq=False)
class Recovery:
    """The recovery from one loss of a connection.

    Args:
        policy: The delays, and the time to give up.
        lost_at: The time at which the connection was lost.
        jitter: Returns random numbers from 0 to 1.
        sent_away: The number of connections soon after whose beginning we had to join again, one
            after another, the last included. They count as attempts, so that a server that sends us
            away is not asked without a pause.
    """

    policy: ReconnectPolicy
    lost_at: float
    _jitter: Callable[[], float] = random.random
    sent_away: int = 0
    _step: Step = Step.CONNECTED
    _tries: int = 0
    _refusals: int = 0

    def __attrs_post_init__(self) -> None:
        self._tries = self.sent_away

    @property
    def give_up_at(self) -> float:
        """The time at which the room is lost for good."""
        return self.lost_at + self.policy.give_up_after

    def after(self, ending: Ending) -> tuple[Step, float]:
        """Return the step after the end of a connection or attempt, and its delay in seconds."""
        before = self._step
        if ending is Ending.UNAUTHORIZED:
            self._refusals += before is Step.REJOIN
        if ending is Ending.FINAL or self._refusals > 1:
            self._step = Step.END
            return Step.END, 0.0
        self._step = _NEXT_STEP[before, ending]
        if (before, ending) in _AT_ONCE and not (before is Step.CONNECTED and self.sent_away):
            return self._step, 0.0
        delay = self.policy.delay(self._tries, self._jitter())
        self._tries += 1
        return self._step, delay

"""The records that the world keeps for the checker."""

from __future__ import annotations

import asyncio
import math
from typing import Final

import trio
from attrs import define, field

from trio_rpc import Room, RpcError

from .scenario import Call, Profile

CANCELLED: Final = "cancelled"
RAISED: Final = "raised by handler"


@define(eq=False)
class Stall:
    """A time in which nothing went through a participant's link."""

    began: float
    ended: float = math.inf


@define(eq=False)
class Outage:
    """A time in which a participant that reconnects has no connection.

    Attributes:
        over: The time at which the network is back, and a connection can be opened.
        noticed: The time by which the participant must have noticed.
        lost_after: The time after which the server may have removed it from the room.
        ended: The time at which the connection was restored.
        resumed: Whether the session went on.
    """

    began: float
    over: float
    noticed: float
    lost_after: float
    ended: float = math.inf
    resumed: bool = False


@define(eq=False)
class Presence:
    """A time in which a participant is in the room.

    Attributes:
        disturbed: When something was done that ends it.
        ended: When it ended, or its `Room` said that it is out.
    """

    began: float = math.inf
    disturbed: float | None = None
    ended: float | None = None

    def covers(self, since: float, until: float) -> bool:
        """Whether it was there all the time, and nothing was done meanwhile that ends it."""
        ends = (each for each in (self.disturbed, self.ended) if each is not None)
        return self.began < since and all(each > until for each in ends)


@define(eq=False)
class Actor:
    """A participant through all its sessions.

    Attributes:
        joining: The number of its sessions that are about to begin, each in place of any other.
    """

    profile: Profile
    joining: int = 0
    sessions: list[Presence] = field(factory=list)
    stalls: list[Stall] = field(factory=list)
    outages: list[Outage] = field(factory=list, repr=False)

    def was_stalled(self, since: float, until: float) -> bool:
        """Whether the link stalled, or the round trip was still measured so, at any time."""
        # The next ping, which measures the round trip again, comes within five seconds.
        return any(each.began <= until and since <= each.ended + 5.01 for each in self.stalls)

    def was_there(self, since: float, until: float) -> bool:
        """Whether the participant was in the room all the time, in one session."""
        return not self.may_be_gone(since, until) and any(
            each.covers(since, until) for each in self.sessions
        )

    def outages_in(self, since: float, until: float) -> list[Outage]:
        """Return the outages in a time, both ends included."""
        return [each for each in self.outages if each.began <= until and since <= each.ended]

    def may_be_gone(self, since: float, until: float) -> bool:
        """Whether an outage was so long that the server may have removed the participant."""
        return any(
            each.lost_after <= min(until, each.ended) and not each.resumed
            for each in self.outages_in(since, until)
        )

    def end_outages(self, now: float, *, resumed: bool) -> list[Outage]:
        """End the outages that have not ended, and return them."""
        ended = self.outages_in(math.inf, math.inf)
        for outage in ended:
            outage.ended, outage.resumed = now, resumed
        return ended


@define(eq=False, kw_only=True)
class Session(Presence):
    """One session of an honest participant in the room.

    Attributes:
        seen_leaving: Whom it saw leave, and when.
    """

    actor: Actor
    room: Room
    seen_leaving: list[tuple[str, float]] = field(factory=list)

    @property
    def is_present(self) -> bool:
        return self.began < math.inf and self.ended is None

    @property
    def identity(self) -> str:
        return self.actor.profile.identity

    @property
    def is_replaced(self) -> bool:
        """Whether another session of the same participant has begun since."""
        return any(each is not self and each.began >= self.began for each in self.actor.sessions)

    def has_rival(self, now: float) -> bool:
        """Whether another session of the same participant has begun since, or joins again."""
        rejoins = self.actor.profile.reconnects
        return self.is_replaced or (
            rejoins
            and any(
                each is not self and (each.ended is None or each.ended == now)
                for each in self.actor.sessions
            )
        )

    def has_seen_leave(self, identity: str, since: float, until: float) -> bool:
        """Whether the participant saw a departure in a time, both ends included."""
        return any(each == identity and since <= at <= until for each, at in self.seen_leaving)


@define(eq=False)
class Run:
    """A handler that runs for a call.

    Attributes:
        deadline: When its time is over at the latest, counted from its start.
        earliest_deadline: The same counted from the call's, since it may have waited to be run.
        grace: How long it lingers when it is cancelled.
    """

    record: CallRecord
    session: Session
    started: float
    deadline: float
    earliest_deadline: float
    ended: float | None = None
    grace: float = 0.0


@define(eq=False)
class CallRecord:
    """A call that is made.

    Attributes:
        callee: Whom it is for; None for nobody that there ever was.
        callee_known: Whether the caller saw the callee in the room at the start.
        parent: The handler that made it.
        packets: How many packets it took so far, besides acks.
        dropped, overtaken: Whether that happened to any of them.
        repeated: When the request was sent again, the last time.
        held_up: Seconds that adversaries who do not read may have held up either side.
    """

    plan: Call
    session: Session
    callee: Actor | None
    callee_known: bool
    started: float
    parent: Run | None = None
    ended: float | None = None
    outcome: object = None
    runs: list[Run] = field(factory=list, repr=False)
    streamed: bool = False
    dropped: bool = False
    overtaken: bool = False
    repeated: float | None = None
    held_up: float = 0.0

    @property
    def summary(self) -> str:
        """The known facts, on a line."""
        known = (
            "started",
            "ended",
            "callee_known",
            "streamed",
            "dropped",
            "overtaken",
            "repeated",
            "held_up",
        )
        facts = ", ".join(f"{name}={getattr(self, name)}" for name in known)
        return f"{self.plan}, {facts}, from {self.session.actor.profile} to {self.callee}"

    @property
    def deadline(self) -> float:
        return self.started + self.plan.response_timeout

    @property
    def seconds_told(self) -> float:
        """The most seconds that the callee may be told: those of a scope where it counts (C3)."""
        if self.parent is not None:
            return self._seconds(self.parent.deadline)
        if self.callee is not None and self.callee.profile.understands_cancellation:
            return self.plan.response_timeout
        return self._seconds(math.inf)

    @property
    def seconds_at_least(self) -> float:
        """The least seconds that the call may have: the handler that makes it may have waited."""
        return self._seconds(self.parent.earliest_deadline if self.parent else math.inf)

    def _seconds(self, end: float) -> float:
        plan = self.plan
        patience = math.inf if plan.cancel_after is None else plan.cancel_after
        return min(plan.response_timeout, patience, end - self.started)

    @property
    def outcome_name(self) -> str:
        if isinstance(self.outcome, RpcError):
            code = self.outcome.code
            ended = self.session.ended
            if code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED and (
                ended is not None and ended < self.started
            ):
                return "not in the room"
            return RAISED if code >= 2000 else f"{code}"
        if isinstance(self.outcome, (trio.Cancelled, asyncio.CancelledError)):
            return CANCELLED
        return "returned" if isinstance(self.outcome, str) else repr(self.outcome)

"""The invariants of a run, whatever goes wrong: checked after every step.

* A call has exactly one outcome, by its deadline.
* No outcome without its cause: a response belongs to its request, and an error to what went wrong.
* No handler runs twice for a request.
* A participant stays in the room until something is done that ends its session.
* What a participant holds for others is within its limits at any time.
* When all is done, nothing is left.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NoReturn

from attrs import define, field

from trio_rpc import DisconnectReason, Room, RpcError, RpcInvocationData
from trio_rpc.client.statistics import RoomStatistics
from trio_rpc.protocol.budgets import DEFAULT_MAX_PEERS_BYTES
from trio_rpc.streams.incoming import DEFAULT_MAX_STREAMS

from .causes import EPSILON, missing_cause
from .hostile_causes import missing_hostile_cause
from .outages.causes import missing_outage_cause
from .records import CallRecord, Run, Session
from .scenario import Scenario

#: Seconds that a link may have stalled before it is given up: the ping timeout, and some more.
_STALLED_BEFORE: Final = 20.0


class ViolationError(AssertionError):
    """Something that must not happen."""


@define
class Checker:
    """A checker that gets each step, and raises `ViolationError`.

    Attributes:
        steps: How many there were.
        outcomes: How often calls ended in which way.
        violation: The first that there was.
        on_violation: Called when there is one.
        on_step: Called with each step.
    """

    scenario: Scenario
    steps: int = 0
    outcomes: Counter[str] = field(factory=Counter)
    violation: str | None = None
    on_violation: Callable[[], object] = lambda: None
    on_step: Callable[[str], object] = lambda _step: None
    records: dict[int, CallRecord] = field(factory=dict)
    sessions: list[Session] = field(factory=list)
    _present: list[Session] = field(factory=list)
    _requests: set[tuple[str, str]] = field(factory=set)
    _open_calls: Counter[int] = field(factory=Counter)
    _trace: Any = field(factory=sha256)
    _last_steps: deque[str] = field(factory=lambda: deque(maxlen=40))

    @property
    def trace(self) -> str:
        """A digest of all steps: equal for runs that are equal."""
        return str(self._trace.hexdigest())

    @property
    def last_steps(self) -> str:
        return "\n".join(self._last_steps)

    def call_started(self, record: CallRecord) -> None:
        self.records[record.plan.number] = record
        self._open_calls[id(record.session.room)] += 1
        self._step(record.started, f"call {record.plan.number} {record.plan.caller} starts")

    def call_ended(self, record: CallRecord, now: float, outcome: object) -> None:
        number = record.plan.number
        self._open_calls[id(record.session.room)] -= 1
        if record.ended is not None:
            self.fail(f"call {number} has ended twice")
        record.ended, record.outcome = now, outcome
        self.outcomes[record.outcome_name] += 1
        self._step(now, f"call {number} ends: {_brief(outcome)}")
        if now > record.deadline + EPSILON:
            self.fail(f"call {number} ended {now - record.deadline:g} s after its deadline")
        if problem := _missing_cause(record):
            self.fail(
                f"call {number} ended with {_brief(outcome)}, but {problem}: {record.summary}"
            )

    def handler_started(self, data: RpcInvocationData, session: Session, now: float) -> Run:
        record = self.records[json.loads(data.payload)["payload"]]
        number = record.plan.number
        self._step(now, f"handler of call {number} starts at {session.identity}")
        key = data.caller_identity, data.request_id
        if key in self._requests:
            self.fail(f"the handler ran twice for the request of call {number}")
        if record.runs:
            self.fail(f"the handler of call {number} ran twice, for two requests")
        self._requests.add(key)
        if data.payload != record.plan.payload or data.caller_identity != record.plan.caller:
            self.fail(f"the handler of call {number} was given another call's data")
        if not 0 < data.response_timeout <= max(record.seconds_told, 0.001) + EPSILON:
            self.fail(f"the handler of call {number} was given {data.response_timeout} s")
        seconds = data.response_timeout
        run = Run(record, session, now, now + seconds, record.started + seconds)
        record.runs.append(run)
        return run

    def handler_ended(self, run: Run, now: float, what: str) -> None:
        run.ended = now
        self._step(now, f"handler of call {run.record.plan.number} {what}")
        if now > run.deadline + run.grace + EPSILON:
            self.fail(f"the handler of call {run.record.plan.number} outlived its deadline")

    def session_began(self, session: Session, now: float) -> None:
        session.began = now
        self.sessions.append(session)
        self._present.append(session)
        self._step(now, f"{session.identity} joins")

    def session_ended(self, session: Session, now: float, why: str) -> None:
        if session.ended is None:
            session.ended = now
            self._present.remove(session)
            self._step(now, f"{session.identity} is out: {why}")
            is_expected = (
                session.disturbed is not None
                or session.actor.joining
                or session.actor.may_be_gone(now, now)
                or (why == DisconnectReason.DUPLICATE_IDENTITY.name and session.has_rival(now))
            )
            if not is_expected and not session.actor.was_stalled(now - _STALLED_BEFORE, now):
                self.fail(
                    f"{session.identity} is out of the room, though nothing ended its session"
                )

    def other_left(self, session: Session, identity: str, now: float) -> None:
        session.seen_leaving.append((identity, now))
        self._step(now, f"{session.identity} sees {identity} leave")

    def disturbed(self, now: float, what: str) -> None:
        self._step(now, what)

    def all_done(self) -> None:
        """Check the end: every call has ended, after all the time that anything needs to end."""
        for call in self.scenario.calls:
            record = self.records.get(call.number)
            if record is None or record.ended is None:
                self.fail(f"call {call.number} has no outcome")
        for record in self.records.values():
            if record.ended is None:
                self.fail(f"call {record.plan.number} has no outcome")
            for run in record.runs:
                if run.ended is None:
                    self.fail(f"the handler of call {record.plan.number} still runs")
        for session in self.sessions:
            self.nothing_left(session.room)
        for session in self._present:
            # By now, the time of all requests is over.
            if session.room.statistics().held_bytes:
                self.fail(f"{session.identity} holds something: {session.room.statistics()}")

    def nothing_left(self, room: Room) -> None:
        """Check that a room at rest holds nothing."""
        statistics = room.statistics()
        # All but what is held: an answered request is known until its time is over.
        if statistics != RoomStatistics():
            self.fail(f"something is left: {statistics}")

    def _step(self, now: float, what: str) -> None:
        line = f"{now:.6f} {what}"
        self.steps += 1
        self._trace.update(line.encode() + b"\n")
        self._last_steps.append(line)
        self.on_step(line)
        for session in self._present:
            statistics = session.room.statistics()
            # Pending is what was called and not answered, and nothing else.
            if statistics.pending_calls > self._open_calls[id(session.room)]:
                self.fail(f"{session.identity} has more calls pending than there are: {statistics}")
            limits = session.actor.profile.limits
            if statistics.held_bytes > limits.get("max_peers_bytes", DEFAULT_MAX_PEERS_BYTES):
                self.fail(f"{session.identity} holds more than it may: {statistics}")
            if statistics.open_streams > limits.get("max_streams", DEFAULT_MAX_STREAMS):
                self.fail(f"{session.identity} has more streams open than it may: {statistics}")

    def fail(self, what: str) -> NoReturn:
        """Report a violation.

        Raises:
            ViolationError: always.
        """
        # Kept, since what is raised inside of a handler is a failure of the handler's.
        if self.violation is None:
            self.violation = f"{what}\nafter these steps:\n{self.last_steps}"
            self.on_violation()
        raise ViolationError(what)


def _missing_cause(record: CallRecord) -> str | None:
    if record.callee is not None and record.callee.profile.is_hostile:
        return missing_hostile_cause(record)
    if record.session.actor.profile.reconnects:
        return missing_outage_cause(record)
    return missing_cause(record)


def _brief(outcome: object) -> str:
    if isinstance(outcome, RpcError):
        return str(outcome)[:200]
    return f"{type(outcome).__name__} {str(outcome)[:40]}"

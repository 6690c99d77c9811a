"""What has to hold, whatever goes wrong: checked after every step.

* A call has exactly one outcome, by its deadline.
* No outcome without its cause: a response belongs to its request, and an error to what went wrong.
* No handler runs twice for a request.
* When all is done, nothing is left.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from hashlib import sha256
from typing import Any

from attrs import define, field

from trio_rpc import Room, RpcError, RpcInvocationData

from .causes import EPSILON, missing_cause
from .records import CallRecord, Run, Stay
from .scenario import Scenario


class ViolationError(AssertionError):
    """Something that must not happen."""


@define
class Checker:
    """Is told each step, and raises `ViolationError`.

    Attributes:
        steps: How many there were.
        outcomes: How often calls ended in which way.
        violation: The first that there was.
    """

    scenario: Scenario
    steps: int = 0
    outcomes: Counter[str] = field(factory=Counter)
    violation: str | None = None
    records: dict[int, CallRecord] = field(factory=dict)
    stays: list[Stay] = field(factory=list)
    _present: list[Stay] = field(factory=list)
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
        self._open_calls[id(record.stay.room)] += 1
        self._step(record.started, f"call {record.plan.number} {record.plan.caller} starts")

    def call_ended(self, record: CallRecord, now: float, outcome: object) -> None:
        number = record.plan.number
        self._open_calls[id(record.stay.room)] -= 1
        if record.ended is not None:
            self._fail(f"call {number} has ended twice")
        record.ended, record.outcome = now, outcome
        self.outcomes[record.outcome_name] += 1
        self._step(now, f"call {number} ends: {_brief(outcome)}")
        if now > record.deadline + EPSILON:
            self._fail(f"call {number} ended {now - record.deadline:g} s after its deadline")
        if problem := missing_cause(record):
            self._fail(f"call {number} ended with {_brief(outcome)}, but {problem}: {record}")

    def handler_started(self, data: RpcInvocationData, stay: Stay, now: float) -> Run:
        record = self.records[json.loads(data.payload)["payload"]]
        number = record.plan.number
        self._step(now, f"handler of call {number} starts at {stay.identity}")
        key = data.caller_identity, data.request_id
        if key in self._requests:
            self._fail(f"the handler ran twice for the request of call {number}")
        self._requests.add(key)
        if data.payload != record.plan.payload or data.caller_identity != record.plan.caller:
            self._fail(f"the handler of call {number} was given another call's data")
        if not 0 < data.response_timeout <= max(record.seconds_at_most, 0.001) + EPSILON:
            self._fail(f"the handler of call {number} was given {data.response_timeout} s")
        seconds = data.response_timeout
        run = Run(record, stay, now, now + seconds, record.started + seconds)
        record.runs.append(run)
        return run

    def handler_ended(self, run: Run, now: float, what: str) -> None:
        run.ended = now
        self._step(now, f"handler of call {run.record.plan.number} {what}")
        if now > run.deadline + run.grace + EPSILON:
            self._fail(f"the handler of call {run.record.plan.number} outlived its deadline")

    def stay_began(self, stay: Stay, now: float) -> None:
        stay.began = now
        self.stays.append(stay)
        self._present.append(stay)
        self._step(now, f"{stay.identity} joins")

    def stay_ended(self, stay: Stay, now: float, why: str) -> None:
        if stay.ended is None:
            stay.ended = now
            self._present.remove(stay)
            self._step(now, f"{stay.identity} is out: {why}")

    def other_left(self, stay: Stay, identity: str, now: float) -> None:
        stay.seen_leaving.append((identity, now))
        self._step(now, f"{stay.identity} sees {identity} leave")

    def disturbed(self, now: float, what: str) -> None:
        self._step(now, what)

    def all_done(self) -> None:
        """After the last call, with all the time that anything needs to end."""
        for call in self.scenario.calls:
            record = self.records.get(call.number)
            if record is None or record.ended is None:
                self._fail(f"call {call.number} has no outcome")
        for record in self.records.values():
            if record.ended is None:
                self._fail(f"call {record.plan.number} has no outcome")
            for run in record.runs:
                if run.ended is None:
                    self._fail(f"the handler of call {record.plan.number} still runs")
        for stay in self.stays:
            self.nothing_left(stay.room)

    def nothing_left(self, room: Room) -> None:
        """A room at rest has nothing to do."""
        statistics = room.statistics()
        if statistics.pending_calls or statistics.running_handlers or statistics.open_streams:
            self._fail(f"something is left: {statistics}")

    def _step(self, now: float, what: str) -> None:
        line = f"{now:.6f} {what}"
        self.steps += 1
        self._trace.update(line.encode() + b"\n")
        self._last_steps.append(line)
        # Pending is what was called and not answered, and nothing else.
        for stay in self._present:
            pending = stay.room.statistics().pending_calls
            if pending > self._open_calls[id(stay.room)]:
                self._fail(f"{pending} calls of {stay.identity} are pending: more than there are")

    def _fail(self, what: str) -> None:
        # Kept, since what is raised inside of a handler is a failure of the handler's.
        if self.violation is None:
            self.violation = f"{what}\nafter these steps:\n{self.last_steps}"
        raise ViolationError(what)


def _brief(outcome: object) -> str:
    if isinstance(outcome, RpcError):
        return str(outcome)[:200]
    return f"{type(outcome).__name__} {str(outcome)[:40]}"

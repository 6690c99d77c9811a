"""Streams that are written while the network fails, and their records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import anyio
from attrs import define, field

from trio_rpc import StreamError

from ..records import Actor, Session
from .plan import StreamPlan

TOPIC: Final = "a stream of the simulation"
#: Seconds without anything of a stream after which it may be given up.
_SILENCE: Final = 29.0


@define(eq=False)
class StreamRecord:
    """A stream.

    Attributes:
        written: The time at which all of it was written.
        ended: The time at which its writer ended, in whatever way.
        read: The time at which all of it was read.
    """

    plan: StreamPlan
    session: Session
    receiver: Actor
    started: float
    written: float | None = None
    ended: float | None = None
    read: float | None = None

    def may_break(self, now: float) -> bool:
        """Whether one of the two sides was out of the room since the start, or may have been."""
        disturbed = self.session.disturbed
        return (
            (disturbed is not None and disturbed <= now)
            or not self.session.actor.was_there(self.started, now)
            or not self.receiver.was_there(self.started, now)
            or any(
                not outage.resumed or outage.ended - outage.began > _SILENCE
                for actor in (self.session.actor, self.receiver)
                for outage in actor.outages_in(self.started, now)
            )
        )

    @property
    def arrived_by(self) -> float:
        """The time by which all that was written has arrived."""
        until = (self.written or math.inf) + 1
        for actor in (self.session.actor, self.receiver):
            ends = (each.ended + 1 for each in actor.outages_in(self.started, until))
            until = max((until, *ends))
        return until


@define(eq=False)
class Streams:
    """The streams of a run.

    Args:
        step: Records a step.
        fail: Reports a violation.
    """

    _step: Callable[[float, str], object]
    _fail: Callable[[str], object]
    records: dict[int, StreamRecord] = field(factory=dict[int, StreamRecord])

    def is_open(self, actor: Actor, since: float) -> bool:
        """Whether a stream from or to a participant has begun before a time, and not ended."""
        return any(
            each.ended is None
            and each.started < since
            and actor in (each.session.actor, each.receiver)
            for each in self.records.values()
        )

    async def write(self, plan: StreamPlan, session: Session, receiver: Actor) -> None:
        """Write a stream, piece by piece."""
        record = StreamRecord(plan, session, receiver, anyio.current_time())
        self.records[plan.number] = record
        name = f"stream {plan.number} of {session.identity}"
        self._step(record.started, f"{name} to {plan.receiver} begins")
        what = "is cancelled"
        try:
            async with session.room.local_participant.stream_text(
                topic=TOPIC, destination_identities=[plan.receiver]
            ) as writer:
                for number in range(plan.pieces):
                    await writer.write(plan.piece(number))
                    await anyio.sleep(plan.pause)
            record.written = anyio.current_time()
            what = "is written"
        except StreamError as error:
            what = f"breaks off: {error}"
            if not record.may_break(anyio.current_time()):
                self._fail(f"{name} broke off while it was written: {error}")
        finally:
            record.ended = anyio.current_time()
            self._step(record.ended, f"{name} {what}")

    async def read(self, reader: Any, sender: str, session: Session) -> None:
        """Read a stream, and check its text."""
        number: int | None = None
        text = ""
        try:
            async for piece in reader:
                text += piece
                if number is None:
                    number = int(text.partition(":")[0])
        except StreamError as error:
            now = anyio.current_time()
            self._step(now, f"{session.identity} reads a part of stream {number} of {sender}")
            if number is not None and not self.records[number].may_break(now):
                self._fail(f"stream {number} broke off while it was read: {error}")
            return
        if number is not None:
            self._on_read(self.records[number], text)

    def _on_read(self, record: StreamRecord, text: str) -> None:
        number = record.plan.number
        if text != record.plan.text:
            self._fail(f"stream {number} was read as {text!r}")
        if record.read is not None:
            self._fail(f"stream {number} was read twice")
        record.read = anyio.current_time()
        self._step(record.read, f"stream {number} is read")

    def check_end(self) -> None:
        """Check that all streams that were written were read."""
        for number, record in self.records.items():
            if record.written is None or record.read is not None:
                continue
            if not record.may_break(record.arrived_by):
                self._fail(f"stream {number} was written, and never read")

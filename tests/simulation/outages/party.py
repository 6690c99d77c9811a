"""The part of a run with outages that is not a participant's own: streams, and the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from trio_rpc import DataPacket, RpcInvocationData

from ..checker import Checker
from ..records import RAISED, Session
from ..sometimes import Sometimes
from .facts import (
    FACTS,
    KEPT,
    REJOINED,
    REPEATED,
    REPLACED_HALF_OPEN,
    RESUME_REFUSED,
    RESUMED,
    RESUMED_IN_A_STREAM,
    WAITED,
)
from .notices import TOPIC as NOTICE_TOPIC
from .notices import Notices
from .plan import OutageScenario, StreamPlan
from .streams import TOPIC, Streams

if TYPE_CHECKING:
    from ..world import World

#: Seconds that reconnecting may take once the network is back: the longest delay of an attempt.
_RECONNECTING: Final = 7.5
#: Seconds of an outage that a call has waited out.
_LONG: Final = 1.0


class OutageParty:
    """The streams and the restarts of the server of a run; its `Visitors`."""

    def __init__(self, scenario: OutageScenario, checker: Checker) -> None:
        self._scenario = scenario
        self._checker = checker
        self._streams = Streams(checker.disturbed, checker.fail)
        self._notices = Notices(checker.fail)
        self.sometimes = Sometimes(FACTS)

    async def play(self, world: World) -> None:
        """Write the streams, send notices, and restart the server."""
        async with anyio.create_task_group() as notices:
            notices.start_soon(self._notices.send, world)
            async with anyio.create_task_group() as writers:
                writers.start_soon(self._restart_servers, world)
                for plan in self._scenario.streams:
                    await anyio.sleep_until(plan.at)
                    writers.start_soon(self._write, world, plan)
            # Until what was written last has arrived
            await anyio.sleep(30)
            notices.cancel_scope.cancel()
        self._streams.check_end()
        self._count_waits()
        self._count_repeats()

    async def _restart_servers(self, world: World) -> None:
        for at in self._scenario.server_restarts:
            await anyio.sleep_until(at)
            self._checker.disturbed(anyio.current_time(), "the server is restarted")
            world.restart_server()

    async def _write(self, world: World, plan: StreamPlan) -> None:
        session = world.session_of(plan.sender)
        if session.is_present:
            await self._streams.write(plan, session, world.actor(plan.receiver))

    @contextmanager
    def receive(self, session: Session) -> Iterator[None]:
        """Read the streams that come to a room, and notice when it reconnects."""
        room = session.room

        async def read(reader: Any, sender: str) -> None:
            await self._streams.read(reader, sender, session)

        def on_reconnected(resumed: bool) -> None:
            self._on_reconnected(session, resumed=resumed)

        def on_data(packet: DataPacket) -> None:
            if packet.topic == NOTICE_TOPIC:
                self._notices.on_received(session, packet.data)

        room.register_text_stream_handler(TOPIC, read)
        room.on("data_received", on_data)
        room.on("reconnected", on_reconnected)
        try:
            yield
        finally:
            room.unregister_text_stream_handler(TOPIC)
            room.off("data_received", on_data)
            room.off("reconnected", on_reconnected)

    def _on_reconnected(self, session: Session, *, resumed: bool) -> None:
        now = anyio.current_time()
        actor, identity = session.actor, session.identity
        outages = actor.end_outages(now, resumed=resumed)
        self._checker.disturbed(now, f"{identity} is back: {resumed=}")
        if session.disturbed is not None or session.has_rival(now):
            # One that was replaced or removed while it was away rejoins, in place of its rival.
            return
        if not outages:
            self._checker.fail(f"{identity} reconnected, though nothing ended its connection")
        due = max(max(each.over, each.noticed) for each in outages) + _RECONNECTING
        if now > due:
            self._checker.fail(f"{identity} reconnected {now - due:g} s too late")
        if not resumed:
            # It tries to resume first.
            self.sometimes.reach(RESUME_REFUSED)
            self.sometimes.reach(REJOINED)
            return
        self.sometimes.reach(RESUMED)
        if any(each.noticed > each.began for each in outages):
            self.sometimes.reach(REPLACED_HALF_OPEN)
        if self._streams.is_open(actor, since=min(each.began for each in outages)):
            self.sometimes.reach(RESUMED_IN_A_STREAM)

    def _count_repeats(self) -> None:
        for record in self._checker.records.values():
            if record.repeated is None:
                continue
            self.sometimes.reach(REPEATED)
            is_answered = isinstance(record.outcome, str) or record.outcome_name == RAISED
            if is_answered and any((run.ended or 0) < record.repeated for run in record.runs):
                self.sometimes.reach(KEPT)

    def _count_waits(self) -> None:
        for record in self._checker.records.values():
            actors = [record.session.actor, *([record.callee] if record.callee else [])]
            if isinstance(record.outcome, str) and any(
                record.started < each.began and each.ended < (record.ended or 0)
                for actor in actors
                for each in actor.outages_in(record.started, record.started + 30)
                if each.ended - each.began > _LONG
            ):
                self.sometimes.reach(WAITED)

    # As visitors, they neither call nor answer.

    def is_from_one(self, data: RpcInvocationData) -> bool:
        """Return False: they don't call."""
        del data
        return False

    async def answer(self, data: RpcInvocationData, session: Session) -> str:
        """Raise an error: they don't call."""
        raise NotImplementedError

    def may_hold_up(self, since: float, until: float) -> float:
        """Return 0: they don't hold up anybody."""
        del since, until
        return 0.0

    def overhear(self, request_id: str, caller: str, callee: str) -> None:
        """Do nothing."""

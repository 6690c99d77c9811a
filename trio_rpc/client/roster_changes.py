"""The effects of changes in the roster, on calls and on the program's tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..concurrency import Notifier
from ..events import ParticipantConnected, ParticipantDisconnected, RoomEvent
from ..rpc.endpoint import RpcEndpoint
from .roster import Roster


class RosterChanges:
    """The changes in the roster of one session.

    Args:
        changed: Wakes the tasks that wait for a change.
        rpc: The calls and streams of the participants.
        emit: Takes the events, in order.
        on_changed: Called after each change.
    """

    def __init__(
        self,
        changed: Notifier,
        roster: Roster,
        rpc: RpcEndpoint,
        emit: Callable[[RoomEvent], None],
        on_changed: Callable[[], None],
    ) -> None:
        self._changed = changed
        self._roster = roster
        self._rpc = rpc
        self._emit = emit
        self._on_changed = on_changed

    async def wait(self) -> None:
        """Wait for the next change, or the end of the session."""
        await self._changed.wait()

    def apply(self, events: Iterable[RoomEvent], expected: Collection[str] = ()) -> None:
        """Apply changes, and emit their events.

        Args:
            expected: The identities of participants that have not left for good: they are expected
                back (L9).
        """
        for event in events:
            match event:
                case ParticipantDisconnected(participant) if participant.identity in expected:
                    pass
                case ParticipantDisconnected(participant) if self._roster.is_replacing:
                    self._rpc.on_participant_replaced(participant)
                case ParticipantDisconnected(participant):
                    self._rpc.on_participant_left(participant)
                case ParticipantConnected(participant):
                    self._rpc.on_participant_joined(participant)
                case _:
                    pass
            self._emit(event)
        self._on_changed()
        self.announce()

    def announce(self) -> None:
        """Wake the tasks that wait for a change."""
        self._changed.notify()

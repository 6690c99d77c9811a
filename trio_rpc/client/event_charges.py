"""The charges for events that the program has not taken yet (B4)."""

from __future__ import annotations

import sys
from collections import deque
from typing import Final

from attrs import define, field

from ..events import (
    DataReceived,
    ParticipantAttributesChanged,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    RoomEvent,
    SipDTMFReceived,
    TrackMuted,
    TrackUnmuted,
    TranscriptionReceived,
)
from ..participant import Participant
from ..protocol.budgets import Budget

#: The bytes of a segment of a transcription besides its texts.
_SEGMENT_BYTES: Final = 200


def content_of(event: RoomEvent) -> tuple[str, int] | None:
    """Return the identity of the participant that caused an event, and the bytes of its content.

    The identity of a hidden sender is `""`.

    Returns:
        None for an event that no participant is charged for, such as joining and leaving: a
        participant must not suppress its own departure by what it has sent.
    """
    participant: Participant | None
    match event:
        case DataReceived(packet):
            participant, size = packet.participant, len(packet.data)
        case SipDTMFReceived(dtmf):
            participant, size = dtmf.participant, 0
        case TranscriptionReceived(segments, participant):
            size = sum(
                _SEGMENT_BYTES + sys.getsizeof(each.id) + sys.getsizeof(each.text)
                for each in segments
            )
        case TrackMuted(participant, publication) | TrackUnmuted(participant, publication):
            size = sys.getsizeof(publication.name)
        case ParticipantMetadataChanged(participant, old, new):
            size = sys.getsizeof(old) + sys.getsizeof(new)
        case ParticipantNameChanged(participant, old, new):
            size = sys.getsizeof(old) + sys.getsizeof(new)
        case ParticipantAttributesChanged(changed, participant):
            size = sum(map(sys.getsizeof, (*changed, *changed.values())))
        case _:
            return None
    return "" if participant is None else participant.identity, size


@define(eq=False)
class HeldEvents:
    """The charges for the events that a stream holds, in order."""

    _charges: deque[tuple[Budget, str, int]] = field(
        init=False, factory=deque[tuple[Budget, str, int]]
    )

    def charge(self, budget: Budget, peer: str, size: int) -> None:
        """Charge the next event.

        Args:
            size: Bytes; 0 for an event that no participant is charged for.

        Raises:
            BudgetExceededError: the charge would exceed a limit; the event must not be held.
        """
        if size:
            budget.charge(peer, size)
        self._charges.append((budget, peer, size))

    def refund_oldest(self) -> None:
        """Refund the event that came first."""
        self._refund(*self._charges.popleft())

    def refund_newest(self) -> None:
        """Refund the event that came last."""
        self._refund(*self._charges.pop())

    def refund_all(self) -> None:
        """Refund all events."""
        while self._charges:
            self.refund_oldest()

    def _refund(self, budget: Budget, peer: str, size: int) -> None:
        if size:
            budget.refund(peer, size)

"""Rooms in which agents are left alone."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from ...participant import ParticipantKind
from .member import Member


@define
class AgentsAlone:
    """The time for which a room has had agents alone.

    An agent does not leave by itself when its participant has: as on LiveKit's server, the room
    counts as one without participants, and is closed after the same timeouts.
    """

    _since: float | None = None
    _was_used: bool = False

    def is_over(
        self, members: Iterable[Member], empty_timeout: int, departure_timeout: int, now: float
    ) -> bool:
        """Return whether the agents have been alone for too long.

        Args:
            empty_timeout: Seconds before the first other participant.
            departure_timeout: Seconds after the last one.
            now: The present time; this is called now and then.
        """
        if any(member.kind is not ParticipantKind.AGENT for member in members):
            self._since, self._was_used = None, True
        elif self._since is None:
            self._since = now
        else:
            timeout = departure_timeout if self._was_used else empty_timeout
            return now >= self._since + timeout
        return False

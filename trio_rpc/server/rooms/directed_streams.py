"""Where a participant's data streams go, for those whose SDK says so in the header alone.

LiveKit's Rust SDK had versions that forget the destinations in chunks and trailers (P4). Taken at
their word, these would go to everybody in the room, and miss a call of the server's own. So the
server remembers where each open stream goes, for as long as it is open; a chunk that names nobody,
of a stream that the server knows nothing of, goes to nobody.

Of a stream that answers a call, it remembers which: the answer is broken off where whoever asked
for it does not read it (B8).

What is remembered is bounded in number, and charged to the participant's budget (B4, B5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from ...protocol.budgets import Budget, BudgetExceededError
from ...protocol.limits import utf8_length
from ..limits import DEFAULT_MAX_OPEN_STREAMS

#: Seconds without a chunk after which a stream makes room for others, when there are too many.
_SILENCE: Final = 30.0
#: What an open stream costs besides its texts, and what each of its destinations does.
_STREAM_COST: Final = 400
_DESTINATION_COST: Final = 80


class TooManyStreamsError(Exception):
    """The stream cannot be remembered, and so must not begin; the text says why."""


@define(eq=False)
class OpenStream:
    """A stream that has begun.

    Attributes:
        answers: The id of the request that it answers, if it does and was asked for.
        broken_off: Whether the rest of it goes to nobody.
    """

    destinations: tuple[str, ...]
    size: int
    last_received: float
    answers: str = ""
    broken_off: bool = False


@define(eq=False)
class DirectedStreams:
    """The open streams of one participant.

    Args:
        owner: Whose they are, as `budget` knows it.
        budget: Where they are charged.
        max_open: How many may be open.
    """

    _owner: str
    _budget: Budget
    _max_open: int = DEFAULT_MAX_OPEN_STREAMS
    # The one that was silent for longest is first
    _open: dict[str, OpenStream] = field(init=False, factory=dict[str, OpenStream])

    def __len__(self) -> int:
        return len(self._open)

    def get(self, stream_id: str) -> OpenStream | None:
        """Return a stream, if it is open."""
        return self._open.get(stream_id)

    def destinations(self, stream_id: str) -> Sequence[str] | None:
        """Return the destinations that a stream began with, or None if it is not open."""
        stream = self._open.get(stream_id)
        return None if stream is None else stream.destinations

    def on_header(self, stream_id: str, destinations: Sequence[str], now: float) -> None:
        """Remember a stream that begins.

        Args:
            destinations: Where it goes; empty for everybody.
            now: The time, on any clock, in seconds.

        Raises:
            TooManyStreamsError: it would be one too many, or be more than the participant may have
                us hold.
        """
        self._forget(stream_id)
        self._make_room(now)
        texts = utf8_length(stream_id) + sum(map(utf8_length, destinations))
        size = _STREAM_COST + texts + _DESTINATION_COST * len(destinations)
        try:
            self._budget.charge(self._owner, size)
        except BudgetExceededError as error:
            raise TooManyStreamsError(str(error)) from None
        self._open[stream_id] = OpenStream(tuple(destinations), size, now)

    def on_chunk(self, stream_id: str, now: float) -> OpenStream | None:
        """Note that a stream goes on, and return it, if it is open."""
        stream = self._open.pop(stream_id, None)
        if stream is not None:
            stream.last_received = now
            self._open[stream_id] = stream
        return stream

    def on_trailer(self, stream_id: str) -> OpenStream | None:
        """Forget a stream, which ends, and return it, if it was open."""
        return self._forget(stream_id)

    def forget_all(self) -> None:
        """Forget all streams: the participant is gone."""
        for stream_id in tuple(self._open):
            self._forget(stream_id)

    def _make_room(self, now: float) -> None:
        while len(self._open) >= self._max_open:
            oldest, stream = next(iter(self._open.items()))
            if now - stream.last_received < _SILENCE:
                # Chunks of it that name nobody would be lost.
                raise TooManyStreamsError(
                    f"{len(self._open):,} streams of it are open, which is the limit"
                )
            self._forget(oldest)

    def _forget(self, stream_id: str) -> OpenStream | None:
        stream = self._open.pop(stream_id, None)
        if stream is not None:
            self._budget.refund(self._owner, stream.size)
        return stream

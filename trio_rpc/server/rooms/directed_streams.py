"""The destinations of a participant's open data streams.

Some versions of LiveKit's Rust SDK name the destinations in the header alone, and forget them in
chunks and trailers (P4). Taken literally, these would go to everybody in the room, and not to the
server's own calls. So the server keeps the destinations of each open stream; a chunk that names
none, of a stream that is not open, goes to nobody.

For a stream that answers a call, the id of the request is kept too: the response is broken off if
the caller does not read it (B8).

The number of streams is bounded, and they are charged to the participant's budget (B4, B5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from ...protocol.budgets import Budget, BudgetExceededError
from ...protocol.limits import utf8_length
from ..limits import DEFAULT_MAX_OPEN_STREAMS

#: Seconds without a chunk after which a stream may be forgotten, when there are too many.
_SILENCE: Final = 30.0
#: The bytes charged for an open stream besides its texts, and for each of its destinations.
_STREAM_COST: Final = 400
_DESTINATION_COST: Final = 80


class TooManyStreamsError(Exception):
    """A stream must not begin, since it cannot be remembered; the text says why."""


@define(eq=False)
class OpenStream:
    """A stream that has begun.

    Attributes:
        last_received: The time of its last packet, in seconds.
        answers: The id of the request that the stream answers, if one was sent; or `""`.
        broken_off: Whether the rest of the stream goes to nobody.
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
        owner: The participant's name in `budget`.
        budget: Charged for the streams.
        max_open: The most open streams.
    """

    _owner: str
    _budget: Budget
    _max_open: int = DEFAULT_MAX_OPEN_STREAMS
    # The stream that was silent for longest is first
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
            destinations: The destinations; empty for everybody.
            now: The time, on any clock, in seconds.

        Raises:
            TooManyStreamsError: the participant has too many open streams, or its budget is
                exceeded.
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
        """Record a chunk, and return its stream; None if the stream is not open."""
        stream = self._open.pop(stream_id, None)
        if stream is not None:
            stream.last_received = now
            self._open[stream_id] = stream
        return stream

    def on_trailer(self, stream_id: str) -> OpenStream | None:
        """Forget a stream that ends, and return it; None if it was not open."""
        return self._forget(stream_id)

    def forget_all(self) -> None:
        """Forget all streams: the participant is gone."""
        for stream_id in tuple(self._open):
            self._forget(stream_id)

    def _make_room(self, now: float) -> None:
        while len(self._open) >= self._max_open:
            oldest, stream = next(iter(self._open.items()))
            if now - stream.last_received < _SILENCE:
                # Chunks without destinations would be lost.
                raise TooManyStreamsError(
                    f"{len(self._open):,} streams of it are open, which is the limit"
                )
            self._forget(oldest)

    def _forget(self, stream_id: str) -> OpenStream | None:
        stream = self._open.pop(stream_id, None)
        if stream is not None:
            self._budget.refund(self._owner, stream.size)
        return stream

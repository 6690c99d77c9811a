"""Where a participant's data streams go, for those whose SDK says so in the header alone.

LiveKit's Rust SDK had versions that forget the destinations in chunks and trailers (P4). Taken at
their word, these would go to everybody in the room, and miss a call of the server's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from livekit.protocol import models

#: How many streams of one participant may be open with destinations; older ones are forgotten.
_MAX_STREAMS: Final = 1_024


class DirectedStreams:
    """The open streams of one participant that are not for everybody."""

    def __init__(self) -> None:
        self._destinations: dict[str, Sequence[str]] = {}

    def on_header(self, header: models.DataStream.Header, destinations: Sequence[str]) -> None:
        """A stream begins; one whose content is in the header has ended with it."""
        if destinations and not header.HasField("inline_content"):
            if len(self._destinations) >= _MAX_STREAMS:
                del self._destinations[next(iter(self._destinations))]
            self._destinations[header.stream_id] = tuple(destinations)

    def of_chunk(self, stream_id: str) -> Sequence[str]:
        """Where a chunk goes that names no destinations; empty for everybody."""
        return self._destinations.get(stream_id, ())

    def of_trailer(self, stream_id: str) -> Sequence[str]:
        """Where a trailer goes that names no destinations; the stream ends."""
        return self._destinations.pop(stream_id, ())

"""The contract of a link that carries audio and video beside signalling and packets."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Protocol

from ..participant import LocalTrack
from ..participant.tracks import Receiver


class MediaLink(Protocol):
    """The audio and video of one link. Its signalling is the session's."""

    @property
    def receivers(self) -> Mapping[str, Receiver]:
        """The receivers of the tracks that come in, by SID."""
        ...

    @property
    def rejected(self) -> Set[str]:
        """Our ids of the tracks that we send, and whose codecs the server does not take."""
        ...

    async def wait_changed(self) -> None:
        """Wait until other tracks come in, or are rejected."""
        ...

    def publish(self, cid: str, track: LocalTrack) -> None:
        """Send a track that the server expects, until `unpublish`.

        Args:
            cid: Our id of the track, which the server was told.
        """
        ...

    def mute(self, cid: str, muted: bool) -> None:
        """Send silence in place of a track, or the track again."""
        ...

    def unpublish(self, cid: str) -> None:
        """Send a track no more; not an error if it is not sent."""
        ...

"""The audio and video of a link to one of LiveKit's servers, in the program's event loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...participant import LocalTrack
from ...participant.tracks import Receiver
from ...webrtc.media.audio_queue import AudioQueue
from ...webrtc.stream import PeerStream

if TYPE_CHECKING:
    from .peer import OfferingPeer


class WebRTCMedia:
    """The `MediaLink` of a link.

    Args:
        stream: The stream of its peer connections.

    Attributes:
        peer: The peer, once it is started.
    """

    def __init__(self, stream: PeerStream) -> None:
        self._stream = stream
        self.peer: OfferingPeer | None = None
        self._sent: dict[str, tuple[LocalTrack, AudioQueue]] = {}

    @property
    def receivers(self) -> Mapping[str, Receiver]:
        return self._stream.receivers

    async def wait_changed(self) -> None:
        await self._stream.receivers_changed.wait()

    def publish(self, cid: str, track: LocalTrack) -> None:
        source = track._source
        queue = AudioQueue(source.sample_rate, source.num_channels, source.queue_size)
        queue.muted = track.muted
        source.attach(queue)
        self._sent[cid] = track, queue
        if self.peer is not None:
            self._stream.call(self.peer.publish, cid, queue)

    def mute(self, cid: str, muted: bool) -> None:
        if cid in self._sent:
            _, queue = self._sent[cid]
            queue.muted = muted

    def unpublish(self, cid: str) -> None:
        if cid in self._sent:
            track, queue = self._sent.pop(cid)
            track._source.detach(queue)
            if self.peer is not None:
                self._stream.call(self.peer.unpublish, cid)

    def end(self) -> None:
        """Take no further frames from our tracks."""
        for track, queue in self._sent.values():
            track._source.detach(queue)
        self._sent.clear()

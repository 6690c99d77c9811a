"""The audio and video of a link to one of LiveKit's servers, in the program's event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from ...participant import LocalAudioTrack, LocalTrack, LocalVideoTrack
from ...participant.tracks import Receiver
from ...webrtc.media.audio_queue import AudioQueue
from ...webrtc.media.video_slot import VideoSlot
from ...webrtc.stream import PeerStream

if TYPE_CHECKING:
    from .peer import OfferingPeer


@frozen
class _Sent:
    """A track that is sent.

    Attributes:
        media: The frames that wait to be sent.
        detach: Has its source fill them no more.
    """

    media: AudioQueue | VideoSlot
    detach: Callable[[], None]


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
        self._sent: dict[str, _Sent] = {}

    @property
    def receivers(self) -> Mapping[str, Receiver]:
        return self._stream.receivers

    @property
    def rejected(self) -> Set[str]:
        return self._stream.rejected

    async def wait_changed(self) -> None:
        await self._stream.media_changed.wait()

    def publish(self, cid: str, track: LocalTrack) -> None:
        sent = self._sent[cid] = _send(track)
        sent.media.muted = track.muted
        if self.peer is not None:
            self._stream.call(self.peer.publish, cid, sent.media)

    def mute(self, cid: str, muted: bool) -> None:
        if cid in self._sent:
            self._sent[cid].media.muted = muted

    def unpublish(self, cid: str) -> None:
        if cid in self._sent:
            self._sent.pop(cid).detach()
            if self.peer is not None:
                self._stream.call(self.peer.unpublish, cid)

    def end(self) -> None:
        """Take no further frames from our tracks."""
        for sent in self._sent.values():
            sent.detach()
        self._sent.clear()


def _send(track: LocalTrack) -> _Sent:
    """Have the source of a track fill a queue, or a slot."""
    match track:
        case LocalAudioTrack(_source=sounds):
            queue = AudioQueue(sounds.sample_rate, sounds.num_channels, sounds.queue_size)
            sounds.attach(queue)
            return _Sent(queue, partial(sounds.detach, queue))
        case LocalVideoTrack(_source=pictures):
            slot = VideoSlot()
            pictures.attach(slot)
            return _Sent(slot, partial(pictures.detach, slot))
        case _:
            raise TypeError(f"{track!r} has no source")

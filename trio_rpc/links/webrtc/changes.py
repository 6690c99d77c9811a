"""The changes that the next offer of ours is to make. No I/O."""

from __future__ import annotations

from attrs import define, field

from ...webrtc.media.audio_queue import AudioQueue
from ...webrtc.media.video_slot import VideoSlot


@define(eq=False)
class Changes:
    """The changes that wait while the answer to an offer is outstanding.

    A server may never answer. So there are no more than one for each track that is sent, or is to
    be, and the server's wishes are added up (M10).

    Attributes:
        tracks: The media of the tracks to send, by our id, in order; None for one to send no more.
        audios, videos: The numbers of further tracks to receive.
        are_wanted: Whether to offer, if only what was offered before.
    """

    tracks: dict[str, AudioQueue | VideoSlot | None] = field(
        factory=dict[str, AudioQueue | VideoSlot | None]
    )
    audios: int = 0
    videos: int = 0
    are_wanted: bool = False

    def publish(self, cid: str, media: AudioQueue | VideoSlot) -> None:
        """Send a track, by our id of it."""
        self.are_wanted = True
        self.tracks[cid] = media

    def unpublish(self, cid: str) -> None:
        """Send a track no more; one that was only to be sent is forgotten."""
        self.are_wanted = True
        if self.tracks.pop(cid, None) is None:
            self.tracks[cid] = None

    def require(self, audios: int, videos: int) -> None:
        """Receive so many more tracks."""
        self.are_wanted = True
        self.audios += audios
        self.videos += videos

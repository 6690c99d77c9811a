"""The options for publishing a track."""

from __future__ import annotations

from attrs import define
from livekit.protocol import models, rtc

from ...participant import LocalTrack, TrackKind, TrackSource


@define
class TrackPublishOptions:
    """The options of `LocalParticipant.publish_track`, as LiveKit's SDK has them.

    Attributes:
        source: The device or program that the track comes from. A server may allow some only.
        stream: The name of a group of tracks that are played in step; empty for none.
        dtx: Whether silence may be left out of audio. Without effect: silence is sent.
        red: Without effect: audio is sent once.
    """

    source: TrackSource = TrackSource.SOURCE_UNKNOWN
    stream: str = ""
    dtx: bool = True
    red: bool = True

    def request(self, cid: str, track: LocalTrack) -> rtc.AddTrackRequest:
        """Return the request to publish a track.

        Args:
            cid: Our id of the track.
        """
        is_audio = track.kind is TrackKind.KIND_AUDIO
        return rtc.AddTrackRequest(
            cid=cid,
            name=track.name,
            type=models.AUDIO if is_audio else models.VIDEO,
            source=models.TrackSource.Name(models.TrackSource.ValueType(self.source)),
            muted=track.muted,
            disable_dtx=True,
            disable_red=True,
            stream=self.stream,
        )

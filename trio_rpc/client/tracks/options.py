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
        simulcast: Without effect: video is sent in one quality, as VP8.
    """

    source: TrackSource = TrackSource.SOURCE_UNKNOWN
    stream: str = ""
    dtx: bool = True
    red: bool = True
    simulcast: bool = False

    def request(self, cid: str, track: LocalTrack) -> rtc.AddTrackRequest:
        """Return the request to publish a track.

        Args:
            cid: Our id of the track.
        """
        request = rtc.AddTrackRequest(
            cid=cid,
            name=track.name,
            type=track._info.type,
            source=models.TrackSource.Name(models.TrackSource.ValueType(self.source)),
            muted=track.muted,
            disable_dtx=True,
            disable_red=True,
            stream=self.stream,
        )
        if track.kind is TrackKind.KIND_VIDEO:
            request.width, request.height = track._info.width, track._info.height
            request.layers.add(
                quality=models.VideoQuality.HIGH, width=request.width, height=request.height
            )
        return request

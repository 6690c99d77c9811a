"""The tracks that participants have published, as the server describes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from livekit.protocol import models

from .tracks import (
    LocalTrack,
    RemoteAudioTrack,
    RemoteVideoTrack,
    Track,
    TrackKind,
    TrackSource,
    kind_of,
)


class Subscription(Protocol):
    """An event that is set by the first subscription."""

    async def wait(self) -> None: ...


class TrackPublication:
    """A published track; its properties follow the server's updates."""

    def __init__(self, info: models.TrackInfo) -> None:
        self._info = info

    def _take(self, info: models.TrackInfo) -> None:
        self._info = info

    @property
    def track(self) -> Track | None:
        """The track, where we have it."""
        return None

    @property
    def sid(self) -> str:
        """The id that the server gave the publication."""
        return self._info.sid

    @property
    def name(self) -> str:
        """The name that its publisher gave it."""
        return self._info.name

    @property
    def kind(self) -> TrackKind:
        """The kind of media."""
        return kind_of(self._info)

    @property
    def source(self) -> TrackSource:
        """The device or program that the track comes from."""
        return TrackSource(self._info.source)

    @property
    def simulcasted(self) -> bool:
        """Whether the publisher sends several qualities of it."""
        return self._info.simulcast

    @property
    def width(self) -> int:
        """The width of a video in pixels; 0 where it is not known."""
        return self._info.width

    @property
    def height(self) -> int:
        """The height of a video in pixels; 0 where it is not known."""
        return self._info.height

    @property
    def mime_type(self) -> str:
        """The codec, such as `audio/opus`; empty where it is not known."""
        return self._info.mime_type

    @property
    def muted(self) -> bool:
        """Whether its publisher sends silence, or nothing."""
        return self._info.muted

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.sid} {self.kind.name}>"


class LocalTrackPublication(TrackPublication):
    """A track that we have published."""

    def __init__(self, info: models.TrackInfo, track: LocalTrack, subscribed: Subscription) -> None:
        super().__init__(info)
        self._track: LocalTrack | None = track
        self._subscribed = subscribed

    @property
    def track(self) -> LocalTrack | None:
        """The track; None once it is not published any more."""
        return self._track

    async def wait_for_subscription(self) -> None:
        """Wait until somebody has subscribed to the track."""
        await self._subscribed.wait()


class RemoteTrackPublication(TrackPublication):
    """A track that another participant has published.

    Args:
        info: Its description.
        subscribe: Tells the server whether we subscribe to a track.
    """

    def __init__(
        self,
        info: models.TrackInfo,
        subscribe: Callable[[RemoteTrackPublication, bool], None],
    ) -> None:
        super().__init__(info)
        self._track: RemoteAudioTrack | RemoteVideoTrack | None = None
        self._subscribe = subscribe
        # What the program has asked for; None for what the room does by itself
        self._wanted: bool | None = None

    def _take(self, info: models.TrackInfo) -> None:
        super()._take(info)
        if self._track is not None:
            self._track._info = info

    @property
    def track(self) -> RemoteAudioTrack | RemoteVideoTrack | None:
        """The track, while we receive it."""
        return self._track

    @property
    def subscribed(self) -> bool:
        """Whether we receive the track."""
        return self._track is not None

    def set_subscribed(self, subscribed: bool) -> None:
        """Subscribe to the track, or end the subscription; the events of the room tell when."""
        self._wanted = subscribed
        self._subscribe(self, subscribed)

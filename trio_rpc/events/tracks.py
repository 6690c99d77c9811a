"""The events of audio and video."""

from __future__ import annotations

from attrs import frozen

from ..participant import (
    LocalTrack,
    LocalTrackPublication,
    Participant,
    RemoteParticipant,
    RemoteTrack,
    RemoteTrackPublication,
    TrackPublication,
)
from .base import RoomEvent


@frozen
class LocalTrackPublished(RoomEvent):
    """A track of ours was published."""

    publication: LocalTrackPublication
    track: LocalTrack


@frozen
class LocalTrackRepublished(RoomEvent):
    """A track of ours was published again, after a rejoin, which has changed its SID."""

    publication: LocalTrackPublication
    previous_sid: str


@frozen
class LocalTrackUnpublished(RoomEvent):
    """A track of ours is not published any more."""

    publication: LocalTrackPublication


@frozen
class LocalTrackSubscribed(RoomEvent):
    """Somebody has subscribed to a track of ours, for the first time."""

    track: LocalTrack


@frozen
class TrackPublished(RoomEvent):
    """Another participant has published a track."""

    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackUnpublished(RoomEvent):
    """A track of another participant is not published any more."""

    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackSubscribed(RoomEvent):
    """A track of another participant is received from now on."""

    track: RemoteTrack
    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackUnsubscribed(RoomEvent):
    """A track of another participant is not received any more."""

    track: RemoteTrack
    publication: RemoteTrackPublication
    participant: RemoteParticipant


@frozen
class TrackSubscriptionFailed(RoomEvent):
    """A track of another participant can't be received.

    Attributes:
        error: LiveKit's name of the reason, or "error" and its number where that has no name yet.
    """

    participant: RemoteParticipant
    track_sid: str
    error: str


@frozen
class TrackMuted(RoomEvent):
    """A track is silent from now on; it may be ours."""

    participant: Participant
    publication: TrackPublication


@frozen
class TrackUnmuted(RoomEvent):
    """A track is not silent any more; it may be ours."""

    participant: Participant
    publication: TrackPublication

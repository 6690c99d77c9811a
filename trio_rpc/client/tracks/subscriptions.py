"""The tracks of others that come in, matched with their publications.

A publication is known by signalling, and its media come in by the link, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from livekit.protocol import models, rtc

from ...events import RoomEvent, TrackSubscribed, TrackSubscriptionFailed, TrackUnsubscribed
from ...links import LinkClosedError, LinkFullError
from ...links.media import MediaLink
from ...links.packet_sender import PacketSender
from ...participant import (
    RemoteAudioTrack,
    RemoteParticipant,
    RemoteTrackPublication,
    RemoteVideoTrack,
    TrackKind,
)


class Subscriptions:
    """The subscriptions of one session.

    Args:
        packet_sender: Sends the requests to subscribe.
        remote: The other participants, by identity.
        emit: Takes the events, in order.
    """

    def __init__(
        self,
        packet_sender: PacketSender,
        remote: Mapping[str, RemoteParticipant],
        emit: Callable[[RoomEvent], None],
    ) -> None:
        self._packet_sender = packet_sender
        self._remote = remote
        self._emit = emit
        self._media: MediaLink | None = None

    def use(self, media: MediaLink | None) -> None:
        """Go on with the media of another link, or without any."""
        self._media = media

    def end(self) -> None:
        """End the tracks that come in: the session is over."""
        for participant in self._remote.values():
            for publication in participant.track_publications.values():
                if publication._track is not None:
                    publication._track._end()

    def subscribe(self, publication: RemoteTrackPublication, wanted: bool) -> None:
        """Ask the server to send a track, or not to."""
        for participant in self._remote.values():
            if publication.sid in participant.track_publications:
                self._request(participant, publication.sid, wanted)
        self.match()

    def subscribe_again(self) -> None:
        """Repeat what the program has asked for, to a server that does not know."""
        for participant in self._remote.values():
            for publication in participant.track_publications.values():
                if publication._wanted is not None:
                    self._request(participant, publication.sid, publication._wanted)

    def _request(self, participant: RemoteParticipant, sid: str, wanted: bool) -> None:
        tracks = models.ParticipantTracks(participant_sid=participant.sid, track_sids=[sid])
        update = rtc.UpdateSubscription(
            track_sids=[sid], subscribe=wanted, participant_tracks=[tracks]
        )
        with suppress(LinkFullError, LinkClosedError):
            self._packet_sender.send_signal(rtc.SignalRequest(subscription=update))

    def match(self) -> None:
        """Match the tracks that come in with the publications, and tell the program."""
        if self._media is None:
            return
        receivers = self._media.receivers
        for participant in tuple(self._remote.values()):
            for sid, publication in tuple(participant.track_publications.items()):
                receiver = receivers.get(sid)
                track = publication._track
                if publication._wanted is False:
                    if track is not None:
                        publication._track = None
                        track._end()
                        self._emit(TrackUnsubscribed(track, publication, participant))
                elif track is not None:
                    # After a rejoin there is none for a while.
                    track._receive_from(receiver)
                elif receiver is not None:
                    track = publication._track = _track_of(publication)
                    track._receive_from(receiver)
                    self._emit(TrackSubscribed(track, publication, participant))

    def on_response(self, response: rtc.SubscriptionResponse) -> None:
        """Tell the program that a subscription has failed."""
        for participant in self._remote.values():
            if response.track_sid in participant.track_publications:
                error = _error_name(response.err)
                self._emit(TrackSubscriptionFailed(participant, response.track_sid, error))


def _track_of(publication: RemoteTrackPublication) -> RemoteAudioTrack | RemoteVideoTrack:
    if publication.kind is TrackKind.KIND_VIDEO:
        return RemoteVideoTrack(publication._info)
    return RemoteAudioTrack(publication._info)


def _error_name(error: int) -> str:
    """Return LiveKit's name of the reason of a failure, which a newer server may have made up."""
    try:
        return models.SubscriptionError.Name(error)
    except ValueError:
        return f"error {error}"

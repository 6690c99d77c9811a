"""The audio and video of one session, as its connections see them."""

from __future__ import annotations

from livekit.protocol import rtc

from ...errors import DisconnectedError
from ...links.media import MediaLink
from ...participant import Participant
from ..server_requests import reason_name
from .publishing import Publishing
from .subscriptions import Subscriptions


class SessionTracks:
    """The tracks of one session.

    Args:
        us: Ourselves.
    """

    def __init__(
        self, us: Participant, publishing: Publishing, subscriptions: Subscriptions
    ) -> None:
        self._us = us
        self._publishing = publishing
        self._subscriptions = subscriptions

    def use(self, media: MediaLink | None) -> None:
        """Go on with the media of another link: the first, or that of a rejoin."""
        self._publishing.use(media)
        self._subscriptions.use(media)
        self._subscriptions.subscribe_again()

    async def serve(self, media: MediaLink) -> None:
        """Follow the tracks that come in by a link, or can't be sent, until this is cancelled."""
        while True:
            self._subscriptions.match()
            self._publishing.on_rejected(media.rejected)
            await media.wait_changed()

    def on_roster_changed(self) -> None:
        """Take what the server tells of tracks with the participants."""
        self._publishing.on_update({each.sid: each for each in self._us._info.tracks})
        self._subscriptions.match()

    def on_signal(self, response: rtc.SignalResponse) -> bool:
        """Handle a signalling message; return whether it was about tracks alone."""
        match response.WhichOneof("message"):
            case "track_published":
                self._publishing.on_published(response.track_published)
            case "track_unpublished":
                self._publishing.on_unpublished(response.track_unpublished.track_sid)
            case "mute":
                self._publishing.on_muted(response.mute)
            case "track_subscribed":
                self._publishing.on_subscribed(response.track_subscribed.track_sid)
            case "subscription_response":
                self._subscriptions.on_response(response.subscription_response)
            case "request_response" if response.request_response.HasField("add_track"):
                refusal = response.request_response
                self._publishing.on_refused(refusal, reason_name(refusal.reason))
            case "reconnect":
                self._publishing.request_again()
                self._subscriptions.subscribe_again()
                return False
            case _:
                return False
        return True

    def end(self, disconnection: DisconnectedError) -> None:
        """End all tracks: the session is over."""
        self._publishing.end(disconnection)
        self._subscriptions.end()

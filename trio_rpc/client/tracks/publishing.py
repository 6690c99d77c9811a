"""Our publications, over all connections of a session.

    publish ──AddTrackRequest──► requested ──TrackPublishedResponse──► published
                                                  ▲                        │ unpublish
    another session (a rejoin) ───────────────────┘                        ▼ gone

Whoever publishes waits for the server's response. After a rejoin, the server is asked again for
everything that is published, and gives it another SID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Final

from attrs import define, field
from livekit.protocol import models, rtc

from ...concurrency import Backend, Event
from ...errors import DisconnectedError, PublishTrackError, UnpublishTrackError
from ...events import (
    LocalTrackPublished,
    LocalTrackRepublished,
    LocalTrackSubscribed,
    LocalTrackUnpublished,
    RoomEvent,
    TrackMuted,
    TrackUnmuted,
)
from ...links import LinkClosedError, LinkFullError
from ...links.media import MediaLink
from ...links.packet_sender import PacketSender
from ...participant import LocalTrack, LocalTrackPublication, Participant
from ...protocol.ids import make_uuid
from ...protocol.logs import peer_logger
from .options import TrackPublishOptions

logger = peer_logger(__name__)

#: Seconds in which the server has to respond.
PUBLISH_TIMEOUT: Final = 10.0
#: The most tracks that are published at once, and are to be. Each takes a section of its own in the
#: description of the connection, which has room for 500.
MAX_PUBLISHED: Final = 100
_NO_MEDIA: Final = "this server carries data and no media; LiveKit's servers do"


@define(eq=False)
class _Entry:
    """A track that is published, or is to be.

    Attributes:
        answered: Set by the server's response, and the end of the session.
        subscribed: Set by the first subscription.
    """

    request: rtc.AddTrackRequest
    track: LocalTrack
    answered: Event
    subscribed: Event
    publication: LocalTrackPublication | None = None
    refusal: str = ""
    #: Whether the server is still to respond.
    is_requested: bool = field(default=True)


class Publishing:
    """The publications of one session.

    Args:
        packet_sender: Sends the requests.

    Attributes:
        us: Ourselves.
        emit: Takes the events, in order.
    """

    us: Participant
    emit: Callable[[RoomEvent], None]

    def __init__(self, backend: Backend, packet_sender: PacketSender) -> None:
        self._backend = backend
        self._packet_sender = packet_sender
        self._entries: dict[str, _Entry] = {}
        self._publications: dict[str, LocalTrackPublication] = {}
        self._media: MediaLink | None = None
        self._disconnection: DisconnectedError | None = None

    @property
    def publications(self) -> Mapping[str, LocalTrackPublication]:
        """Our publications, by SID: a view."""
        return MappingProxyType(self._publications)

    async def publish(
        self, track: LocalTrack, options: TrackPublishOptions
    ) -> LocalTrackPublication:
        """Publish a track, and wait until the server has agreed.

        Raises:
            PublishTrackError: it refused, did not respond, or has no media; or the track is
                published already, too many are, or the session is over.
        """
        await self._backend.checkpoint()
        if self._disconnection is not None:
            raise PublishTrackError(
                f"not published: {self._disconnection}"
            ) from self._disconnection
        if self._media is None:
            raise PublishTrackError(f"not published: {_NO_MEDIA}")
        if any(entry.track is track for entry in self._entries.values()):
            raise PublishTrackError(f"{track!r} is published already")
        if len(self._entries) >= MAX_PUBLISHED:
            raise PublishTrackError(
                f"not published: {MAX_PUBLISHED} tracks are, the most at once; unpublish one first"
            )
        cid = f"TR_{make_uuid()}"
        entry = _Entry(
            options.request(cid, track), track, self._backend.event(), self._backend.event()
        )
        self._entries[cid] = entry
        is_kept = False
        try:
            self._request(entry)
            with self._backend.move_on_after(PUBLISH_TIMEOUT):
                await entry.answered.wait()
            is_kept = entry.publication is not None
        finally:
            # Whoever is cancelled has no publication, even if the server has just agreed.
            if not is_kept:
                self._give_up(cid, entry, entry.refusal)
        if entry.publication is None:
            why = entry.refusal or f"the server did not answer within {PUBLISH_TIMEOUT:g} s"
            raise PublishTrackError(f"not published: {why}") from self._disconnection
        return entry.publication

    def unpublish(self, sid: str) -> None:
        """Withdraw a publication.

        Raises:
            UnpublishTrackError: there is no such publication of ours.
        """
        for cid, entry in self._entries.items():
            if entry.publication is not None and entry.publication.sid == sid:
                self._withdraw(cid, entry.publication)
                return
        raise UnpublishTrackError(f"no track of ours is published as {sid!r}")

    def _withdraw(self, cid: str, publication: LocalTrackPublication) -> None:
        self._forget(cid)
        self._publications.pop(publication.sid, None)
        if publication.track is not None:
            publication.track._on_muted = None
        self.emit(LocalTrackUnpublished(publication))
        publication._track = None

    def _forget(self, cid: str) -> None:
        self._entries.pop(cid, None)
        if self._media is not None:
            self._media.unpublish(cid)

    def _request(self, entry: _Entry) -> None:
        entry.is_requested = True
        entry.request.muted = entry.track.muted
        # What is not sent now is sent again over the next connection.
        with suppress(LinkFullError, LinkClosedError):
            self._packet_sender.send_signal(rtc.SignalRequest(add_track=entry.request))

    def _on_muted(self, cid: str, muted: bool) -> None:
        """Tell the server and the program that a track was muted, or not any more."""
        publication = self._entries[cid].publication
        assert publication is not None
        if self._media is not None:
            self._media.mute(cid, muted)
        self._tell_muted(publication)
        event = TrackMuted if muted else TrackUnmuted
        self.emit(event(self.us, publication))

    def _tell_muted(self, publication: LocalTrackPublication) -> None:
        mute = rtc.MuteTrackRequest(sid=publication.sid, muted=publication.muted)
        with suppress(LinkFullError, LinkClosedError):
            self._packet_sender.send_signal(rtc.SignalRequest(mute=mute))

    # The connections

    def use(self, media: MediaLink | None) -> None:
        """Go on with the media of another link, whose server knows of no track of ours."""
        self._media = media
        for cid, entry in tuple(self._entries.items()):
            if media is not None:
                self._request(entry)
            else:
                self._give_up(cid, entry, _NO_MEDIA)

    def request_again(self) -> None:
        """Repeat what the server may not know: requests without a response, and muted tracks."""
        for entry in self._entries.values():
            if entry.is_requested:
                self._request(entry)
            elif entry.publication is not None:
                self._tell_muted(entry.publication)

    def end(self, disconnection: DisconnectedError) -> None:
        """Fail those that wait: the session is over."""
        self._disconnection = disconnection
        for entry in self._entries.values():
            entry.refusal = str(disconnection)
            entry.answered.set()

    # Responses of the server

    def on_published(self, response: rtc.TrackPublishedResponse) -> None:
        """Send a track, which the server has agreed to."""
        entry = self._entries.get(response.cid)
        if entry is None or not entry.is_requested or self._media is None:
            logger.debug("ignored a response about a track that is not to be published")
            return
        entry.is_requested = False
        self._media.publish(response.cid, entry.track)
        publication = entry.publication
        entry.track._info = response.track
        entry.track._on_muted = partial(self._on_muted, response.cid)
        if publication is None:
            publication = LocalTrackPublication(response.track, entry.track, entry.subscribed)
            entry.publication = publication
            self._publications[publication.sid] = publication
            self.emit(LocalTrackPublished(publication, entry.track))
        else:
            previous_sid = publication.sid
            self._publications.pop(previous_sid, None)
            publication._take(response.track)
            self._publications[publication.sid] = publication
            self.emit(LocalTrackRepublished(publication, previous_sid))
        entry.answered.set()

    def on_refused(self, response: rtc.RequestResponse, reason: str) -> None:
        """Give up a track, which the server has refused."""
        cid = response.add_track.cid
        if (entry := self._entries.get(cid)) is not None:
            self._give_up(cid, entry, f"{reason}: {response.message}")

    def on_rejected(self, cids: Set[str]) -> None:
        """Give up tracks that can't be sent, though the server has agreed."""
        for cid, entry in tuple(self._entries.items()):
            if cid in cids:
                self._give_up(cid, entry, "the server takes none of our codecs for it")

    def _give_up(self, cid: str, entry: _Entry, why: str) -> None:
        entry.refusal = why
        entry.answered.set()
        if entry.publication is None:
            self._forget(cid)
        else:
            logger.info("a track is not published any more: %s", why)
            self._withdraw(cid, entry.publication)

    def on_unpublished(self, sid: str) -> None:
        """Withdraw a publication that the server has ended."""
        with suppress(UnpublishTrackError):
            self.unpublish(sid)

    def on_muted(self, request: rtc.MuteTrackRequest) -> None:
        """Mute a track, as the server asks."""
        publication = self._publications.get(request.sid)
        if publication is not None and publication.track is not None:
            publication.track._set_muted(request.muted)

    def on_subscribed(self, sid: str) -> None:
        """Tell the program that somebody has subscribed to a track."""
        for entry in self._entries.values():
            publication = entry.publication
            if publication is not None and publication.sid == sid and not entry.subscribed.is_set():
                entry.subscribed.set()
                self.emit(LocalTrackSubscribed(entry.track))

    def on_update(self, tracks: Mapping[str, models.TrackInfo]) -> None:
        """Take the descriptions of our tracks in an update about ourselves."""
        for sid, publication in self._publications.items():
            if sid in tracks:
                publication._take(tracks[sid])
                if publication.track is not None:
                    publication.track._info = tracks[sid]

"""The audio and video of one peer connection, as we offer them; in the thread of the peers.

Ours are sections that only send; for those of others, sections that only receive are added as the
server asks for them. Its answer says which track comes in by which of them.

A section stays in the description for as long as the connection lives. One whose track is not sent
any more is *idle*: it names no source, until the next track of its kind takes it. It goes on as one
that sends, since LiveKit's server does not receive by a section again that was offered twice as
inactive, and sends by one that receives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Set
from typing import Final, cast

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpTransceiver

from ...participant.tracks import Receiver
from ..aiortc_private import renew_sender, route_by_section
from ..sdp import without_sources
from .audio_queue import AudioQueue
from .incoming import IncomingSection
from .outgoing import OutgoingAudio, OutgoingVideo
from .video_slot import VideoSlot

#: The most sections that are received; the server's wish for more is ignored.
_MAX_RECEIVED: Final = 200


class MediaSections:
    """The audio and video of one peer connection.

    Args:
        connection: The connection.
        on_received: Called with the receivers of all tracks that come in, by SID, as they change.
    """

    def __init__(
        self,
        connection: RTCPeerConnection,
        on_received: Callable[[Mapping[str, Receiver]], None],
    ) -> None:
        self._connection = connection
        self._on_received = on_received
        self._sent: dict[str, RTCRtpTransceiver] = {}
        # Those whose track is not sent any more
        self._idle: list[RTCRtpTransceiver] = []
        self._received: dict[RTCRtpTransceiver, IncomingSection] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def is_used(self) -> bool:
        """Whether there is any audio or video."""
        return bool(self._sent or self._received)

    async def send(self, cid: str, media: AudioQueue | VideoSlot) -> None:
        """Send a track, once the server has agreed."""
        track: MediaStreamTrack
        track = OutgoingAudio(media) if isinstance(media, AudioQueue) else OutgoingVideo(media)
        # The id by which the server knows the section.
        track._id = cid
        for transceiver in self._idle:
            if transceiver.kind == track.kind:
                self._idle.remove(transceiver)
                await renew_sender(transceiver, track)
                break
        else:
            transceiver = self._connection.addTransceiver(track, direction="sendonly")
        self._sent[cid] = transceiver

    async def stop(self, cid: str) -> None:
        """Send a track no more."""
        transceiver = self._sent.pop(cid, None)
        if transceiver is not None:
            transceiver.sender.track.stop()
            await transceiver.sender.stop()
            self._idle.append(transceiver)

    def sent_in(self, mids: Set[str]) -> frozenset[str]:
        """Return our ids of the tracks that are sent in some sections."""
        return frozenset(cid for cid, section in self._sent.items() if section.mid in mids)

    def require(self, audios: int, videos: int) -> None:
        """Offer to receive that many more tracks."""
        for kind, count in (("audio", audios), ("video", videos)):
            for _ in range(min(count, _MAX_RECEIVED - len(self._received))):
                transceiver = self._connection.addTransceiver(kind, direction="recvonly")
                self._received[transceiver] = IncomingSection(transceiver.receiver)

    def without_idle(self, sdp: str) -> str:
        """Return an offer in which idle sections name no source."""
        return without_sources(sdp, {str(each.mid) for each in self._idle})

    def adopt(self) -> None:
        """Take the sections that the other side has offered."""
        for transceiver in self._connection.getTransceivers():
            if transceiver not in self._received:
                self._received[transceiver] = IncomingSection(transceiver.receiver)

    def on_answer(self, sids: Mapping[str, str]) -> None:
        """Begin to receive, after an answer.

        Args:
            sids: The SIDs of the tracks that come in, by the name of the section.
        """
        tracks: dict[str, Receiver] = {}
        for transceiver, section in self._received.items():
            is_active = transceiver.currentDirection == "recvonly"
            section.assign(sids.get(transceiver.mid or "", "") if is_active else "")
            source = cast("MediaStreamTrack | None", transceiver.receiver.track)
            if source is not None and not section.is_pumped:
                section.is_pumped = True
                self._pumps.add(task := asyncio.create_task(section.pump(source)))
                task.add_done_callback(self._pumps.discard)
            if section.track is not None:
                tracks[section.sid] = section.track
        route_by_section(self._connection)
        self._on_received(tracks)

    def end(self) -> None:
        """Receive nothing more."""
        for task in self._pumps:
            task.cancel()

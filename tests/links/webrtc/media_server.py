"""A server's half of audio and video: it hears what a client sends, and sends tones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import anyio
from aiortc import RTCRtpTransceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import SessionDescription
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc.participant import AudioFrame, VideoBufferType, VideoFrame
from trio_rpc.participant.pictures import pixels_of
from trio_rpc.server.webrtc.peer import AnsweringPeer
from trio_rpc.webrtc.media.audio_queue import AudioQueue
from trio_rpc.webrtc.media.outgoing import OutgoingAudio, OutgoingVideo
from trio_rpc.webrtc.media.video_slot import VideoSlot
from trio_rpc.webrtc.sdp import whole

from ...support.tones import RATE, is_tone, tone
from ...support.waiting import wait_until


class _Tone(AudioQueue):
    """A queue that never runs dry."""

    def __init__(self, hertz: float) -> None:
        super().__init__(RATE, 1, 1.0)
        self._frames: Iterator[AudioFrame] = tone(hertz)

    def take(self, samples: int) -> bytes:
        while self._size < samples * 2:
            self.put(next(self._frames))
        return super().take(samples)


@define(eq=False)
class Media:
    """The media of one client.

    Attributes:
        hertz: The tones to send, by the SIDs of their tracks.
        pictures: The pictures to send, likewise.
        seen: The pictures that have come in.
        heard: The samples that have come in, of one channel, by the id of the section.
        sids: The SIDs of the tracks that are sent, by the id of their section.
        sending: The ids of the sections that the client sends a track in.
        idle: The ids of the sections that the client sends nothing in any more.
    """

    hertz: dict[str, float] = field(factory=dict)
    pictures: dict[str, VideoFrame] = field(factory=dict)
    seen: list[VideoFrame] = field(factory=list)
    heard: dict[str, list[int]] = field(factory=dict)
    sids: dict[str, str] = field(factory=dict)
    sending: set[str] = field(factory=set)
    idle: set[str] = field(factory=set)

    async def hear(self, samples: int = RATE // 2) -> list[int]:
        """Wait for so many samples in the last section, and return them."""
        await wait_until(lambda: bool(self.heard))
        [*_, last] = self.heard.values()
        start = len(last)
        await wait_until(lambda: len(last) >= start + samples)
        return last[start:]

    async def hears_tone(self, hertz: float) -> bool:
        """Whether half a second of a tone comes within a minute; a busy machine leaves gaps."""
        with anyio.move_on_after(60):
            while not is_tone(await self.hear(), hertz):
                pass
            return True
        return False


class MediaPeer(AnsweringPeer):
    """An answering peer, with audio."""

    def __init__(self, *arguments: Any, media: Media, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._media = media
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        connection = self._incoming
        if connection is None:
            connection = self._incoming = self._new_connection()
            self.receive_from(connection)
        # As everywhere, the client finds us, and not the other way round.
        sdp = whole(offer.sdp, keeps_candidate=lambda _: False)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        sections = sending(offer.sdp)
        self._media.sending = {mid for mid in sections if sections[mid]}
        self._media.idle = {mid for mid in sections if not sections[mid]}
        for transceiver in connection.getTransceivers():
            mid = str(transceiver.mid)
            match transceiver._offerDirection:
                case "sendonly" if mid not in self._media.sids:
                    self._send(transceiver, mid)
                case "recvonly" if mid not in self._tasks:
                    receive = self._hear if transceiver.kind == "audio" else self._see
                    receiving = receive(mid, transceiver.receiver.track)
                    self._tasks[mid] = asyncio.create_task(receiving)
                case _:
                    pass
        answer = await self._describe_ours(connection)
        self.report_description("answer", answer, offer.id)

    def _send(self, transceiver: RTCRtpTransceiver, mid: str) -> None:
        """Send the next track of the kind that is not sent yet."""
        media = self._media
        wanted = media.hertz if transceiver.kind == "audio" else media.pictures
        for sid in wanted:
            if sid not in media.sids.values():
                media.sids[mid] = sid
                transceiver.sender.replaceTrack(self._track(sid))
                transceiver.direction = "sendonly"
                return

    def _track(self, sid: str) -> MediaStreamTrack:
        if sid in self._media.hertz:
            return OutgoingAudio(_Tone(self._media.hertz[sid]))
        slot = VideoSlot()
        slot.put(self._media.pictures[sid])
        return OutgoingVideo(slot)

    async def _see(self, _mid: str, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                picture: Any = await track.recv()
                pixels = pixels_of(picture, VideoBufferType.RGBA)
                size = picture.width, picture.height
                self._media.seen.append(VideoFrame(*size, VideoBufferType.RGBA, pixels))

    async def _hear(self, mid: str, track: MediaStreamTrack) -> None:
        heard = self._media.heard.setdefault(mid, [])
        with suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                heard += memoryview(bytes(frame.planes[0])).cast("h")[: 2 * frame.samples : 2]


def sending(sdp: str) -> dict[str, bool]:
    """Return the ids of the sections of an offer that send, and whether they name what."""
    described = SessionDescription.parse(sdp).media
    return {each.rtp.muxId: bool(each.ssrc) for each in described if each.direction == "sendonly"}


def published(cid: str, sid: str, request: rtc.AddTrackRequest) -> rtc.SignalResponse:
    """Return the response that a track is published."""
    track = models.TrackInfo(
        sid=sid, name=request.name, type=request.type, source=request.source, muted=request.muted
    )
    return rtc.SignalResponse(track_published=rtc.TrackPublishedResponse(cid=cid, track=track))

"""A server's half of audio and video: it hears what a client sends, and sends tones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from aiortc import RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc.participant import AudioFrame
from trio_rpc.server.webrtc.peer import AnsweringPeer
from trio_rpc.webrtc.media.audio_queue import AudioQueue
from trio_rpc.webrtc.media.outgoing import OutgoingAudio
from trio_rpc.webrtc.sdp import whole

from ...support.tones import RATE, tone
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
        heard: The samples that have come in, of one channel, by the id of the section.
        sids: The SIDs of the tracks that are sent, by the id of their section.
        inactive: The ids of the sections that nothing is sent in.
    """

    hertz: dict[str, float] = field(factory=dict)
    heard: dict[str, list[int]] = field(factory=dict)
    sids: dict[str, str] = field(factory=dict)
    inactive: set[str] = field(factory=set)

    async def hear(self, samples: int = RATE // 2) -> list[int]:
        """Wait for so many samples in the last section, and return them."""
        await wait_until(lambda: bool(self.heard))
        [*_, last] = self.heard.values()
        start = len(last)
        await wait_until(lambda: len(last) >= start + samples)
        return last[start:]


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
        self._media.inactive.clear()
        for transceiver in connection.getTransceivers():
            mid = str(transceiver.mid)
            match transceiver._offerDirection:
                case "sendonly" if mid not in self._media.sids:
                    for sid, hertz in self._media.hertz.items():
                        if sid not in self._media.sids.values():
                            self._media.sids[mid] = sid
                            transceiver.sender.replaceTrack(OutgoingAudio(_Tone(hertz)))
                            transceiver.direction = "sendonly"
                            break
                case "recvonly" if mid not in self._tasks:
                    hearing = self._hear(mid, transceiver.receiver.track)
                    self._tasks[mid] = asyncio.create_task(hearing)
                case "inactive":
                    self._media.inactive.add(mid)
                case _:
                    pass
        answer = await self._describe_ours(connection)
        self.report_description("answer", answer, offer.id)

    async def _hear(self, mid: str, track: MediaStreamTrack) -> None:
        heard = self._media.heard.setdefault(mid, [])
        with suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                heard += memoryview(bytes(frame.planes[0])).cast("h")[: 2 * frame.samples : 2]


def published(cid: str, sid: str, request: rtc.AddTrackRequest) -> rtc.SignalResponse:
    """Return the response that a track is published."""
    track = models.TrackInfo(
        sid=sid, name=request.name, type=request.type, source=request.source, muted=request.muted
    )
    return rtc.SignalResponse(track_published=rtc.TrackPublishedResponse(cid=cid, track=track))

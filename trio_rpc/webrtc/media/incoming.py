"""The tracks that come in, decoded for the program's streams."""

from __future__ import annotations

from threading import Lock
from typing import Protocol, cast

from aiortc import RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame as Sound
from av import AudioResampler
from av import VideoFrame as Picture

from ...participant import AudioFrame, VideoBufferType, VideoFrame
from ...participant.frames import SAMPLE_BYTES
from ...participant.pictures import pixels_of
from ...participant.tracks import StreamSink
from ...protocol.logs import peer_logger
from ..aiortc_private import decode_only_while

logger = peer_logger(__name__)


class AudioStreamSink(StreamSink, Protocol):
    """A stream that takes audio, in the form that it wants it in.

    Attributes:
        sample_rate: Samples of each channel in a second.
        num_channels: The number of channels, 1 or 2.
        samples_per_frame: Samples of each channel in a frame.
    """

    sample_rate: int
    num_channels: int
    samples_per_frame: int

    def put(self, frame: AudioFrame) -> None:
        """Take a frame, in the thread of the peers."""
        ...


class VideoStreamSink(StreamSink, Protocol):
    """A stream that takes pictures, in the form that it wants them in.

    Attributes:
        format: The format of the pixels.
    """

    format: VideoBufferType

    def put(self, frame: VideoFrame, timestamp_us: int) -> None:
        """Take a picture, in the thread of the peers."""
        ...


class IncomingTrack:
    """A track that comes in: the `Receiver` of a remote track. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sinks: dict[StreamSink, AudioResampler | None] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether any stream reads it."""
        return bool(self._sinks)

    def attach(self, sink: StreamSink) -> None:
        """Hand all further frames to a stream."""
        resampler = _resampler_for(sink)
        with self._lock:
            self._sinks[sink] = resampler

    def detach(self, sink: StreamSink) -> None:
        """Hand no further frames to a stream."""
        with self._lock:
            self._sinks.pop(sink, None)

    def deliver(self, decoded: Sound | Picture) -> None:
        """Hand a frame to the streams."""
        with self._lock:
            sinks = tuple(self._sinks.items())
        for sink, resampler in sinks:
            if isinstance(decoded, Picture):
                _show(decoded, cast("VideoStreamSink", sink))
            elif resampler is not None:
                _play(decoded, cast("AudioStreamSink", sink), resampler)


class IncomingSection:
    """A section that tracks come in by, one after another.

    Args:
        receiver: Its receiver, which decodes what the program's streams read alone.

    Attributes:
        track: The present one; None while there is none.
        sid: Its SID.
        is_pumped: Whether a task runs `pump`.
    """

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        decode_only_while(receiver, self._is_wanted)
        self.track: IncomingTrack | None = None
        self.sid = ""
        self.is_pumped = False

    def _is_wanted(self) -> bool:
        return self.track is not None and self.track.is_wanted

    def assign(self, sid: str) -> None:
        """Receive a track with a SID from now on; with "", none."""
        if sid != self.sid:
            self.sid = sid
            self.track = IncomingTrack() if sid else None

    async def pump(self, source: MediaStreamTrack) -> None:
        """Hand decoded frames to the present track, until the connection ends."""
        while True:
            try:
                frame = cast("object", await source.recv())
            except MediaStreamError:
                return
            if self.track is not None and isinstance(frame, Sound | Picture):
                try:
                    self.track.deliver(frame)
                except (ValueError, OSError):
                    # av raises these for frames that do not fit what came before.
                    logger.debug("dropped a frame that could not be converted", exc_info=True)


def _resampler_for(sink: StreamSink) -> AudioResampler | None:
    if not hasattr(sink, "sample_rate"):
        return None
    wanted = cast("AudioStreamSink", sink)
    return AudioResampler(
        format="s16",
        layout="mono" if wanted.num_channels == 1 else "stereo",
        rate=wanted.sample_rate,
        frame_size=wanted.samples_per_frame,
    )


def _play(decoded: Sound, stream: AudioStreamSink, resampler: AudioResampler) -> None:
    for part in resampler.resample(decoded):
        size = part.samples * stream.num_channels * SAMPLE_BYTES
        data = bytes(part.planes[0])[:size]
        stream.put(AudioFrame(data, part.sample_rate, stream.num_channels, part.samples))


def _show(decoded: Picture, stream: VideoStreamSink) -> None:
    seconds = decoded.time or 0.0
    pixels = pixels_of(decoded, stream.format)
    frame = VideoFrame(decoded.width, decoded.height, stream.format, pixels)
    stream.put(frame, int(seconds * 1_000_000))

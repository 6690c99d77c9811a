"""The tracks that come in, decoded for the program's streams."""

from __future__ import annotations

from threading import Lock
from typing import Protocol, cast

from aiortc import RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame as DecodedAudioFrame
from av import AudioResampler

from ...participant import AudioFrame
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


class IncomingTrack:
    """A track that comes in: the `Receiver` of a remote track. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._resamplers: dict[StreamSink, AudioResampler] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether any stream reads it."""
        return bool(self._resamplers)

    def attach(self, sink: StreamSink) -> None:
        """Hand all further frames to a stream."""
        wanted = cast("AudioStreamSink", sink)
        resampler = AudioResampler(
            format="s16",
            layout="mono" if wanted.num_channels == 1 else "stereo",
            rate=wanted.sample_rate,
            frame_size=wanted.samples_per_frame,
        )
        with self._lock:
            self._resamplers[sink] = resampler

    def detach(self, sink: StreamSink) -> None:
        """Hand no further frames to a stream."""
        with self._lock:
            self._resamplers.pop(sink, None)

    def deliver(self, decoded: DecodedAudioFrame) -> None:
        """Hand a frame to the streams."""
        with self._lock:
            resamplers = tuple(self._resamplers.items())
        for sink, resampler in resamplers:
            stream = cast("AudioStreamSink", sink)
            for part in resampler.resample(decoded):
                size = part.samples * stream.num_channels * 2
                data = bytes(part.planes[0])[:size]
                stream.put(AudioFrame(data, part.sample_rate, stream.num_channels, part.samples))


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
            if self.track is not None and isinstance(frame, DecodedAudioFrame):
                try:
                    self.track.deliver(frame)
                except (ValueError, OSError):
                    # av raises these for frames that do not fit what came before.
                    logger.debug("dropped a frame that could not be resampled", exc_info=True)

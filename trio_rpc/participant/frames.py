"""The samples of tracks, as LiveKit's SDK has them."""

from __future__ import annotations

import io
import wave
from typing import Any, Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

#: Bytes of a sample: a signed integer, in the byte order of the machine.
SAMPLE_BYTES: Final = 2


class AudioFrame:
    """A stretch of audio: samples of 16 bits, those of all channels at one time side by side.

    Args:
        data: The samples.
        sample_rate: Samples of each channel in a second.
        num_channels: The number of channels.
        samples_per_channel: The number of samples of each channel.
        userdata: Anything that goes with the frame, in this program.

    Raises:
        ValueError: `data` has fewer samples than that, or half of one.
    """

    def __init__(
        self,
        data: Buffer,
        sample_rate: int,
        num_channels: int,
        samples_per_channel: int,
        *,
        userdata: dict[str, Any] | None = None,
    ) -> None:
        view = memoryview(data).cast("B")
        if len(view) < num_channels * samples_per_channel * SAMPLE_BYTES:
            raise ValueError(
                f"{len(view):,} bytes are fewer than {samples_per_channel:,} samples of "
                f"{num_channels} channels"
            )
        if len(view) % SAMPLE_BYTES:
            raise ValueError(f"{len(view):,} bytes are not a whole number of samples")
        self._data = view
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._samples_per_channel = samples_per_channel
        self._userdata = {} if userdata is None else userdata

    @classmethod
    def create(cls, sample_rate: int, num_channels: int, samples_per_channel: int) -> AudioFrame:
        """Return a frame of silence, whose `data` can be written."""
        data = bytearray(num_channels * samples_per_channel * SAMPLE_BYTES)
        return cls(data, sample_rate, num_channels, samples_per_channel)

    @property
    def userdata(self) -> dict[str, Any]:
        """Anything that goes with the frame, in this program; it is not sent."""
        return self._userdata

    @property
    def data(self) -> memoryview:
        """The samples, as signed integers of 16 bits."""
        return self._data.cast("h")

    @property
    def sample_rate(self) -> int:
        """Samples of each channel in a second."""
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        """The number of channels."""
        return self._num_channels

    @property
    def samples_per_channel(self) -> int:
        """The number of samples of each channel."""
        return self._samples_per_channel

    @property
    def duration(self) -> float:
        """Seconds that the frame lasts."""
        return self._samples_per_channel / self._sample_rate

    def to_wav_bytes(self) -> bytes:
        """Return the content of a WAV file with the samples."""
        with io.BytesIO() as file:
            with wave.open(file, "wb") as wav:
                wav.setnchannels(self._num_channels)
                wav.setsampwidth(SAMPLE_BYTES)
                wav.setframerate(self._sample_rate)
                wav.writeframes(self._data)
            return file.getvalue()

    def __repr__(self) -> str:
        return (
            f"<AudioFrame {self._sample_rate} Hz, {self._num_channels} channels, "
            f"{self.duration * 1000:g} ms>"
        )

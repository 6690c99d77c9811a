"""The pictures of tracks, as LiveKit's SDK has them."""

from __future__ import annotations

from enum import IntEnum

from .frames import Buffer
from .video_formats import VideoBufferType, plane_sizes


class VideoRotation(IntEnum):
    """The rotation with which a frame is to be shown, clockwise."""

    VIDEO_ROTATION_0 = 0
    VIDEO_ROTATION_90 = 1
    VIDEO_ROTATION_180 = 2
    VIDEO_ROTATION_270 = 3


class VideoFrame:
    """A picture.

    Args:
        width, height: Its size in pixels.
        type: The format of its pixels.
        data: The pixels, row by row, plane by plane, without anything in between.

    Raises:
        ValueError: `data` has fewer bytes than that, or there is no pixel.
    """

    def __init__(self, width: int, height: int, type: VideoBufferType, data: Buffer) -> None:  # noqa: A002
        if width <= 0 or height <= 0:
            raise ValueError(f"a frame of {width} x {height} has no pixel")
        self._width = width
        self._height = height
        self._type = VideoBufferType(type)
        self._data = memoryview(data).cast("B")
        size = sum(rows * row_bytes for rows, row_bytes in self._geometry())
        if len(self._data) < size:
            raise ValueError(
                f"{len(self._data):,} bytes are fewer than the {size:,} of a frame of {width} x "
                f"{height} in {self._type.name}"
            )

    def _geometry(self) -> list[tuple[int, int]]:
        """Return the number of rows of each plane, and their bytes."""
        return plane_sizes(self._type, self._width, self._height)

    @property
    def width(self) -> int:
        """Its width in pixels."""
        return self._width

    @property
    def height(self) -> int:
        """Its height in pixels."""
        return self._height

    @property
    def type(self) -> VideoBufferType:
        """The format of its pixels."""
        return self._type

    @property
    def data(self) -> memoryview:
        """The pixels."""
        return self._data

    def get_plane(self, plane_nth: int) -> memoryview | None:
        """Return the pixels of a plane, by its number from 0; None if there is no such plane."""
        start = 0
        for number, (rows, row_bytes) in enumerate(self._geometry()):
            end = start + rows * row_bytes
            if number == plane_nth:
                return self._data[start:end]
            start = end
        return None

    def convert(self, type: VideoBufferType, *, flip_y: bool = False) -> VideoFrame:  # noqa: A002
        """Return the same picture in another format, which needs the extra `livekit`.

        Args:
            type: The format.
            flip_y: Whether to turn it upside down.
        """
        # It needs PyAV, which the extra brings.
        from .pictures import picture_of, pixels_of

        wanted = VideoBufferType(type)
        picture = picture_of(self._width, self._height, self._type, self._data)
        converted = VideoFrame(self._width, self._height, wanted, pixels_of(picture, wanted))
        return converted._upside_down() if flip_y else converted

    def _upside_down(self) -> VideoFrame:
        data = bytearray()
        start = 0
        for rows, row_bytes in self._geometry():
            for row in reversed(range(rows)):
                at = start + row * row_bytes
                data += self._data[at : at + row_bytes]
            start += rows * row_bytes
        return VideoFrame(self._width, self._height, self._type, data)

    def __repr__(self) -> str:
        return f"<VideoFrame {self._width} x {self._height} {self._type.name}>"

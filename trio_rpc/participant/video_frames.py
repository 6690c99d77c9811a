"""The pictures of tracks, as LiveKit's SDK has them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from .frames import Buffer


class VideoBufferType(IntEnum):
    """The format of the pixels of a `VideoFrame`."""

    RGBA = 0
    ABGR = 1
    ARGB = 2
    BGRA = 3
    RGB24 = 4
    I420 = 5
    I420A = 6
    I422 = 7
    I444 = 8
    I010 = 9
    NV12 = 10


class VideoRotation(IntEnum):
    """The rotation with which a frame is to be shown, clockwise."""

    VIDEO_ROTATION_0 = 0
    VIDEO_ROTATION_90 = 1
    VIDEO_ROTATION_180 = 2
    VIDEO_ROTATION_270 = 3


class _Plane(NamedTuple):
    """A plane of a format: the bytes of a pixel, and whether it has half the columns and rows."""

    pixel_bytes: int
    half_width: bool = False
    half_height: bool = False


_QUARTER: Final = _Plane(1, half_width=True, half_height=True)
_PLANES: Final[dict[VideoBufferType, tuple[_Plane, ...]]] = {
    VideoBufferType.RGBA: (_Plane(4),),
    VideoBufferType.ABGR: (_Plane(4),),
    VideoBufferType.ARGB: (_Plane(4),),
    VideoBufferType.BGRA: (_Plane(4),),
    VideoBufferType.RGB24: (_Plane(3),),
    VideoBufferType.I420: (_Plane(1), _QUARTER, _QUARTER),
    VideoBufferType.I420A: (_Plane(1), _QUARTER, _QUARTER, _Plane(1)),
    VideoBufferType.I422: (_Plane(1), _Plane(1, half_width=True), _Plane(1, half_width=True)),
    VideoBufferType.I444: (_Plane(1), _Plane(1), _Plane(1)),
    VideoBufferType.I010: (
        _Plane(2),
        _Plane(2, half_width=True, half_height=True),
        _Plane(2, half_width=True, half_height=True),
    ),
    VideoBufferType.NV12: (_Plane(1), _Plane(2, half_width=True, half_height=True)),
}


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
        from .pictures import convert

        return convert(self, VideoBufferType(type), flip_y=flip_y)

    def __repr__(self) -> str:
        return f"<VideoFrame {self._width} x {self._height} {self._type.name}>"


def plane_sizes(type: VideoBufferType, width: int, height: int) -> list[tuple[int, int]]:  # noqa: A002
    """Return the number of rows of each plane of a picture, and their bytes."""
    return [
        (
            (height + 1) // 2 if plane.half_height else height,
            plane.pixel_bytes * ((width + 1) // 2 if plane.half_width else width),
        )
        for plane in _PLANES[type]
    ]

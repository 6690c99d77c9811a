"""The formats of the pixels of pictures."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


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


def plane_sizes(type: VideoBufferType, width: int, height: int) -> list[tuple[int, int]]:  # noqa: A002
    """Return the number of rows of each plane of a picture, and their bytes."""
    return [
        (
            (height + 1) // 2 if plane.half_height else height,
            plane.pixel_bytes * ((width + 1) // 2 if plane.half_width else width),
        )
        for plane in _PLANES[type]
    ]

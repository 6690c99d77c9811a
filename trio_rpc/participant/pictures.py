"""Pictures from the program's form into that of PyAV, and back; imported when one is needed."""

from __future__ import annotations

from typing import Final

from av import VideoFrame as Picture

from .video_formats import VideoBufferType, plane_sizes

#: The formats by their names in FFmpeg.
_FORMATS: Final = {
    VideoBufferType.RGBA: "rgba",
    VideoBufferType.ABGR: "abgr",
    VideoBufferType.ARGB: "argb",
    VideoBufferType.BGRA: "bgra",
    VideoBufferType.RGB24: "rgb24",
    VideoBufferType.I420: "yuv420p",
    VideoBufferType.I420A: "yuva420p",
    VideoBufferType.I422: "yuv422p",
    VideoBufferType.I444: "yuv444p",
    VideoBufferType.I010: "yuv420p10le",
    VideoBufferType.NV12: "nv12",
}


def picture_of(
    width: int,
    height: int,
    type: VideoBufferType,  # noqa: A002
    data: memoryview,
) -> Picture:
    """Return pixels in PyAV's form, which has gaps between the rows."""
    picture = Picture(width, height, _FORMATS[type])
    start = 0
    for plane, (rows, row_bytes) in zip(
        picture.planes, plane_sizes(type, width, height), strict=True
    ):
        pixels = data[start : start + rows * row_bytes]
        start += rows * row_bytes
        if plane.line_size != row_bytes:
            padded = bytearray(plane.buffer_size)
            for row in range(rows):
                at = row * plane.line_size
                padded[at : at + row_bytes] = pixels[row * row_bytes : (row + 1) * row_bytes]
            pixels = memoryview(padded)
        plane.update(bytes(pixels))
    return picture


def pixels_of(picture: Picture, type: VideoBufferType) -> bytearray:  # noqa: A002
    """Return the pixels of a picture in a format, without gaps."""
    converted = picture.reformat(format=_FORMATS[type])
    data = bytearray()
    sizes = plane_sizes(type, converted.width, converted.height)
    for plane, (rows, row_bytes) in zip(converted.planes, sizes, strict=True):
        pixels = memoryview(plane)
        for row in range(rows):
            at = row * plane.line_size
            data += pixels[at : at + row_bytes]
    return data

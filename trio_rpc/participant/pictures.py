"""Pictures from the program's form into that of PyAV, and back; imported when one is needed."""

from __future__ import annotations

from typing import Final

from av import VideoFrame as Picture

from .video_frames import VideoBufferType, VideoFrame, plane_sizes

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


def picture_of(frame: VideoFrame) -> Picture:
    """Return a frame in PyAV's form, which has gaps between the rows."""
    picture = Picture(frame.width, frame.height, _FORMATS[frame.type])
    start = 0
    sizes = plane_sizes(frame.type, frame.width, frame.height)
    for plane, (rows, row_bytes) in zip(picture.planes, sizes, strict=True):
        pixels = frame.data[start : start + rows * row_bytes]
        start += rows * row_bytes
        if plane.line_size != row_bytes:
            padded = bytearray(plane.buffer_size)
            for row in range(rows):
                at = row * plane.line_size
                padded[at : at + row_bytes] = pixels[row * row_bytes : (row + 1) * row_bytes]
            pixels = memoryview(padded)
        plane.update(bytes(pixels))
    return picture


def frame_of(picture: Picture, type: VideoBufferType) -> VideoFrame:  # noqa: A002
    """Return a picture as a frame, in a format."""
    converted = picture.reformat(format=_FORMATS[type])
    data = bytearray()
    sizes = plane_sizes(type, converted.width, converted.height)
    for plane, (rows, row_bytes) in zip(converted.planes, sizes, strict=True):
        pixels = memoryview(plane)
        if plane.line_size == row_bytes:
            data += pixels[: rows * row_bytes]
        else:
            for row in range(rows):
                at = row * plane.line_size
                data += pixels[at : at + row_bytes]
    return VideoFrame(converted.width, converted.height, type, data)


def convert(frame: VideoFrame, type: VideoBufferType, *, flip_y: bool) -> VideoFrame:  # noqa: A002
    """Return a frame in another format, perhaps upside down."""
    converted = frame_of(picture_of(frame), type)
    if not flip_y:
        return converted
    data = bytearray()
    start = 0
    for rows, row_bytes in plane_sizes(type, converted.width, converted.height):
        for row in reversed(range(rows)):
            at = start + row * row_bytes
            data += converted.data[at : at + row_bytes]
        start += rows * row_bytes
    return VideoFrame(converted.width, converted.height, type, data)

"""Data streams: texts and bytes of any size, in order, from one participant to others.

A stream is a header, chunks and a trailer, or a header alone with the content in it. LiveKit's RPC
version 2 travels in such streams.

* `outgoing`, `writers`: sending. `incoming`, `buffer`, `buffer_context`, `readers`:
  receiving. `whole_text`: putting a text together.

The parts without I/O are in `protocol`: `stream_info`, `stream_content`, `stream_assembly`.
"""

from ..protocol.stream_info import ByteStreamInfo, TextStreamInfo
from .readers import ByteStreamReader, TextStreamReader
from .writers import ByteStreamWriter, StreamOpening, TextStreamWriter

__all__ = [
    "ByteStreamInfo",
    "ByteStreamReader",
    "ByteStreamWriter",
    "StreamOpening",
    "TextStreamInfo",
    "TextStreamReader",
    "TextStreamWriter",
]

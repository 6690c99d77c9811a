"""Data streams: texts and bytes of any size, in order, from one participant to others.

A stream is a header, chunks and a trailer, or a header alone with the content in it. LiveKit's RPC
version 2 travels in such streams.

* `info`: what a stream is about. `content`: cutting and compressing. `assembly`: putting together
  what was received. None of them waits.
* `outgoing`, `writers`: sending. `incoming`, `readers`: receiving.
"""

from .info import ByteStreamInfo, TextStreamInfo
from .readers import ByteStreamReader, TextStreamReader
from .writers import ByteStreamWriter, TextStreamWriter

__all__ = [
    "ByteStreamInfo",
    "ByteStreamReader",
    "ByteStreamWriter",
    "TextStreamInfo",
    "TextStreamReader",
    "TextStreamWriter",
]

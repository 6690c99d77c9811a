"""Links: the ways of reaching a room.

A `Link` carries frames between one participant and its server, in order, on three channels: the
signalling messages of LiveKit, and reliable and lossy data packets. Nothing above a link knows
which one it is. A client gets its link from a `Connector`, the server from the listener that
accepted it.

* `base`: the contract of a link. `media`: that of its audio and video.
* `framed`: a link over anything that carries messages of bytes; queues, coalesces and bounds.
* `frames`: the format of such a message.
* `websocket`, `memory`, `stream`: the carriers of the messages.
* `webrtc`: the links to LiveKit's servers.
* `records`, `record_stream`: the records of a stream link, and messages in them.
* `urls`, `server_connector`, `connecting`: the connector for a URL, and for that of a room server;
  the common part of connectors.
* `leaving`: leaving a room that was joined in vain.
* `packet_sender`: the packets that a participant sends, numbered.
* `resumable`: the sending half of a session, over one link after another.
"""

from .base import (
    Channel,
    Connector,
    Frame,
    Link,
    LinkClosedError,
    LinkFullError,
    MessageStream,
    ServedLink,
    SignallingLostError,
    new_frame,
)
from .framed import open_framed_link

__all__ = [
    "Channel",
    "Connector",
    "Frame",
    "Link",
    "LinkClosedError",
    "LinkFullError",
    "MessageStream",
    "ServedLink",
    "SignallingLostError",
    "new_frame",
    "open_framed_link",
]

"""The WebSockets of clients: trio-websocket on trio, websockets on asyncio.

The signalling WebSocket of our own servers carries the data packets too. Both sides agree on that
by the subprotocol `SUBPROTOCOL`, whose messages are those of `frames`.

* `opening`: the signalling of a server, at its URL.
* `on_trio`, `on_asyncio`: `connect` and `WebSocketStream` of either library.
* `data_frames`: the frames of their messages.
* `closing`: the reasons for the end of a WebSocket, on clients and servers.
"""

from .closing import close_reason, closed_with
from .opening import SUBPROTOCOL, SignallingServer, WebSocket, join_query

__all__ = [
    "SUBPROTOCOL",
    "SignallingServer",
    "WebSocket",
    "close_reason",
    "closed_with",
    "join_query",
]

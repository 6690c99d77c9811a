"""A client's link over a WebSocket: trio-websocket on trio, websockets on asyncio.

The signalling WebSocket of LiveKit (`/rtc`) carries the data packets too. Both sides agree on that
by the subprotocol `SUBPROTOCOL`, whose messages are those of `frames`; a server that speaks
LiveKit's signalling alone does not agree, and is refused with an error that says so.

* `connector`: the connector for a URL.
* `on_trio`, `on_asyncio`: `connect` and `WebSocketStream` of either library.
* `closing`: the reasons for the end of a WebSocket, on clients and servers.
"""

from .closing import close_reason, closed_with
from .connector import SUBPROTOCOL, WebSocketConnector

__all__ = ["SUBPROTOCOL", "WebSocketConnector", "close_reason", "closed_with"]

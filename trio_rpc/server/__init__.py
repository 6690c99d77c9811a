"""The embedded room server.

* `rooms`: rooms, members, routing and permissions; knows no socket.
* `administration`, `caller`: what an administrator can do; calls of the server's own.
* `admission`: tokens, limits, and joining. `room_server`: `RoomServer`, all of that together.
* `session`: what a participant says, from joining to leaving.
* `twirp`: the same administration over HTTP, as LiveKit has it.
* `stream_listener`: participants who come in over a plain socket.
* `signalling`, `webrtc`: participants who come in over a WebSocket, ours and LiveKit's.
* `app`: the ASGI app. `serve`: run it. Both need the extra `server`. `http`: an HTTP server for it.
"""

from .limits import ServerLimits
from .room_server import RoomServer, ServerStatistics
from .stream_listener import serve_stream

__all__ = [
    "RoomServer",
    "ServerLimits",
    "ServerStatistics",
    "serve_stream",
]

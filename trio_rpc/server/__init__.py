"""The embedded room server.

* `rooms`: rooms, members, routing and permissions; knows no socket.
* `members`: one participant, as the server has it. `backlog`: what waits for it, and who caused it.
* `routing`: where a packet goes. `directed_streams`: where streams go.
* `room_table`: the rooms that there are, and for how long those without participants stay.
* `administration`, `caller`: what an administrator can do; calls of the server's own.
* `room_server`: `RoomServer`, which lets participants in.
* `sessions`: what a participant says, from joining to leaving.
* `twirp`, `room_service`: the same administration over HTTP, as LiveKit has it.
* `stream_listener`: participants who come in over a plain socket.
* `app`: the ASGI app. `serve`: run it. Both need the extra `server`.
"""

from .backlog import QueueFullError
from .limits import ServerLimits
from .room_server import RoomServer, ServerStatistics
from .room_table import JoinRefusedError
from .stream_listener import serve_stream

__all__ = [
    "JoinRefusedError",
    "QueueFullError",
    "RoomServer",
    "ServerLimits",
    "ServerStatistics",
    "serve_stream",
]

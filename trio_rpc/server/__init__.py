"""The embedded room server.

* `rooms`: rooms, members, routing and permissions; knows no socket.
* `members`: one participant, as the server has it.
* `room_server`: `RoomServer`, which has the rooms and lets participants in.
* `sessions`: what a participant says, from joining to leaving.
* `app`: the ASGI app. `serve`: run it. Both need the extra `server`.
"""

from .limits import ServerLimits
from .room_server import RoomServer, ServerStatistics

__all__ = ["RoomServer", "ServerLimits", "ServerStatistics"]

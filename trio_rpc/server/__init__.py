"""The embedded room server.

* `rooms`: rooms, members, routing and permissions; knows no socket.
* `administration`, `caller`: the operations of an administrator; the server's own calls.
* `limits`: `ServerLimits`. `admission`: tokens, and joining within the limits.
  `room_server`: `RoomServer`, all of that together.
* `session`: the session of one participant, from joining to leaving. `connection`: the link that
  carries it. `signal_requests`: its requests to the server.
  `back_pressure`: waiting for receivers whose queues are full.
* `token_refresh`: tokens for the next connections of participants.
* `scenarios`: failures that a participant asks for.
* `draining`: participants join again elsewhere before the server ends.
* `twirp`: the same administration over HTTP, as LiveKit has it.
* `agents`: the workers of LiveKit Agents, and their jobs.
* `stream_listener`: participants that join over a plain socket.
  `join_request`: a participant's description of itself, from a URL or a message.
* `signalling`, `webrtc`: participants that join over a WebSocket, ours and LiveKit's.
  `join_request`: the parameters with which they do.
* `app`: the ASGI app. `http_listener`: the same on a socket of its own, by the HTTP server in
  `http`. They need the extra `server`, and are imported when `create_app` or `serve` is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ..webrtc.thread import PeerThread, open_peer_thread
from .limits import ServerLimits
from .room_server import RoomServer, ServerStatistics
from .stream_listener import serve_stream

if TYPE_CHECKING:
    from .app import create_app
    from .http_listener import serve
else:

    def __getattr__(name: str) -> object:
        """Import a function that needs the extra `server` when it is first used."""
        if name not in ("create_app", "serve"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(".app" if name == "create_app" else ".http_listener", __name__)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "starlette":
                raise
            raise ModuleNotFoundError(
                "Starlette is missing, which the server needs: pip install 'trio-rpc[server]'",
                name="starlette",
            ) from None
        return getattr(module, name)


__all__ = [
    "PeerThread",
    "RoomServer",
    "ServerLimits",
    "ServerStatistics",
    "create_app",
    "open_peer_thread",
    "serve",
    "serve_stream",
]

"""Links to LiveKit's servers: signalling over a WebSocket, data over WebRTC.

* `link`: the link, from the server's `JoinResponse` to the end.
* `signalling`: its signalling, over one WebSocket after another (L12).
* `peer`: its peer connections, which we offer; in the thread of `trio_rpc.webrtc`.
* `changes`: the changes that the next offer is to make; no I/O.
* `media`: its audio and video.
* `joining`: the requests to join, of LiveKit's signalling; no I/O.
* `ice`: the servers and addresses for ICE; no I/O.
* `shared_thread`: the thread of all such links of an event loop.
* `connector`: the connector for one of LiveKit's servers.

The extra `livekit` is required.
"""

from .connector import LiveKitConnector, open_livekit_link

__all__ = ["LiveKitConnector", "open_livekit_link"]

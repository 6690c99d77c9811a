"""How clients of LiveKit's own SDKs take part: signalling over a WebSocket, data over WebRTC.

* `join_request`: what a client says of itself in the URL. `sdp`: the data channels out of an offer,
  and into an answer. Neither waits.
* `thread`: the one thread, with an asyncio event loop, in which aiortc runs.
* `peer`: the peer connections of one participant; runs in that thread.
* `stream`: the same in the server's event loop, as a stream of messages. `reports`: how it hears.
* `link`: the WebSocket and the peer connections of one participant, as its link.
* `serving`: serving such a participant.

It needs the extra `livekit`. Nothing here imports aiortc but `peer`, which is imported when the
first such client comes.
"""

from .serving import serve_livekit_client
from .thread import PeerThread, check_own_address, open_peer_thread

__all__ = ["PeerThread", "check_own_address", "open_peer_thread", "serve_livekit_client"]

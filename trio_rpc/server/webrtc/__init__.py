"""How clients of LiveKit's own SDKs take part: signalling over a WebSocket, data over WebRTC.

* `join_request`: what a client says of itself in the URL. It does not wait.
* `link`: the WebSocket and the peer connections of one participant, as its link.
* `serving`: serving such a participant.

It needs the extra `livekit`. The peer connections themselves are in `trio_rpc.webrtc`.
"""

from ...webrtc.thread import PeerThread, check_own_address, open_peer_thread
from .serving import serve_livekit_client

__all__ = ["PeerThread", "check_own_address", "open_peer_thread", "serve_livekit_client"]

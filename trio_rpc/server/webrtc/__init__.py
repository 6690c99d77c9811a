"""Clients of LiveKit's own SDKs: signalling over a WebSocket, data over WebRTC.

* `link`: the WebSocket and the peer connections of one participant, as its link.
* `serving`: serving such a participant.

The extra `livekit` is required. The peer connections themselves are in `trio_rpc.webrtc`.
"""

from ...webrtc.thread import PeerThread, check_own_address, open_peer_thread
from .serving import serve_livekit_client

__all__ = ["PeerThread", "check_own_address", "open_peer_thread", "serve_livekit_client"]

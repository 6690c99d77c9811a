"""Clients of LiveKit's own SDKs: signalling over a WebSocket, data over WebRTC.

* `link`: the WebSocket and the peer connections of one participant, as its link.
* `peer`: its peer connections, which we answer; in the thread of `trio_rpc.webrtc`.
* `serving`: the sessions of such participants, and their WebSockets.

The extra `livekit` is required.
"""

from ...webrtc.thread import PeerThread, check_own_address, open_peer_thread
from .serving import LiveKitClients

__all__ = ["LiveKitClients", "PeerThread", "check_own_address", "open_peer_thread"]

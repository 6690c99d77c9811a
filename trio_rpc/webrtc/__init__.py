"""The WebRTC engine: peer connections in a thread of their own.

* `thread`: a thread, with an asyncio event loop, in which aiortc runs.
* `peer`: the peer connections to one other side, in that thread. A server's answer those that a
  client's offer: `server.webrtc.peer`, `links.webrtc.peer`.
* `stream`: the same in the event loop of the program, as a stream of messages.
* `reports`: the messages from the peer to the stream.
* `consent`: noticing that the other side is gone. `ice_restart`: other addresses of it.
* `signal_stream`: the signalling beside them.
* `media`: audio and video.
* `aiortc_private`: private parts of aiortc and aioice.
* `sdp`: the data channels out of an offer, and into an answer; no I/O.

The extra `livekit` is required. Only `peer`, and what it and `media` need, import aiortc and
aioice, and are imported themselves when the first peer connection is opened.
"""

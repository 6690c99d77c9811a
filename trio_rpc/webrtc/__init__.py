"""The WebRTC engine: peer connections in a thread of their own.

* `thread`: the one thread, with an asyncio event loop, in which aiortc runs.
* `peer`: the peer connections of one participant; runs in that thread.
* `stream`: the same in the event loop of the program, as a stream of messages.
* `reports`: the messages from the peer to the stream.
* `consent`: noticing that the other side is gone.
* `sdp`: the data channels out of an offer, and into an answer; no I/O.

The extra `livekit` is required. Only `peer` and `consent` import aiortc and aioice, and are
imported themselves when the first peer connection is opened.
"""

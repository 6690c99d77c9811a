"""The WebRTC engine: peer connections in a thread of their own.

* `thread`: the one thread, with an asyncio event loop, in which aiortc runs.
* `peer`: the peer connections of one participant; runs in that thread.
* `stream`: the same in the event loop of the program, as a stream of messages.
* `reports`: the messages from the peer to the stream.
* `sdp`: the data channels out of an offer, and into an answer; no I/O.

The extra `livekit` is required. Only `peer` imports aiortc, and is imported itself when the first
peer connection is opened.
"""

"""The WebRTC engine: peer connections in a thread of their own.

* `thread`: the one thread, with an asyncio event loop, in which aiortc runs.
* `peer`: the peer connections of one participant; runs in that thread.
* `stream`: the same in the event loop of the program, as a stream of messages.
* `reports`: from the one to the other.
* `sdp`: the data channels out of an offer, and into an answer. It does not wait.

It needs the extra `livekit`. Nothing here imports aiortc but `peer`, which is imported when the
first peer connection is opened.
"""

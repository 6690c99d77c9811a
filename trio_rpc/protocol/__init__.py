"""The protocol apart from I/O: rules as plain functions and classes.

Nothing here waits, and nothing imports trio, anyio, asyncio or `concurrency`: the time is an
argument where it matters. The rules are those of docs/protocol.md, named by their ids.

* `packets`: parsing a `DataPacket`. `bounds`: the limits on its names and lists.
* `rpc_messages`: RPC on the wire, version 1 beside version 2.
* `stream_info`, `stream_content`, `deflating`, `stream_assembly`: the headers of streams, chunks,
  compression, putting a received stream together.
* `capabilities`: the abilities of servers, peers and ourselves.
* `sequences`, `answered_requests`: recognising packets and requests that came before.
* `retained`, `receipts`: the packets that may have to be sent again, and those that have arrived.
* `limits`, `budgets`, `malformed`: how much a peer may send, make us hold, and get wrong.
* `ids`: the ids of calls and streams. `retry`: the policy for calling again.
* `logs`: loggers for lines that peers cause, bounded and escaped.
"""

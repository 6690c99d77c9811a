"""Rooms, members, routing and permissions, without sockets.

Packets and requests come in as values, and what follows from them is queued: routing awaits
nothing.

* `room`: a room, its members and its packets. `table`: the rooms of a server.
* `member`: one participant. `backlog`: its queue, by cause.
* `routing`: the destinations of a packet. `directed_streams`: those of data streams.
"""

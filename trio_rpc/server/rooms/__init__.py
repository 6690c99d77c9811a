"""Rooms, members, routing and permissions, without sockets.

Packets and requests come in as values, and their effects are queued: nothing in here awaits.
Sessions wait, by `server.back_pressure`.

* `room`: a room, its members and its packets. `table`: the rooms of a server.
  `announcer`: updates about members.
* `member`: one participant. `backlog`: its queue, by cause. `shares`: fair shares of it.
  `debts`: the answers that it owes to others. `detached`: members that may come back.
  `agents_alone`: rooms that only agents are left in.
* `router`: routing a packet. `routing`: its destinations. `directed_streams`: those of streams.
  `publisher`: the packets of the server's own. `server_data`: its data.
  `sizes`: checks of sizes.
"""

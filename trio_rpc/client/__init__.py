"""A participant of a room.

* `room`: `Room`, joining and leaving. `registrations`: a program's methods, handlers and listeners.
  `emitter`: its listeners. `callbacks`: calling the program's functions.
* `options`: LiveKit's options for joining. `retrying`: making a call again.
* `joining`: the first message of the server.
* `session`: a membership in a room, from the server's `JoinResponse` to its end.
  `connection`: a link that carries it, received from and kept alive. `outbound`: its sending
  half. `room_state`: the room as the server tells it.
* `supervisor`: the task that opens a lost connection again. `reconnecting`: its decisions.
* `scenarios`: simulated failures. `statistics`: the counts of what a room is busy with.
* `data_packets`: the packets of data that are no calls. `event_charges`: charges for events not
  taken yet.
* `loss`: the loss of a room, and the block that it cancels.
* `local_participant`: ourselves. `stream_sender`: its data streams.
* `roster`: the others. `roster_changes`: the effects of their changes.
* `server_requests`: requests to the server that wait for its answer. `own_changes`: our changes of
  our own description, which are made again after a rejoin.
* `stream_handlers`: the handlers of data streams.
* `tracks`: audio and video.
"""

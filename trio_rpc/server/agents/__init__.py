"""Agents: the workers of LiveKit Agents, and the jobs that they get.

    a room is made, or CreateDispatch ─► dispatch ─► job ─► offered to a worker, and to the next
                                                             if it declines ─► assigned

A worker is a program that has registered over a WebSocket on `/agent`. It starts an agent for each
job, which joins the room as any participant does.

* `dispatcher`: the dispatches of rooms, and the choice of workers for their jobs.
* `worker`: one worker: its registration, offers and jobs.
* `serving`: its WebSocket.
"""

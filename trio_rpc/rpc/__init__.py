"""The two halves of a call, which client and server use alike.

* `endpoint`: both halves in one place, for received packets.
* `calls`: the caller's half. `pending_call`: one call, and its states.
* `invocations`: the callee's half. `requests`, `replies`: what it receives, and sends without a
  task. `methods`: handlers and calling them. `handler_slots`, `deadlines`: the requests that wait.
"""

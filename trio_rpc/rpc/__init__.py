"""The two halves of a call, which client and server use alike.

* `endpoint`: both halves in one place, for received packets.
* `calls`: the caller's half. `call_arguments`: the checks of a call. `pending_call`: one call, and
  its states. `call_timeouts`: their deadlines. `call_errors`: the errors of those without an
  answer. `request_sender`: sending its request. `repeats`, `returning`: calls that are sent again,
  and callees that are expected back. `handler_context`: whether a call is made in a handler.
* `invocations`: the callee's half. `requests`, `replies`: what it receives, and what it answers.
  `repeated_requests`: those that are sent again. `methods`: handlers and calling them.
  `invocation_data`: their argument. `interceptors`: code around calls and invocations.
  `handler_slots`, `waiting_requests`, `deadlines`: the requests that wait.
"""

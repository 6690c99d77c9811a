"""Typed calls, above calls of strings, and made of nothing but their public API.

* `room`: `Room`, with everything for callers. `methods`: its part for callees. `finding`: its part
  for finding methods and those who have them.
* `codec`: values to JSON and back. `schemas`: JSON Schemas in one. `signatures`: the arguments and
  the result of a method.
* `serving`: the handlers of typed methods. `context`: the call that a handler answers.
* `contracts`: classes whose methods are those of a callee. `calling`: calling these. `outcome`: the
  outcome of a call as a value.
* `errors`: the errors of typed calls, and exceptions that travel.
* `answer_streams`: the streams that a caller accepts besides the response. `receiving`: taking
  them. `streaming`: those of items. `windows`: their back-pressure.
* `many`: calling several participants. `discovery`: the methods of a participant.
* `mcp`: methods as tools of MCP, and tools as methods. `forwarding`: a method as a function for
  agents.
"""

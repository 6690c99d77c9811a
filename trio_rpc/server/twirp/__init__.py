"""LiveKit's services over Twirp.

* `protocol`: Twirp's HTTP: formats, errors and authorization.
* `methods`: the methods of services, and their errors. `services`: all of them as an app.
* `room_service`, `agent_dispatch_service`: the methods of each.
"""

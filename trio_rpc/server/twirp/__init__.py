"""LiveKit's RoomService over Twirp.

* `protocol`: Twirp's HTTP: formats, errors and authorization. `room_service`: the methods.
"""

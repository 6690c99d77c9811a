"""Tools for tests of programs that use trio_rpc: rooms in memory, faults, virtual time.

* `rooms`: rooms in memory, and their participants. `livekit_like`: a server in memory that is as
  strict as LiveKit's. `livekit_rooms`: its rooms.
* `faulty_networks`: networks that fail, from a seed or on demand. `faulty_links`: their links.
  `lanes`: one direction of such a link. `faults`: faults of a link, decided from a seed.
* `virtual_time`: an asyncio event loop whose clock jumps, as trio's autojump clock does.
* `pytest_plugin`: the same as fixtures.
"""

from .faults import Direction, Faults, PacketFate
from .faulty_networks import FaultyNetwork
from .livekit_like import LiveKitLikeServer
from .rooms import InMemoryServer, open_rooms
from .virtual_time import VirtualTimeLoop, virtual_time_backend

__all__ = [
    "Direction",
    "Faults",
    "FaultyNetwork",
    "InMemoryServer",
    "LiveKitLikeServer",
    "PacketFate",
    "VirtualTimeLoop",
    "open_rooms",
    "virtual_time_backend",
]

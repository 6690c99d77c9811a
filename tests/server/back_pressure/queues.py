"""The queue of a participant, and its content."""

from __future__ import annotations

from livekit.protocol import models

from trio_rpc.server import RoomServer

from ...support.messages import user

QUEUE = 256 * 1024
CONTENT = "x" * 10_000


def queued_for(server: RoomServer, identity: str) -> int:
    [room] = server._rooms
    return room.members[identity].send_queue.queued_bytes


def data(number: int) -> models.DataPacket:
    return user(f"{number} {CONTENT}", "slow")

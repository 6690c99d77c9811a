"""Rooms that are lost, and what is said of that."""

from __future__ import annotations

from typing import Final

import anyio
from livekit.protocol import models, rtc

from trio_rpc import Room

from .scripted_server import ScriptedServer

#: The message of the loss that `remove` brings about, and the note that others' errors get.
REMOVED: Final = "the server ended our session: PARTICIPANT_REMOVED"
NOTE: Final = f"The room was lost meanwhile: {REMOVED}"


def remove(server: ScriptedServer) -> None:
    """Tell the participant that it was removed."""
    server.send_signal(leave=rtc.LeaveRequest(reason=models.PARTICIPANT_REMOVED))


async def lose(room: Room, server: ScriptedServer) -> None:
    """Have the room lost, in a block that does not notice."""
    with anyio.CancelScope(shield=True):
        remove(server)
        await room.wait_disconnected()


async def cut_off(server: ScriptedServer) -> None:
    """End the link from the server's side."""
    await server.link.aclose("broken")


async def send_that_we_left(server: ScriptedServer) -> None:
    """Send a `LeaveRequest` with a reason that is ours to have."""
    server.send_signal(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))


async def perform_rpc(room: Room) -> str:
    """Call "bob", who does not answer."""
    return await room.local_participant.perform_rpc(
        destination_identity="bob", method="greet", payload=""
    )

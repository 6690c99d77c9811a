"""Failures that a participant asks the server to simulate, for itself alone.

They cost no more than leaving does, or losing a connection.
"""

from __future__ import annotations

from typing import Final

from livekit.protocol import rtc

from ..errors import DisconnectReason
from .rooms.member import Member

#: The close reason of a simulated failure.
SIMULATED: Final = "a failure was simulated, as the client asked for"


def simulate_leave(member: Member, scenario: rtc.SimulateScenario) -> bool:
    """Send a member the `LeaveRequest` of a scenario, if it has one; return whether it has."""
    match scenario.WhichOneof("scenario"):
        case "server_leave":
            member.disconnect(DisconnectReason.SERVER_SHUTDOWN, SIMULATED)
        case "leave_request_full_reconnect":
            member.disconnect(DisconnectReason.SERVER_SHUTDOWN, SIMULATED, joins_again=True)
        case _:
            return False
    return True


def refuse_scenario(member: Member, scenario: rtc.SimulateScenario) -> None:
    """Refuse a scenario that this server cannot simulate."""
    response = rtc.RequestResponse(
        reason=rtc.RequestResponse.UNSUPPORTED_TYPE,
        message=f"this server does not simulate {scenario.WhichOneof('scenario') or 'nothing'}",
    )
    member.tell(rtc.SignalResponse(request_response=response))

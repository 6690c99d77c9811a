"""Simulated failures of the network and the server, by LiveKit's names.

| scenario | who makes it | what happens |
|---|---|---|
| `signal-reconnect` | we | the link is cut: the session resumes |
| `full-reconnect` | we | the connection is given up: we rejoin |
| `migration` | the server | it cuts the link: the session resumes |
| `node-failure` | the server | it cuts the link and forgets the session: we rejoin |
| `leave-full-reconnect` | the server | it asks us to join again: we rejoin |
| `server-leave` | the server | it removes us: the room is lost |
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Literal, TypeAlias, get_args

from livekit.protocol import rtc

from ..links import LinkClosedError, LinkFullError
from .reconnecting import Ending
from .session import Session

#: The scenarios of `Room.simulate_scenario`.
Scenario: TypeAlias = Literal[
    "signal-reconnect",
    "full-reconnect",
    "migration",
    "node-failure",
    "leave-full-reconnect",
    "server-leave",
]

_OUR_ENDINGS: Final = {"signal-reconnect": Ending.LOST, "full-reconnect": Ending.RECONNECT}
_REQUESTS: Final = {
    "migration": rtc.SimulateScenario(migration=True),
    "node-failure": rtc.SimulateScenario(node_failure=True),
    "leave-full-reconnect": rtc.SimulateScenario(leave_request_full_reconnect=True),
    "server-leave": rtc.SimulateScenario(server_leave=True),
}


def simulate(session: Session, scenario: Scenario) -> None:
    """Simulate a failure; without a connection, nothing happens.

    Raises:
        ValueError: there is no such scenario.
    """
    if scenario in _OUR_ENDINGS:
        session.connection.interrupt(_OUR_ENDINGS[scenario])
    elif scenario in _REQUESTS:
        request = rtc.SignalRequest(simulate=_REQUESTS[scenario])
        with suppress(LinkClosedError, LinkFullError):
            session.outbound.packet_sender.send_signal(request)
    else:
        known = ", ".join(get_args(Scenario))
        raise ValueError(f"there is no scenario {scenario!r}, only {known}")

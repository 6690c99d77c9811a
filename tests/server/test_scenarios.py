"""Failures that a participant asks the server to simulate, message by message."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from trio_rpc.protocol.capabilities import CAN_RESUME
from trio_rpc.server import RoomServer

from ..support.messages import leave_reasons, signals, told
from ..support.scripted_client import scripted_client

pytestmark = pytest.mark.anyio

CLIENT = models.ClientInfo(client_protocol=2, capabilities=[CAN_RESUME])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("field", "action"),
    [
        ("server_leave", rtc.LeaveRequest.DISCONNECT),
        ("leave_request_full_reconnect", rtc.LeaveRequest.RECONNECT),
    ],
)
async def test_a_leave_is_sent_as_asked_for(
    field: str, action: rtc.LeaveRequest.Action, server: RoomServer
) -> None:
    async with scripted_client(server, "alice") as alice, scripted_client(server, "bob") as bob:
        await alice.settle()
        bob.send_signal(simulate=rtc.SimulateScenario(**{field: True}))  # type: ignore[arg-type]
        messages, _ = await bob.receive_rest()
        (leave,) = [each.leave for each in signals(messages) if each.HasField("leave")]
        assert leave.action == action
        assert leave_reasons(messages) == ["SERVER_SHUTDOWN"]
        assert told(await alice.settle()) == [("bob", "DISCONNECTED")]


@pytest.mark.parametrize(
    ("field", "client", "departures"),
    [
        ("node_failure", CLIENT, [("bob", "DISCONNECTED")]),
        ("node_failure", None, [("bob", "DISCONNECTED")]),
        ("migration", CLIENT, []),
        # Nothing that could migrate
        ("migration", None, [("bob", "DISCONNECTED")]),
    ],
)
async def test_a_link_is_cut_without_a_leave(
    field: str,
    client: models.ClientInfo | None,
    departures: list[tuple[str, str]],
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        scripted_client(server, "bob", client=client) as bob,
    ):
        await alice.settle()
        bob.send_signal(simulate=rtc.SimulateScenario(**{field: True}))  # type: ignore[arg-type]
        messages, _ = await bob.receive_rest()
        assert leave_reasons(messages) == []
        assert told(await alice.settle()) == departures


@pytest.mark.parametrize(
    "scenario",
    [
        rtc.SimulateScenario(speaker_update=3),
        rtc.SimulateScenario(switch_candidate_protocol=rtc.TCP),
        rtc.SimulateScenario(subscriber_bandwidth=1),
        rtc.SimulateScenario(disconnect_signal_on_resume=True),
        rtc.SimulateScenario(),
    ],
    ids=lambda scenario: scenario.WhichOneof("scenario") or "none",
)
async def test_others_are_refused_and_nothing_happens(
    scenario: rtc.SimulateScenario, server: RoomServer
) -> None:
    async with scripted_client(server, "alice") as alice:
        alice.send_signal(simulate=scenario)
        response = (await alice.expect_signal("request_response")).request_response
        assert response.reason == rtc.RequestResponse.UNSUPPORTED_TYPE
        assert await alice.settle() == []

"""Simulated failures, and what comes of them."""

from __future__ import annotations

from typing import Any, get_args

import anyio
import pytest

from trio_rpc import ConnectionState, DisconnectedError, DisconnectReason, Room, RpcInvocationData
from trio_rpc.client.scenarios import Scenario
from trio_rpc.events import Reconnected
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

RESUMED: list[Scenario] = ["signal-reconnect", "migration"]
REJOINED: list[Scenario] = ["full-reconnect", "node-failure", "leave-full-reconnect"]


@pytest.mark.rule("L2", "L3")
@pytest.mark.parametrize("scenario", RESUMED + REJOINED)
async def test_a_failure_is_overcome_and_calls_in_flight_get_their_answers(
    scenario: Scenario, join: Join
) -> None:
    async with join("alice") as alice, join("bob") as bob:
        before = alice.local_participant.sid

        @bob.register_rpc_method("wait")
        async def wait(_data: RpcInvocationData) -> str:
            async with alice.events(Reconnected) as events:
                await alice.simulate_scenario(scenario)
                return str((await anext(events)).resumed)

        await alice.wait_for_participant("bob")
        resumed = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="wait", payload=""
        )
        assert resumed == str(scenario in RESUMED)
        assert (alice.local_participant.sid == before) == (scenario in RESUMED)
        assert alice.isconnected()


@pytest.mark.rule("L2")
async def test_a_server_that_leaves_is_a_lost_room(join: Join) -> None:
    async def be_there() -> None:
        async with join("alice") as alice:
            await alice.simulate_scenario("server-leave")
            await anyio.sleep_forever()

    with pytest.raises(DisconnectedError) as caught:
        await be_there()
    assert caught.value.reason is DisconnectReason.SERVER_SHUTDOWN


@pytest.mark.rule("L2")
@pytest.mark.parametrize("scenario", RESUMED + REJOINED)
async def test_without_a_policy_every_failure_is_a_lost_room(
    scenario: Scenario, join: Join
) -> None:
    async with join("alice", reconnect=None, on_disconnect="continue") as alice:
        await alice.simulate_scenario(scenario)
        await alice.wait_disconnected()
        assert alice.connection_state is ConnectionState.CONN_DISCONNECTED
        with pytest.raises(DisconnectedError):
            await alice.simulate_scenario(scenario)


async def test_two_at_once_are_one(join: Join) -> None:
    async with join("alice") as alice, alice.events(Reconnected) as events:
        await alice.simulate_scenario("signal-reconnect")
        await alice.simulate_scenario("signal-reconnect")
        await alice.simulate_scenario("node-failure")
        assert await anext(events) == Reconnected(resumed=True)
        assert alice.isconnected()


async def test_other_names_are_a_value_error(join: Join) -> None:
    async with join("alice") as alice:
        unknown: Any = "force-tcp"
        with pytest.raises(ValueError, match="no scenario 'force-tcp', only signal-reconnect, "):
            await alice.simulate_scenario(unknown)
    assert sorted(get_args(Scenario)) == sorted([*RESUMED, *REJOINED, "server-leave"])


async def test_a_room_that_was_never_joined_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="is not joined"):
        await Room().simulate_scenario("migration")


@pytest.mark.rule("P1")
async def test_the_server_is_asked_as_by_livekits_sdks() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await room.simulate_scenario("leave-full-reconnect")
        request = await server.expect_signal("simulate")
        assert request.simulate.leave_request_full_reconnect


async def test_nobody_else_notices_a_migration(server: RoomServer, join: Join) -> None:
    async with join("alice") as alice, join("bob") as bob, alice.events(Reconnected) as events:
        await bob.wait_for_participant("alice")
        sid = bob.remote_participants["alice"].sid
        await alice.simulate_scenario("migration")
        await anext(events)
        assert bob.remote_participants["alice"].sid == sid
        assert server.statistics().participants == 2

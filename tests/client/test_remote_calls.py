"""`RemoteParticipant.perform_rpc`: the call of a method, by the participant that answers."""

from __future__ import annotations

from typing import Any

import pytest

from trio_rpc import RpcError, RpcInvocationData

from ..conftest import Join

pytestmark = pytest.mark.anyio


@pytest.mark.rule("C1")
@pytest.mark.parametrize("options", [{}, {"response_timeout": 3.5}], ids=str)
async def test_it_is_the_call_of_the_local_participant(join: Join, options: dict[str, Any]) -> None:
    got: list[tuple[str, str, float]] = []

    async def greet(data: RpcInvocationData) -> str:
        got.append((data.caller_identity, data.payload, data.response_timeout))
        return "hello"

    async with join("alice") as alice, join("bob") as bob, join("carol") as carol:
        bob.register_rpc_method("greet", greet)
        carol.register_rpc_method("greet", greet)
        participant = await alice.wait_for_participant("bob")
        assert await participant.perform_rpc("greet", "hi", **options) == "hello"
        by_identity = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="greet", payload="hi", **options
        )
        assert by_identity == "hello"
    first, second = got
    assert first == second
    assert first[:2] == ("alice", "hi")


@pytest.mark.rule("C7")
async def test_a_participant_that_has_left_cannot_be_called(join: Join) -> None:
    async with join("alice") as alice:
        async with join("bob"):
            participant = await alice.wait_for_participant("bob")
        async with alice.events() as events:
            while "bob" in alice.remote_participants:
                await anext(events)
        with pytest.raises(RpcError) as caught:
            await participant.perform_rpc("greet", "hi")
    assert caught.value.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND


@pytest.mark.rule("C11")
@pytest.mark.parametrize(
    ("method", "payload", "options", "error"),
    [
        ("", "hi", {}, ValueError),
        ("greet", b"hi", {}, TypeError),
        ("greet", "hi", {"response_timeout": 0}, ValueError),
    ],
)
async def test_what_makes_no_sense_is_refused(
    join: Join, method: str, payload: str, options: dict[str, Any], error: type[Exception]
) -> None:
    async with join("alice") as alice, join("bob"):
        participant = await alice.wait_for_participant("bob")
        with pytest.raises(error):
            await participant.perform_rpc(method, payload, **options)

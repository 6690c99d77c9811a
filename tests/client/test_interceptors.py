"""Interceptors: around calls and around invocations."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
import pytest

from trio_rpc import (
    CancelReason,
    Room,
    RpcCallInfo,
    RpcError,
    RpcInterceptor,
    RpcInvocationData,
)

from ..conftest import Join

pytestmark = pytest.mark.anyio

UNSUPPORTED = RpcError.ErrorCode.UNSUPPORTED_METHOD


class Recording(RpcInterceptor):
    """An interceptor that records what passes, each with its name in front."""

    def __init__(self, name: str, passed: list[str]) -> None:
        self.name = name
        self.passed = passed

    def record(self, what: str) -> None:
        self.passed.append(f"{self.name} {what}")

    async def intercept_outgoing(self, call: RpcCallInfo, next: Any) -> str:  # noqa: A002
        self.record(f"calls {call.method}({call.payload})")
        call = attrs.evolve(call, payload=f"{call.payload}{self.name}")
        result: str = await next(call)
        self.record(f"gets {result}")
        return f"{result}{self.name}"

    async def intercept_incoming(
        self,
        invocation: RpcInvocationData,
        next: Any,  # noqa: A002
    ) -> str | None:
        self.record(f"handles {invocation.method}({invocation.payload})")
        try:
            result: str | None = await next(invocation)
        except Exception as error:
            self.record(f"sees {type(error).__name__}")
            raise
        self.record(f"returns {result}")
        return f"{result}{self.name}"


async def echo(data: RpcInvocationData) -> str:
    return f"<{data.payload}>"


async def repeat(data: RpcInvocationData) -> str:
    return data.payload


async def fresh(data: RpcInvocationData) -> str:
    return "fresh"


async def call(room: Room, payload: str = "", method: str = "greet", **options: Any) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity="bob", method=method, payload=payload, **options
    )


async def test_the_first_of_the_callers_interceptors_is_the_outermost(join: Join) -> None:
    passed: list[str] = []
    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", echo)
        alice.add_rpc_interceptor(Recording("1", passed))
        alice.local_participant.add_rpc_interceptor(Recording("2", passed))
        assert await call(alice, "hi") == "<hi12>21"
    assert passed == ["1 calls greet(hi)", "2 calls greet(hi1)", "2 gets <hi12>", "1 gets <hi12>2"]


@pytest.mark.real_time
@pytest.mark.parametrize("is_async", [True, False])
async def test_the_first_of_the_callees_interceptors_is_the_outermost(
    join: Join, is_async: bool
) -> None:
    passed: list[str] = []

    def sync_handler(data: RpcInvocationData) -> str:
        return f"<{data.payload}>"

    async with join("bob") as bob, join("alice") as alice:
        bob.add_rpc_interceptor(Recording("1", passed))
        bob.add_rpc_interceptor(Recording("2", passed))
        bob.register_rpc_method("greet", echo if is_async else sync_handler)
        assert await call(alice, "hi") == "<hi>21"
    assert passed == [
        "1 handles greet(hi)",
        "2 handles greet(hi)",
        "2 returns <hi>",
        "1 returns <hi>2",
    ]


async def test_the_same_interceptor_is_added_once_and_an_equal_one_twice(join: Join) -> None:
    passed: list[str] = []

    class Equal(Recording):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    first, second = Equal("1", passed), Equal("2", passed)
    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", repeat)
        for each in first, first, second:
            alice.add_rpc_interceptor(each)
        assert await call(alice) == "1221"
        alice.remove_rpc_interceptor(first)
        assert await call(alice) == "22"
        alice.remove_rpc_interceptor(first)
        alice.local_participant.remove_rpc_interceptor(second)
        assert await call(alice, "none") == "none"


async def test_a_call_keeps_the_interceptors_with_which_it_began(join: Join) -> None:
    passed: list[str] = []
    recording = Recording("1", passed)

    async def handler(data: RpcInvocationData) -> str:
        bob.remove_rpc_interceptor(recording)
        alice.remove_rpc_interceptor(recording)
        alice.add_rpc_interceptor(Recording("late", passed))
        bob.add_rpc_interceptor(Recording("late", passed))
        return data.payload

    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        alice.add_rpc_interceptor(recording)
        bob.add_rpc_interceptor(recording)
        assert await call(alice) == "111"
    assert not [each for each in passed if each.startswith("late")]


@pytest.mark.rule("A2")
async def test_an_unknown_method_goes_through_the_interceptors(join: Join) -> None:
    passed: list[str] = []
    async with join("bob") as bob, join("alice") as alice:
        bob.add_rpc_interceptor(Recording("1", passed))
        with pytest.raises(RpcError, match="no method 'greet' is registered") as caught:
            await call(alice)
    assert caught.value.code == UNSUPPORTED
    assert passed == ["1 handles greet()", "1 sees RpcError"]


async def test_interceptors_see_what_a_handler_raised(join: Join) -> None:
    passed: list[str] = []

    async def fail(data: RpcInvocationData) -> str:
        raise KeyError("secret")

    async with join("bob") as bob, join("alice") as alice:
        bob.add_rpc_interceptor(Recording("1", passed))
        bob.register_rpc_method("greet", fail)
        with pytest.raises(RpcError) as caught:
            await call(alice)
    assert caught.value.code == RpcError.ErrorCode.APPLICATION_ERROR
    assert "secret" not in str(caught.value)
    assert passed == ["1 handles greet()", "1 sees KeyError"]


async def test_an_interceptor_may_answer_by_itself(join: Join) -> None:
    class Cache(RpcInterceptor):
        async def intercept_outgoing(self, call: RpcCallInfo, next: Any) -> str:  # noqa: A002
            return (
                "cached"
                if call.payload == "known"
                else await super().intercept_outgoing(call, next)
            )

        async def intercept_incoming(
            self,
            invocation: RpcInvocationData,
            next: Any,  # noqa: A002
        ) -> str | None:
            if invocation.payload == "forbidden":
                raise RpcError(403, "no")
            return await super().intercept_incoming(invocation, next)

    async with join("bob") as bob, join("alice") as alice:
        alice.add_rpc_interceptor(Cache())
        bob.add_rpc_interceptor(Cache())
        bob.register_rpc_method("greet", fresh)
        assert await call(alice, "known") == "cached"
        assert await call(alice, "unknown") == "fresh"
        with pytest.raises(RpcError, match="403 no"):
            await call(alice, "forbidden")


@pytest.mark.rule("A5")
async def test_the_timeout_of_the_caller_covers_the_interceptors(join: Join) -> None:
    reasons: list[CancelReason | None] = []

    class Slow(RpcInterceptor):
        async def intercept_incoming(
            self,
            invocation: RpcInvocationData,
            next: Any,  # noqa: A002
        ) -> str | None:
            result: str | None = await next(invocation)
            try:
                await anyio.sleep_forever()
            finally:
                reasons.append(invocation.cancel_reason)
            return result

    async with join("bob") as bob, join("alice") as alice:
        bob.add_rpc_interceptor(Slow())
        bob.register_rpc_method("greet", fresh)
        with pytest.raises(RpcError) as caught:
            await call(alice, response_timeout=3)
        assert caught.value.code == RpcError.ErrorCode.RESPONSE_TIMEOUT
    assert reasons == [CancelReason.RESPONSE_TIMEOUT]


async def test_a_handler_is_told_why_it_is_cancelled(join: Join) -> None:
    reasons: dict[str, CancelReason | None] = {}

    async def handler(data: RpcInvocationData) -> str:
        assert data.cancel_reason is None
        try:
            await anyio.sleep_forever()
        finally:
            reasons[data.payload] = data.cancel_reason
        return ""

    async def call_in_vain(alice: Room) -> None:
        with pytest.raises(RpcError):
            await call(alice, "left")

    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        with pytest.raises(RpcError):
            await call(alice, "late", response_timeout=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, alice, "given up")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_in_vain, alice)
            await anyio.wait_all_tasks_blocked()
            await bob.disconnect()
    assert reasons == {
        "late": CancelReason.RESPONSE_TIMEOUT,
        "given up": CancelReason.CALLER_GAVE_UP,
        "left": CancelReason.RECIPIENT_DISCONNECTED,
    }
    # As a program would compare that was written for LiveKit's SDK.
    as_there: dict[str, object] = {**reasons}
    assert as_there["late"] == RpcError.ErrorCode.RESPONSE_TIMEOUT
    assert as_there["left"] == RpcError.ErrorCode.RECIPIENT_DISCONNECTED

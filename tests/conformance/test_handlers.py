"""Rules A10 and A11: what may be a handler, and how it is registered."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable
from typing import Any

import anyio
import pytest

from trio_rpc import Room, RpcInvocationData

from ..conftest import Join
from ..support.callee import (
    METHOD,
    callee,
    exchange,
    expect_ack,
    expect_response,
    failure,
    leave,
    send_request,
)
from ..support.scripted_server import ScriptedServer
from ..support.waiting import wait_until

pytestmark = pytest.mark.anyio


# Kinds of handlers


async def answer(data: RpcInvocationData) -> str:
    return f"{data.payload} from a coroutine"


def answer_at_once(data: RpcInvocationData) -> str:
    return f"{data.payload} from a function"


def answer_with_coroutine(data: RpcInvocationData) -> Awaitable[str]:
    return answer(data)


def greet(greeting: str, data: RpcInvocationData) -> str:
    return f"{greeting} {data.payload}"


async def greet_later(greeting: str, data: RpcInvocationData) -> str:
    return f"{greeting} {data.payload}"


class Greeter:
    async def __call__(self, data: RpcInvocationData) -> str:
        return f"{data.payload} from an object"

    async def answer(self, data: RpcInvocationData) -> str:
        return f"{data.payload} from a bound method"

    def answer_at_once(self, data: RpcInvocationData) -> str:
        return f"{data.payload} from a bound method"

    @staticmethod
    async def answer_statically(data: RpcInvocationData) -> str:
        return f"{data.payload} from a static method"


class BlockingGreeter:
    def __call__(self, data: RpcInvocationData) -> str:
        return f"{data.payload} from an object"


@pytest.mark.real_time
@pytest.mark.rule("A10")
@pytest.mark.parametrize(
    ("handler", "payload"),
    [
        pytest.param(answer, "hi from a coroutine", id="async function"),
        pytest.param(answer_at_once, "hi from a function", id="function"),
        pytest.param(lambda data: data.payload, "hi", id="lambda"),
        pytest.param(answer_with_coroutine, "hi from a coroutine", id="function with coroutine"),
        pytest.param(Greeter(), "hi from an object", id="object with async __call__"),
        pytest.param(BlockingGreeter(), "hi from an object", id="object with __call__"),
        pytest.param(Greeter().answer, "hi from a bound method", id="async method"),
        pytest.param(Greeter().answer_at_once, "hi from a bound method", id="method"),
        pytest.param(Greeter.answer_statically, "hi from a static method", id="static method"),
        pytest.param(functools.partial(greet, "oh,"), "oh, hi", id="partial"),
        pytest.param(functools.partial(greet_later, "oh,"), "oh, hi", id="async partial"),
        pytest.param(functools.partial(Greeter()), "hi from an object", id="partial of an object"),
    ],
)
async def test_all_sorts_of_callables_answer(handler: Any, payload: str) -> None:
    assert (await exchange(handler)).payload == payload


@pytest.mark.rule("A10")
async def test_an_async_handler_runs_in_the_thread_of_the_event_loop() -> None:
    async def handler(data: RpcInvocationData) -> str:
        return threading.current_thread().name

    assert (await exchange(handler)).payload == threading.current_thread().name


@pytest.mark.real_time
@pytest.mark.rule("A7", "A10")
async def test_a_function_that_raises_fails_as_a_coroutine_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(data: RpcInvocationData) -> str:
        raise StopIteration("a secret")

    response = await exchange(handler)
    assert failure(response)[0] == 1500
    assert b"secret" not in response.SerializeToString()
    assert "a secret" in caplog.text


@pytest.mark.real_time
@pytest.mark.rule("A4", "A5", "A10")
async def test_a_blocking_function_stalls_nobody_and_times_out() -> None:
    release = threading.Event()

    def block(data: RpcInvocationData) -> str:
        release.wait()
        return "too late"

    async with callee(block) as (room, server):
        room.register_rpc_method("other", answer)
        try:
            send_request(server, "blocking", timeout_ms=2_000)
            assert await expect_ack(server) == "blocking"
            send_request(server, "other", method="other")
            assert await expect_ack(server) == "other"
            assert (await expect_response(server)).payload == "hi from a coroutine"
            response = await expect_response(server)
            assert (response.request_id, failure(response)[0]) == ("blocking", 1502)
        finally:
            release.set()
        assert await leave(room, server) == []


@pytest.mark.real_time
@pytest.mark.rule("A5", "A10")
async def test_a_coroutine_that_a_function_returns_too_late_is_closed() -> None:
    release, started, returned = threading.Event(), threading.Event(), threading.Event()
    coroutine = answer(RpcInvocationData("", "", "", 0.0))

    def block(data: RpcInvocationData) -> Awaitable[str]:
        started.set()
        release.wait()
        returned.set()
        return coroutine

    async with callee(block) as (room, server):
        try:
            # A busy machine may take long to start a thread.
            send_request(server, timeout_ms=2_000)
            await expect_ack(server)
            await wait_until(started.is_set)
            assert failure(await expect_response(server))[0] == 1502
        finally:
            release.set()
        await wait_until(returned.is_set)
        # Logged by the thread, whose caller has ended.
        await wait_until(lambda: inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED)
        assert await leave(room, server) == []


@pytest.mark.real_time
@pytest.mark.rule("A10", "A13")
async def test_as_many_functions_as_are_allowed_block_at_the_same_time() -> None:
    everybody = threading.Barrier(3)

    def meet(data: RpcInvocationData) -> str:
        everybody.wait()
        return "met"

    async with callee(meet, max_concurrent_handlers=3) as (_, server):
        for request_id in ("1", "2", "3"):
            send_request(server, request_id)
        for _ in range(3):
            await expect_ack(server)
        payloads = [(await expect_response(server)).payload for _ in range(3)]
        assert payloads == ["met", "met", "met"]


# Registering


async def ask(server: ScriptedServer, method: str) -> str | int:
    """Send a request of `method`, and return the payload, or the code of the error."""
    send_request(server, method, method=method)
    assert await expect_ack(server) == method
    response = await expect_response(server)
    return response.payload or failure(response)[0]


@pytest.mark.rule("A11")
async def test_methods_are_registered_before_and_after_joining() -> None:
    room, server = Room(), ScriptedServer()

    @room.register_rpc_method("decorated before")
    async def before(data: RpcInvocationData) -> str:
        return "1"

    assert room.register_rpc_method("given before", before) is before
    async with room.connect(server, "a token", reconnect=None):

        @room.register_rpc_method("decorated after")
        async def after(data: RpcInvocationData) -> str:
            return "2"

        @room.local_participant.register_rpc_method("decorated on the participant")
        async def on_participant(data: RpcInvocationData) -> str:
            return "3"

        assert room.register_rpc_method("given after", after) is after
        assert (
            room.local_participant.register_rpc_method("given on the participant", on_participant)
            is on_participant
        )
        methods = [
            "decorated before",
            "given before",
            "decorated after",
            "given after",
            "decorated on the participant",
            "given on the participant",
        ]
        assert [await ask(server, each) for each in methods] == ["1", "1", "2", "2", "3", "3"]
    assert await before(RpcInvocationData("1", "bob", "", 1)) == "1"


@pytest.mark.rule("A11")
async def test_methods_stay_registered_for_the_next_session() -> None:
    room = Room()
    room.register_rpc_method(METHOD, answer)
    for _ in range(2):
        server = ScriptedServer()
        async with room.connect(server, "a token", reconnect=None):
            assert await ask(server, METHOD) == "hi from a coroutine"


@pytest.mark.rule("A11")
async def test_a_name_that_is_taken_is_refused_everywhere(join: Join) -> None:
    async with join("alice") as room:
        room.register_rpc_method(METHOD, answer)
        for registrar in (room, room.local_participant):
            with pytest.raises(ValueError, match=r"^method 'greet' is registered already: "):
                registrar.register_rpc_method(METHOD, answer)
            decorator = registrar.register_rpc_method(METHOD)
            with pytest.raises(ValueError, match=r"^method 'greet' is registered already: "):
                decorator(answer)


@pytest.mark.rule("A11")
@pytest.mark.parametrize("handler", ["greet", 42, b"greet"], ids=repr)
def test_a_handler_that_cannot_be_called_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"^the handler of method 'greet' is not callable: "):
        Room().register_rpc_method(METHOD, handler)
    with pytest.raises(TypeError, match=r"^the handler of method 'greet' is not callable: "):
        Room().register_rpc_method(METHOD)(handler)


@pytest.mark.rule("A11")
def test_a_decorator_without_a_name_is_refused() -> None:
    room: Any = Room()
    with pytest.raises(TypeError, match=r'use @register_rpc_method\("name"\)$'):

        @room.register_rpc_method  # type: ignore[untyped-decorator]
        async def nameless(data: RpcInvocationData) -> None: ...


@pytest.mark.rule("A11", "C11")
@pytest.mark.parametrize(
    ("name", "size"), [("", 0), ("x" * 65, 65), ("é" * 33, 66)], ids=["empty", "ASCII", "UTF-8"]
)
def test_a_name_that_nobody_could_call_is_refused(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=rf"has 1 to 64 UTF-8 bytes, not {size}$"):
        Room().register_rpc_method(name, answer)


@pytest.mark.rule("A11")
@pytest.mark.parametrize("name", ["x", "x" * 64, "é" * 32, "a method"])
async def test_any_other_name_can_be_called(name: str, join: Join) -> None:
    async with join("alice") as alice, join("bob") as bob:
        bob.register_rpc_method(name, answer)
        await alice.wait_for_participant("bob")
        payload = await alice.local_participant.perform_rpc(
            destination_identity="bob", method=name, payload="hi"
        )
        assert payload == "hi from a coroutine"


@pytest.mark.rule("A11")
async def test_unregistering_what_is_not_registered_is_a_key_error(join: Join) -> None:
    async with join("alice") as room:
        for registrar in (room, room.local_participant):
            with pytest.raises(KeyError, match="no method 'greet' is registered"):
                registrar.unregister_rpc_method(METHOD)


@pytest.mark.rule("A2", "A11")
async def test_running_invocations_of_an_unregistered_method_finish() -> None:
    may_finish = anyio.Event()

    async def handler(data: RpcInvocationData) -> str:
        await may_finish.wait()
        return "finished"

    async with callee(handler) as (room, server):
        send_request(server, "before")
        assert await expect_ack(server) == "before"
        room.local_participant.unregister_rpc_method(METHOD)
        send_request(server, "after")
        assert await expect_ack(server) == "after"
        response = await expect_response(server)
        assert (response.request_id, failure(response)[0]) == ("after", 1400)
        room.register_rpc_method(METHOD, answer)
        may_finish.set()
        response = await expect_response(server)
        assert (response.request_id, response.payload) == ("before", "finished")
        assert await ask(server, METHOD) == "hi from a coroutine"

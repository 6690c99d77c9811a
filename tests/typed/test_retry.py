"""Calling again after an error."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from trio_rpc import HANDLER_CANNOT_HAVE_RUN, Retry, Room, RpcError, RpcInvocationData

from ..conftest import Join
from .kitchen import Kitchen, KitchenService, Order

pytestmark = pytest.mark.anyio

Code = RpcError.ErrorCode


@pytest.fixture(autouse=True)
def longest_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each delay be as long as it may be."""
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)


async def call(room: Room, retry: Retry | None, **options: Any) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity="bob", method="greet", payload="", retry=retry, **options
    )


class Failing:
    """A handler that fails with an error a few times."""

    def __init__(self, code: int, times: int) -> None:
        self.code = code
        self.times = times
        self.calls: list[str] = []

    async def __call__(self, data: RpcInvocationData) -> str:
        self.calls.append(data.request_id)
        if len(self.calls) <= self.times:
            raise RpcError(self.code, "no")
        return "hello"


# A callee that is not there yet


@pytest.mark.rule("T4")
async def test_a_call_to_nobody_is_made_again_until_the_callee_is_there(join: Join) -> None:
    async with join("alice") as alice, anyio.create_task_group() as tasks:

        async def join_later() -> None:
            await anyio.sleep(0.5)
            async with join("bob") as bob:
                bob.serve(KitchenService())
                bob.register_rpc_method("greet", Failing(1, 0))
                await anyio.sleep_forever()

        tasks.start_soon(join_later)
        started = anyio.current_time()
        assert await call(alice, Retry()) == "hello"
        # 0.2, then 0.4 seconds
        assert anyio.current_time() - started == pytest.approx(0.6)
        assert await alice.remote_participants["bob"].perform_rpc("greet", "", retry=Retry())
        kitchen = alice.client(Kitchen, "bob", retry=Retry())
        assert await kitchen.slice(Order("carrot", 9)) == [3]
        tasks.cancel_scope.cancel()


@pytest.mark.rule("T4")
@pytest.mark.parametrize(
    ("retry", "seconds"),
    [
        (None, 0),
        (Retry(attempts=1), 0),
        (Retry(), 0.6),
        (Retry(attempts=5), 3.0),
        (Retry(attempts=5, cap=1), 2.4),
        (Retry(attempts=4, backoff=1, factor=1), 3.0),
        (Retry(idempotent=True), 0.6),
        (Retry(on=frozenset()), 0),
    ],
)
async def test_the_delays_grow_up_to_a_limit(
    join: Join, retry: Retry | None, seconds: float
) -> None:
    async with join("alice") as alice:
        started = anyio.current_time()
        with pytest.raises(RpcError) as caught:
            await call(alice, retry)
        assert caught.value.code == Code.RECIPIENT_NOT_FOUND
        assert anyio.current_time() - started == pytest.approx(seconds)


@pytest.mark.rule("T4")
async def test_the_timeout_is_the_total(join: Join) -> None:
    async with join("alice") as alice:
        started = anyio.current_time()
        with pytest.raises(RpcError) as caught:
            await call(alice, Retry(attempts=100), response_timeout=1.5)
        assert caught.value.code == Code.RECIPIENT_NOT_FOUND
        # 0.2, 0.4 and 0.8 seconds; the next delay would go beyond.
        assert anyio.current_time() - started == pytest.approx(1.4)


@pytest.mark.rule("T4")
async def test_each_attempt_has_the_rest_of_the_time(join: Join) -> None:
    given: list[float] = []

    async def handler(data: RpcInvocationData) -> str:
        given.append(data.response_timeout)
        await anyio.sleep(1)
        raise RpcError(9, "busy")

    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        with pytest.raises(RpcError, match="9 busy"):
            await call(alice, Retry(on={9}, backoff=1, factor=1), response_timeout=10)
    assert given == pytest.approx([10, 8, 6], abs=0.01)


# Whether a handler may have run


@pytest.mark.rule("T4")
@pytest.mark.parametrize("code", [1401, 1505])
async def test_an_error_of_a_handler_is_not_taken_for_one_of_ours(join: Join, code: int) -> None:
    # Its own call found nobody, say.
    handler = Failing(code, 1)
    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        with pytest.raises(RpcError) as caught:
            await call(alice, Retry())
        assert caught.value.code == code
        assert caught.value.acknowledged
        assert len(handler.calls) == 1
        assert await call(alice, Retry(idempotent=True)) == "hello"


@pytest.mark.rule("T4")
@pytest.mark.parametrize("code", [1400, 1402, 1404, 1500, 1501, 1502, 1503, 1504, 7422, 9001])
async def test_other_errors_are_not_tried_again(join: Join, code: int) -> None:
    handler = Failing(code, 1)
    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        with pytest.raises(RpcError):
            await call(alice, Retry())
    assert len(handler.calls) == 1


@pytest.mark.rule("T4")
@pytest.mark.parametrize("code", [1501, 1502, 1503])
async def test_an_idempotent_method_may_run_again(join: Join, code: int) -> None:
    handler = Failing(code, 2)
    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        assert await call(alice, Retry(idempotent=True)) == "hello"
    assert len({*handler.calls}) == 3


@pytest.mark.rule("T4")
async def test_a_program_may_say_which_errors_are_tried_again(join: Join) -> None:
    handler = Failing(9001, 2)
    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("greet", handler)
        assert await call(alice, Retry(on=HANDLER_CANNOT_HAVE_RUN | {9001})) == "hello"


@pytest.mark.rule("T4")
async def test_cancelling_ends_the_attempts(join: Join) -> None:
    async with join("alice") as alice:
        with anyio.move_on_after(0.3) as scope:
            await call(alice, Retry(attempts=100))
        assert scope.cancelled_caught
        assert alice.statistics().pending_calls == 0


@pytest.mark.rule("T4")
async def test_reports_of_progress_and_attempts_go_together(join: Join) -> None:
    async with join("alice") as alice:
        kitchen = alice.client(Kitchen, "bob", retry=Retry(), timeout=5, on_progress=print)
        started = anyio.current_time()
        with pytest.raises(RpcError):
            await kitchen.rest()
        assert anyio.current_time() - started == pytest.approx(0.6)


async def test_attempts_cannot_have_one_id(join: Join) -> None:
    async with join("alice") as alice:
        with pytest.raises(ValueError, match="the same request_id"):
            await call(alice, Retry(), request_id="1")


@pytest.mark.rule("T4")
@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": 0},
        {"backoff": -1},
        {"backoff": float("nan")},
        {"factor": 0.5},
        {"cap": -1},
    ],
)
def test_a_policy_has_its_limits(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Retry(**arguments)


@pytest.mark.rule("T4")
def test_delays_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    delays = [next(Retry(backoff=1).delays()) for _ in range(100)]
    assert 0 <= min(delays) < max(delays) <= 1

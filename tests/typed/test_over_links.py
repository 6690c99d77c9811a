"""Typed calls over each kind of link: in memory, over a WebSocket, and over a stream link.

The other tests of this folder show every case in memory, on virtual time; these show that nothing
of it depends on the link.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import anyio
import pytest
from attrs import frozen
from mcp import Client

from trio_rpc import (
    CallContext,
    InvalidArguments,
    InvalidResponse,
    Retry,
    Room,
    RoomStatistics,
    RpcError,
)
from trio_rpc.events import ParticipantAttributesChanged
from trio_rpc.server import RoomServer
from trio_rpc.typed.forwarding import forward_tool
from trio_rpc.typed.mcp import mount, server_of

from ..conftest import Join
from ..support.serving import serving, serving_stream
from ..support.waiting import wait_until
from .kitchen import Kitchen, KitchenService, Order, OutOfStock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

CARROT = Order("carrot", 150)
#: Seconds that a call may take on a busy machine.
LONG = 60.0


class Bakery(Protocol):
    async def bake(self, minutes: int) -> str: ...
    async def wait(self) -> None: ...
    def crumbs(self, count: int, size: int) -> AsyncIterator[str]: ...


class Misread(Protocol):
    """A contract that the kitchen does not fulfil."""

    async def slice(self, order: str) -> list[int]: ...
    async def caller(self) -> int: ...


class BakeryService:
    """A bakery; `running` is the number of its methods that run, and `sent` that of its crumbs."""

    def __init__(self) -> None:
        self.running = 0
        self.sent = 0

    async def bake(self, minutes: int, call: CallContext) -> str:
        for minute in range(minutes):
            await call.progress(minute / minutes, f"minute {minute}")
        return f"bread for {call.caller_identity}"

    async def wait(self) -> None:
        self.running += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.running -= 1

    async def crumbs(self, count: int, size: int) -> AsyncIterator[str]:
        self.running += 1
        try:
            for number in range(count):
                self.sent += 1
                yield f"{number:>{size}}"
        finally:
            self.running -= 1


@frozen
class Town:
    """The room of "alice", who calls; and those of others, with a kitchen and a bakery each."""

    alice: Room
    others: dict[str, Room]
    bakeries: dict[str, BakeryService]


JoinTown = Callable[..., AbstractAsyncContextManager[Town]]


@pytest.fixture(params=["memory", "WebSocket", "stream"])
async def link(
    request: pytest.FixtureRequest, server: RoomServer, anyio_backend: object
) -> AsyncIterator[RoomServer | str]:
    """The server or the URL that `Room.connect` takes, for each kind of link."""
    if request.param == "memory":
        yield server
    else:
        serve = serving if request.param == "WebSocket" else serving_stream
        async with serve(server) as url:
            yield url


@pytest.fixture
def join_town(link: RoomServer | str, join: Join) -> JoinTown:
    """Join as alice and others: `async with join_town("bob", "carol") as town`."""

    @asynccontextmanager
    async def join_town(*names: str, alice: Room | None = None) -> AsyncGenerator[Town]:
        others: dict[str, Room] = {}
        bakeries: dict[str, BakeryService] = {}
        async with AsyncExitStack() as stack:
            for name in names:
                bakeries[name] = BakeryService()
                others[name] = await stack.enter_async_context(
                    join(name, to=link, can_update_own_metadata=True)
                )
                others[name].serve(KitchenService(), prefix="kitchen.")
                others[name].serve(bakeries[name])
            room = await stack.enter_async_context(join("alice", to=link, room=alice))
            for each in room, *others.values():
                each.errors.register(OutOfStock, code=9001)
            for name in names:
                await room.wait_for_participant(name)
                await others[name].wait_for_participant("alice")
            yield Town(room, others, bakeries)

    return join_town


async def at_rest(town: Town, names: Sequence[str] = ("bob",)) -> None:
    """Wait until nothing is left of any call."""
    rooms = [town.alice, *(town.others[name] for name in names)]
    await wait_until(lambda: all(each.statistics() == RoomStatistics() for each in rooms))
    await wait_until(lambda: not any(town.bakeries[name].running for name in names))


@pytest.mark.rule("T1", "T2", "T3", "T5")
async def test_calls_and_their_errors(join_town: JoinTown) -> None:
    async with join_town("bob") as town:
        kitchen = town.alice.client(Kitchen, "bob", prefix="kitchen.", timeout=LONG)
        assert await kitchen.slice(CARROT) == [50]
        # The answer is larger than one may be.
        with pytest.raises(RpcError, match="1504"):
            await kitchen.slice(CARROT, times=10_000)
        assert await kitchen.slice(order=CARROT, times=2) == [50, 50]
        assert await kitchen.caller() == "alice"
        with pytest.raises(OutOfStock) as caught:
            await kitchen.slice(Order("leek", 150))
        assert (caught.value.vegetable, caught.value.left) == ("leek", 2)
        misread = town.alice.with_options(prefix="kitchen.", timeout=LONG)
        with pytest.raises(InvalidArguments) as refused:
            await misread.call(Misread.slice, "bob", "a carrot")
        assert (refused.value.method, refused.value.path) == ("kitchen.slice", "$.order")
        with pytest.raises(InvalidResponse) as wrong:
            await misread.call(Misread.caller, "bob")
        assert (wrong.value.method, wrong.value.path) == ("kitchen.caller", "$")
        outcome = await misread.try_call(Kitchen.slice, "bob", Order("leek", 1))
        assert isinstance(outcome.error, OutOfStock)
        await at_rest(town)


@pytest.mark.rule("T1")
async def test_a_call_that_is_cancelled(join_town: JoinTown) -> None:
    async with join_town("bob") as town:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(town.alice.client(Bakery, "bob", timeout=LONG).wait)
            await wait_until(lambda: town.bakeries["bob"].running)
            tasks.cancel_scope.cancel()
        await at_rest(town)


@pytest.mark.rule("T8", "T3")
async def test_streamed_answers(join_town: JoinTown) -> None:
    async with join_town("bob", alice=Room(max_stream_bytes=40_000)) as town:
        alice = town.alice
        for count, size in (0, 1), (500, 10), (200, 1_000), (3, 30_000):
            async with alice.stream(Bakery.crumbs, "bob", count, size, timeout=LONG) as items:
                assert [int(item) async for item in items] == [*range(count)]
        watching = alice.stream(Kitchen.watch, "bob", "broken", prefix="kitchen.", timeout=LONG)
        async with watching as temperatures:
            got = [await anext(temperatures) for _ in range(3)]
            with pytest.raises(OutOfStock):
                await anext(temperatures)
        assert got == [0.0, 0.5, 1.0]
        await at_rest(town)


@pytest.mark.rule("T8")
async def test_a_streamed_answer_that_is_left_early(join_town: JoinTown) -> None:
    async with join_town("bob", alice=Room(max_stream_bytes=40_000)) as town:
        bakery = town.bakeries["bob"]
        async with town.alice.stream(Bakery.crumbs, "bob", 10**9, 1_000, timeout=LONG) as items:
            for number in range(50):
                assert int(await anext(items)) == number
            # The window is 10,000 bytes: the callee waits, however long nobody reads.
            assert 50 <= bakery.sent <= 50 + 20
            assert bakery.running == 1
        await at_rest(town)


@pytest.mark.rule("T9")
async def test_reports_of_progress(join_town: JoinTown) -> None:
    async with join_town("bob") as town:
        reports: list[tuple[float, str]] = []

        def on_progress(progress: float, message: str) -> None:
            reports.append((progress, message))

        bakery = town.alice.client(Bakery, "bob", timeout=LONG, on_progress=on_progress)
        assert await bakery.bake(4) == "bread for alice"
        assert reports == [(minute / 4, f"minute {minute}") for minute in range(4)]
        await at_rest(town)


@pytest.mark.rule("T7")
async def test_calls_of_several_participants(join_town: JoinTown) -> None:
    names = ("bob", "carol", "dave")
    async with join_town(*names) as town:
        town.others["dave"].unregister_rpc_method("wait")
        town.others["dave"].unregister_rpc_method("bake")
        async with town.alice.call_many(Bakery.bake, [2], timeout=LONG) as answers:
            got = {identity: outcome.value async for identity, outcome in answers}
        assert got == {"bob": "bread for alice", "carol": "bread for alice"}
        # Those that are not waited for any more are cancelled at their handlers.
        async with town.alice.call_many(Bakery.wait, to=names, timeout=LONG) as errors:
            identity, outcome = await anext(errors)
            assert identity == "dave"
            assert isinstance(outcome.error, RpcError)
            await wait_until(lambda: all(town.bakeries[name].running for name in names[:2]))
        await at_rest(town, names)
        await town.others["bob"].announce_load(0.5)
        bob = town.alice.remote_participants["bob"]
        await wait_until(lambda: "trio_rpc.load" in bob.attributes)
        assert await town.alice.least_busy("bake") == "carol"


@pytest.mark.rule("T6", "T10")
async def test_discovery(join_town: JoinTown) -> None:
    async with join_town("bob") as town:
        for number in range(200):
            # Ten kilobytes in all, and more than one page
            town.others["bob"].method(f"slice-{number:03}")(KitchenService().slice)
        methods = {each.name: each for each in await town.alice.discover("bob", timeout=LONG)}
        assert len(methods) == 4 + 3 + 200
        assert methods["crumbs"].streams
        assert methods["kitchen.slice"].description == "Slice a vegetable."
        assert methods["kitchen.slice"].input_schema == methods["slice-199"].input_schema
        async with (
            town.alice.events(ParticipantAttributesChanged) as events,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(town.alice.wait_for_method, "bob", "another")
            town.others["bob"].method("another")(KitchenService().rest)
            async for event in events:
                if "trio_rpc.methods" in event.changed_attributes:
                    break


@pytest.mark.rule("T4")
async def test_calling_again(join_town: JoinTown, link: RoomServer | str, join: Join) -> None:
    async with join_town() as town:
        calls: list[str] = []

        async def bake(minutes: int) -> str:
            calls.append("bake")
            if len(calls) < 3:
                raise RpcError(9002, "busy")
            return "bread"

        async def join_later() -> None:
            async with join("bob", to=link, room=bob):
                await anyio.sleep_forever()

        bob = Room()
        bob.method(bake)
        codes = {9002, RpcError.ErrorCode.RECIPIENT_NOT_FOUND}
        retry = Retry(attempts=10_000, backoff=0.01, factor=1, on=codes)
        async with anyio.create_task_group() as tasks:
            answers: list[str] = []

            async def call() -> None:
                bakery = town.alice.client(Bakery, "bob", timeout=LONG, retry=retry)
                answers.append(await bakery.bake(1))

            async with anyio.create_task_group() as calling:
                calling.start_soon(call)
                outcome = await town.alice.try_call(Bakery.bake, "bob", 1)
                assert isinstance(outcome.error, RpcError)
                assert outcome.error.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND
                tasks.start_soon(join_later)
            assert answers == ["bread"]
            assert len(calls) == 3
            tasks.cancel_scope.cancel()


@pytest.mark.rule("T11", "T12")
async def test_tools(join_town: JoinTown) -> None:
    async with join_town("bob", "carol") as town:
        reports: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            reports.append(progress)

        server = server_of(town.alice, "bob", allow=["kitchen.*", "bake"], timeout=LONG)
        async with Client(server) as client, mount(town.others["carol"], client, prefix="bobs."):
            result = await client.call_tool("bake", {"minutes": 2}, progress_callback=on_progress)
            assert result.structured_content == {"result": "bread for alice"}
            assert reports == [0, 0.5]
            tool = await forward_tool(town.alice, "carol", "bobs.kitchen.slice", timeout=LONG)
            order = {"vegetable": "carrot", "length_mm": 9}
            assert await tool(order=order, times=2) == {"result": [3, 3]}
        await at_rest(town, ["bob", "carol"])

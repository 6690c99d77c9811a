"""Calling a method of several participants, finding methods, and telling them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import anyio
import pytest

from trio_rpc import InvalidResponse, JsonCodec, MethodInfo, Room, RpcError, RpcInvocationData
from trio_rpc.events import ParticipantAttributesChanged

from ..conftest import Join
from . import other_kitchen
from .conftest import Pair
from .kitchen import Kitchen, KitchenService, Order

pytestmark = pytest.mark.anyio

CARROT = Order("carrot", 150)
Other = other_kitchen.Order


class Worker(Protocol):
    async def work(self, seconds: float) -> str: ...


@asynccontextmanager
async def workers(
    join: Join, work: Callable[[str, float], Any], *names: str, **grants: Any
) -> AsyncIterator[tuple[Room, dict[str, Room]]]:
    """Yield alice, and rooms with a method `work`, which is given their names."""
    async with AsyncExitStack() as stack:
        rooms: dict[str, Room] = {}
        for name in names:
            rooms[name] = await stack.enter_async_context(join(name, **grants))

            def make(name: str) -> Callable[[float], Any]:
                async def working(seconds: float) -> str:
                    return str(await work(name, seconds))

                return working

            rooms[name].method("work")(make(name))
        yield await stack.enter_async_context(join("alice")), rooms


# T7


@pytest.mark.rule("T7")
async def test_answers_come_as_they_come(join: Join) -> None:
    seconds = {"bob": 3, "carol": 1, "dave": 2}

    async def work(name: str, _: float) -> str:
        await anyio.sleep(seconds[name])
        return f"{name} is done"

    async with workers(join, work, *seconds) as (alice, _):
        for to in seconds, None:
            async with alice.call_many(Worker.work, [1.5], to=to) as answers:
                got = [(identity, outcome.value) async for identity, outcome in answers]
            assert got == [(name, f"{name} is done") for name in ("carol", "dave", "bob")]
        async with alice.call_many(Worker.work, {"seconds": 1}, to=["bob", "bob"]) as answers:
            assert [identity async for identity, _ in answers] == ["bob"]


@pytest.mark.rule("T7")
async def test_leaving_the_block_cancels_the_rest_at_their_handlers(join: Join) -> None:
    ended: list[str] = []

    async def work(name: str, seconds: float) -> str:
        try:
            if name != "carol":
                await anyio.sleep_forever()
        finally:
            ended.append(name)
        return name

    async with workers(join, work, "bob", "carol", "dave") as (alice, rooms):
        async with alice.call_many(Worker.work, [1], to=rooms, enough=1) as answers:
            assert [outcome.value async for _, outcome in answers] == ["carol"]
            assert ended == ["carol"]
        await anyio.wait_all_tasks_blocked()
        assert sorted(ended) == ["bob", "carol", "dave"]
        assert alice.statistics().pending_calls == 0


@pytest.mark.rule("T7")
async def test_errors_are_outcomes_and_do_not_count_as_enough(join: Join) -> None:
    async def work(name: str, seconds: float) -> str:
        if name == "bob":
            raise RpcError(9, "no")
        await anyio.sleep(1)
        return name

    async with workers(join, work, "bob", "carol") as (alice, _):
        to = ["nobody", "bob", "carol"]
        async with alice.call_many(Worker.work, [1], to=to, enough=1) as answers:
            got = {identity: outcome.error async for identity, outcome in answers}
    assert isinstance(got["nobody"], RpcError)
    assert isinstance(got["bob"], RpcError)
    assert got["bob"].code == 9
    assert got["carol"] is None


@pytest.mark.rule("T7")
async def test_each_callee_has_its_time(join: Join) -> None:
    async def work(name: str, seconds: float) -> str:
        await anyio.sleep(5 if name == "bob" else 1)
        return name

    async with workers(join, work, "bob", "carol") as (alice, _):
        for to in ["bob", "carol"], None:
            started = anyio.current_time()
            async with alice.call_many(Worker.work, [1], to=to, timeout=2) as answers:
                got = {identity: outcome.ok async for identity, outcome in answers}
            assert got == {"carol": True, "bob": False}
            assert anyio.current_time() - started == pytest.approx(2, abs=0.1)


@pytest.mark.rule("T7")
async def test_without_identities_all_are_called_that_have_the_method(join: Join) -> None:
    async def work(name: str, seconds: float) -> str:
        return name

    async with (
        workers(join, work, "bob", "carol") as (alice, rooms),
        join("dave", room=Room(discoverable=False)) as dave,
        join("erin"),
    ):
        dave.method(KitchenService().slice)
        rooms["carol"].unregister_rpc_method("work")
        await alice.wait_for_participant("erin")
        async with alice.call_many(Worker.work, [1]) as answers:
            assert [identity async for identity, _ in answers] == ["bob"]


@pytest.mark.rule("T7")
async def test_what_is_wrong_with_the_call_is_raised_at_once(pair: Pair) -> None:
    with pytest.raises(TypeError, match="missing a required argument"):
        pair.alice.call_many(Kitchen.slice, [])
    with pytest.raises(TypeError, match="to is a collection of identities"):
        pair.alice.call_many(Kitchen.slice, [CARROT], to="bob")
    with pytest.raises(ValueError, match="enough is a number from 1"):
        pair.alice.call_many(Kitchen.slice, [CARROT], enough=0)


@pytest.mark.rule("T7")
async def test_the_least_busy_is_by_load_then_by_our_own_calls(join: Join) -> None:
    started: list[str] = []

    async def work(name: str, seconds: float) -> str:
        started.append(name)
        await anyio.sleep(seconds)
        return name

    async with workers(join, work, "bob", "carol", can_update_own_metadata=True) as (alice, rooms):
        with pytest.raises(LookupError, match=r"no participant in room .* has a method 'boil'"):
            await alice.least_busy("boil")
        with pytest.raises(ValueError, match="a load is a number from 0"):
            await rooms["bob"].announce_load(-1)
        first = await alice.least_busy("work")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alice.call, Worker.work, first, 5)
            await anyio.wait_all_tasks_blocked()
            second = await alice.least_busy("work")
            assert {first, second} == {"bob", "carol"}
            await rooms[second].announce_load(0.75)
            await rooms[first].announce_load(0.5)
            assert await alice.least_busy("work") == first
            await rooms[first].local_participant.set_attributes({"trio_rpc.load": "no number"})
            assert await alice.least_busy("work") == first


# T10


@pytest.mark.rule("T10")
async def test_a_participant_tells_its_methods(pair: Pair) -> None:
    async def secret() -> None: ...

    async def greet(data: RpcInvocationData) -> str:
        """Greet."""
        return ""

    pair.bob.method("secret", hidden=True)(secret)
    pair.bob.method("other", description="Another description.")(KitchenService().rest)
    pair.bob.register_rpc_method("greet", greet)
    methods = {each.name: each for each in await pair.alice.discover("bob")}
    assert [*methods] == ["caller", "greet", "other", "rest", "slice", "watch"]
    assert methods["greet"] == MethodInfo("greet", "Greet.")
    assert methods["other"].description == "Another description."
    assert methods["rest"] == MethodInfo(
        "rest",
        "",
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"type": "null"},
    )
    assert methods["watch"].streams
    assert methods["watch"].output_schema == {"type": "number"}
    assert methods["slice"].description == "Slice a vegetable."
    schema = methods["slice"].input_schema
    assert schema is not None
    assert schema["required"] == ["order"]
    assert schema["properties"] == {
        "order": {"$ref": "#/$defs/Order"},
        "times": {"type": "integer", "default": 1},
    }
    assert schema["$defs"]["Order"]["required"] == ["vegetable", "length_mm"]
    # The context is no argument.
    assert methods["caller"].input_schema == methods["rest"].input_schema


@pytest.mark.rule("T10")
async def test_the_list_has_the_shape_of_mcps(pair: Pair) -> None:
    text = await pair.alice.local_participant.perform_rpc(
        destination_identity="bob", method="rpc.discover", payload=""
    )
    slice_, watch = json.loads(text)["methods"][-2:]
    assert [*slice_] == ["name", "description", "inputSchema", "outputSchema"]
    assert watch["streams"] is True
    assert "nextCursor" not in json.loads(text)
    for payload in "[]", "{", '{"cursor": 1}':
        with pytest.raises(RpcError) as caught:
            await pair.alice.local_participant.perform_rpc(
                destination_identity="bob", method="rpc.discover", payload=payload
            )
        assert caught.value.code == 7422


@pytest.mark.rule("T10")
async def test_two_classes_of_one_name_keep_their_schemas(pair: Pair) -> None:
    async def both(
        one: Order, two: other_kitchen.Order, three: list[other_kitchen.Order]
    ) -> None: ...

    pair.bob.method(both)
    schema = (await pair.alice.discover("bob"))[0].input_schema
    assert schema is not None
    definitions = schema["$defs"]
    properties = schema["properties"]
    one, two = (properties[name]["$ref"].removeprefix("#/$defs/") for name in ("one", "two"))
    assert "vegetable" in definitions[one]["properties"]
    assert "fruit" in definitions[two]["properties"]
    assert properties["three"]["items"] == properties["two"]
    assert len(definitions) == 2


@pytest.mark.rule("T10")
async def test_a_long_list_comes_in_pages(pair: Pair) -> None:
    async def method(order: Order) -> None:
        """Do one thing, and do it well."""

    for number in range(300):
        pair.bob.method(f"method-{number}")(method)
    methods = await pair.alice.discover("bob")
    assert len(methods) == 304
    assert len({each.name for each in methods}) == 304


class CountingCodec(JsonCodec):
    """A codec that counts the schemas that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def schema(self, annotation: Any) -> dict[str, Any]:
        self.made += 1
        return super().schema(annotation)


@pytest.mark.rule("T10")
async def test_asking_again_makes_no_schemas_again(join: Join) -> None:
    codec = CountingCodec()
    async with join("bob", room=Room(codec=codec)) as bob, join("alice") as alice:
        bob.serve(KitchenService())
        await alice.wait_for_participant("bob")
        first = await alice.discover("bob")
        made = codec.made
        assert await alice.discover("bob") == first
        assert codec.made == made > 0


@pytest.mark.rule("T10")
async def test_a_description_that_is_too_large_is_cut(pair: Pair) -> None:
    async def method(number: int) -> int:
        return number

    pair.bob.method("large", description="x" * 50_000)(method)
    large = next(each for each in await pair.alice.discover("bob") if each.name == "large")
    assert large.description == "x" * 1_000
    assert large.input_schema == {"type": "object"}
    assert large.output_schema is None


@pytest.mark.rule("T10")
@pytest.mark.parametrize(
    ("answer", "path"),
    [
        ("no JSON", "$"),
        ("[]", "$"),
        ('{"methods": [{"name": 1}]}', "$.methods[0].name"),
        ('{"methods": [{"name": "a", "inputSchema": "lies"}]}', "$.methods[0].inputSchema"),
        ('{"methods": [], "nextCursor": "a"}', "$.nextCursor"),
        ('{"methods": [{"name": "a"}], "nextCursor": "a"}', "$.nextCursor"),
    ],
)
async def test_a_list_that_is_wrong_is_an_invalid_response(
    join: Join, answer: str, path: str
) -> None:
    async def handler(data: RpcInvocationData) -> str:
        return answer

    async with join("bob", room=Room(discoverable=False)) as bob, join("alice") as alice:
        bob.register_rpc_method("rpc.discover", handler)
        with pytest.raises(InvalidResponse) as caught:
            await alice.discover("bob")
    assert (caught.value.method, caught.value.path) == ("rpc.discover", path)


@pytest.mark.rule("T10")
async def test_a_list_has_a_limit(join: Join) -> None:
    calls: list[str] = []

    async def handler(data: RpcInvocationData) -> str:
        first = 100 * len(calls)
        calls.append(data.payload)
        names = [f"m{number:05}" for number in range(first, first + 100)]
        return json.dumps({"methods": [{"name": each} for each in names], "nextCursor": names[-1]})

    async with join("bob", room=Room(discoverable=False)) as bob, join("alice") as alice:
        bob.register_rpc_method("rpc.discover", handler)
        with pytest.raises(InvalidResponse, match="more than 1,000 methods"):
            await alice.discover("bob")
    assert len(calls) == 11
    assert json.loads(calls[1]) == {"cursor": "m00099"}


@pytest.mark.rule("T7", "T10")
async def test_a_list_that_comes_slowly_has_the_time_of_one_call(join: Join) -> None:
    pages: list[str] = []

    async def handler(data: RpcInvocationData) -> str:
        pages.append(data.payload)
        await anyio.sleep(4)
        name = f"m{len(pages):05}"
        return json.dumps({"methods": [{"name": name}], "nextCursor": name})

    async with join("bob", room=Room(discoverable=False)) as bob, join("alice") as alice:
        bob.register_rpc_method("rpc.discover", handler)
        await alice.wait_for_participant("bob")
        started = anyio.current_time()
        with pytest.raises(RpcError) as caught:
            await alice.discover("bob")
        assert caught.value.code == RpcError.ErrorCode.RESPONSE_TIMEOUT
        assert anyio.current_time() - started == pytest.approx(10, abs=0.1)
        assert len(pages) == 3
        async with alice.call_many(Worker.work, [1], timeout=5) as answers:
            assert [each async for each in answers] == []
        assert anyio.current_time() - started == pytest.approx(15, abs=0.2)


@pytest.mark.real_time
@pytest.mark.rule("T10")
async def test_the_descriptions_have_a_limit(join: Join) -> None:
    pages: list[str] = []

    async def handler(data: RpcInvocationData) -> str:
        pages.append(data.payload)
        name = f"m{len(pages):05}"
        method = {"name": name, "description": "x" * 4_000_000}
        return json.dumps({"methods": [method], "nextCursor": name})

    bob = Room(discoverable=False, max_payload_bytes=5_000_000)
    async with join("bob", room=bob), join("alice") as alice:
        bob.register_rpc_method("rpc.discover", handler)
        await alice.wait_for_participant("bob")
        with pytest.raises(InvalidResponse, match="more than 15,360,000 bytes"):
            await alice.discover("bob", timeout=120)
    assert len(pages) == 4


@pytest.mark.rule("T10")
async def test_discovery_can_be_turned_off(join: Join) -> None:
    async with join("bob", room=Room(discoverable=False)) as bob, join("alice") as alice:
        bob.serve(KitchenService())
        with pytest.raises(RpcError) as caught:
            await alice.discover("bob")
        assert caught.value.code == RpcError.ErrorCode.UNSUPPORTED_METHOD
        with pytest.raises(RpcError):
            await alice.wait_for_method("bob", "slice")


@pytest.mark.rule("T10")
async def test_a_change_of_the_methods_is_announced_where_that_is_allowed(join: Join) -> None:
    async with (
        join("bob", can_update_own_metadata=True) as bob,
        join("carol") as carol,
        join("alice") as alice,
    ):
        hashes: list[str] = []
        async with alice.events(ParticipantAttributesChanged) as events:

            async def greet(data: RpcInvocationData) -> str:
                return ""

            async def announced() -> None:
                event = await anext(events)
                assert event.participant.identity == "bob"
                hashes.append(event.changed_attributes["trio_rpc.methods"])

            carol.serve(KitchenService())
            bob.serve(KitchenService())
            await announced()
            bob.method("another")(KitchenService().rest)
            await announced()
            bob.unregister_rpc_method("another")
            await announced()
            # One of strings, and where LiveKit's SDK has it
            bob.local_participant.register_rpc_method("greet", greet)
            await announced()
            bob.local_participant.unregister_rpc_method("greet")
            await announced()
        first, second, third, fourth, fifth = hashes
        assert first == third == fifth
        assert len({first, second, fourth}) == 3
        assert len(first) == 12
        assert carol.local_participant.attributes == {}


# T6


@pytest.mark.rule("T6")
@pytest.mark.parametrize("may_announce", [True, False])
async def test_waiting_for_a_method(join: Join, may_announce: bool) -> None:
    async with join("alice") as alice, anyio.create_task_group() as tasks:

        async def join_later() -> None:
            await anyio.sleep(5)
            async with join("bob", can_update_own_metadata=may_announce) as bob:
                await anyio.sleep(5.5)
                bob.serve(KitchenService())
                await anyio.sleep_forever()

        tasks.start_soon(join_later)
        started = anyio.current_time()
        participant = await alice.wait_for_method("bob", "slice")
        assert participant.identity == "bob"
        waited = anyio.current_time() - started
        assert waited == pytest.approx(10.5 if may_announce else 11, abs=0.01)
        assert await alice.call(Kitchen.slice, "bob", CARROT) == [50]
        tasks.cancel_scope.cancel()


@pytest.mark.rule("T6")
async def test_waiting_for_a_method_can_be_cancelled(pair: Pair) -> None:
    with anyio.move_on_after(3.5) as scope:
        await pair.alice.wait_for_method("bob", "boil")
    assert scope.cancelled_caught
    assert pair.alice.statistics().pending_calls == 0

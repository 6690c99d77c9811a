"""Streamed answers, and reports of progress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import CallContext, InvalidArguments, InvalidResponse, Room, RoomStatistics, RpcError

from ..conftest import Join
from ..support.scripted_server import ScriptedServer, participant_info
from .conftest import Pair
from .kitchen import Kitchen, OutOfStock

pytestmark = pytest.mark.anyio

TIMED_OUT = RpcError.ErrorCode.RESPONSE_TIMEOUT


async def take(got: list[float], room: Room, *arguments: Any, **options: Any) -> None:
    """Add the items that "bob" sends to `got`."""
    async with room.stream(Kitchen.watch, "bob", *arguments, **options) as items:
        async for item in items:
            got.append(item)  # noqa: PERF401


# Items


@pytest.mark.rule("T8")
@pytest.mark.parametrize("count", [0, 1, 3, 2_000])
async def test_items_come_one_by_one(pair: Pair, count: int) -> None:
    async with pair.alice.stream(Kitchen.watch, "bob", "pan 1", count=count) as items:
        assert [item async for item in items] == [number / 2 for number in range(count)]
        assert [item async for item in items] == []
    assert pair.service.events == ["watches", "watched"]
    assert pair.alice.statistics().open_streams == 0


@pytest.mark.rule("T8")
async def test_the_first_item_does_not_wait_for_the_last(pair: Pair) -> None:
    async with pair.alice.stream(Kitchen.watch, "bob", "for ever") as items:
        assert [await anext(items) for _ in range(3)] == [0.0, 0.5, 1.0]
        assert pair.service.events == ["watches"]
    await anyio.wait_all_tasks_blocked()
    assert pair.service.events == ["watches", "watched"]
    assert pair.bob.statistics().running_handlers == 0
    assert pair.alice.statistics().pending_calls == 0


@pytest.mark.rule("T8")
async def test_leaving_the_block_before_the_first_item_cancels_the_handler(pair: Pair) -> None:
    async with pair.alice.stream(Kitchen.watch, "bob", "for ever"):
        await anyio.wait_all_tasks_blocked()
        assert pair.service.events == ["watches"]
    await anyio.wait_all_tasks_blocked()
    assert pair.service.events == ["watches", "watched"]


@pytest.mark.rule("T8")
async def test_an_exception_in_the_block_is_raised_as_it_is(pair: Pair) -> None:
    async def fail() -> None:
        async with pair.alice.stream(Kitchen.watch, "bob", "for ever") as items:
            await anext(items)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    await anyio.wait_all_tasks_blocked()
    assert pair.bob.statistics().running_handlers == 0


@pytest.mark.rule("T8", "T3")
async def test_an_error_comes_after_the_items_before_it(pair: Pair) -> None:
    async with pair.alice.stream(Kitchen.watch, "bob", "broken") as items:
        # Everything has come by now.
        await anyio.wait_all_tasks_blocked()
        got = [await anext(items) for _ in range(3)]
        with pytest.raises(OutOfStock) as caught:
            await anext(items)
    assert got == [0.0, 0.5, 1.0]
    assert caught.value.vegetable == "pan"


@pytest.mark.rule("T8", "T2")
async def test_arguments_that_do_not_fit_are_an_error_of_the_stream(pair: Pair) -> None:
    with pytest.raises(InvalidArguments, match=r"\$\.pan"):
        await take([], pair.alice, 1)
    with pytest.raises(TypeError, match="missing a required argument: 'pan'"):
        await take([], pair.alice)


@pytest.mark.rule("T8")
async def test_the_timeout_does_not_move(pair: Pair) -> None:
    async def watch(pan: str) -> AsyncIterator[float]:
        while True:
            await anyio.sleep(1)
            yield 1.0

    pair.bob.method("slow.watch")(watch)
    got: list[float] = []
    started = anyio.current_time()
    with pytest.raises(RpcError) as caught:
        await take(got, pair.alice, "", prefix="slow.", timeout=4.5, idle_timeout=2)
    assert caught.value.code == TIMED_OUT
    assert anyio.current_time() - started == pytest.approx(4.5, abs=0.1)
    assert len(got) == 4


@pytest.mark.rule("T8")
async def test_the_idle_timeout_is_renewed_by_each_item(pair: Pair) -> None:
    async def watch(pan: str) -> AsyncIterator[float]:
        for seconds in (1, 1, 1, 5):
            await anyio.sleep(seconds)
            yield float(seconds)

    pair.bob.method("slow.watch")(watch)
    got: list[float] = []
    with pytest.raises(RpcError, match="no item came for 2 s") as caught:
        await take(got, pair.alice, "", prefix="slow.", timeout=60, idle_timeout=2)
    assert caught.value.code == TIMED_OUT
    assert got == [1.0, 1.0, 1.0]
    await anyio.wait_all_tasks_blocked()
    assert pair.bob.statistics().running_handlers == 0


@pytest.mark.rule("T8")
async def test_a_callee_that_leaves_ends_the_items(pair: Pair) -> None:
    async with pair.alice.stream(Kitchen.watch, "bob", "for ever") as items:
        got = [await anext(items) for _ in range(3)]
        await pair.bob.disconnect()
        with pytest.raises(RpcError) as caught:
            await anext(items)
    assert caught.value.code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
    assert got == [0.0, 0.5, 1.0]


@pytest.mark.rule("T8")
async def test_a_callee_that_does_not_stream_answers_with_a_list(join: Join) -> None:
    async def answer(data: Any) -> str:
        assert data.accepts == ("items", "window=262144")
        return "[1.5, 2.5]"

    async def wrong(data: Any) -> str:
        return "[1.5, true]"

    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method("watch", answer)
        bob.register_rpc_method("wrong.watch", wrong)
        async with alice.stream(Kitchen.watch, "bob", "pan 1") as items:
            assert [item async for item in items] == [1.5, 2.5]
        with pytest.raises(InvalidResponse) as caught:
            await take([], alice, "pan 1", prefix="wrong.")
        assert caught.value.path == "$[1]"


@pytest.mark.rule("T8")
async def test_a_caller_that_does_not_ask_gets_a_list_up_to_the_limit(pair: Pair) -> None:
    async def watch(count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield "x" * 97

    pair.bob.method("large.watch")(watch)

    async def call(count: int) -> str:
        return await pair.alice.local_participant.perform_rpc(
            destination_identity="bob", method="large.watch", payload=f'{{"count": {count}}}'
        )

    # Each takes 100 bytes, with its quotes and a comma.
    assert len(await call(153)) == 15_301
    for count in 154, 1_000_000:
        with pytest.raises(RpcError) as caught:
            await call(count)
        assert caught.value.code == RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE


# The window


class Texts(Protocol):
    def watch(self, size: int) -> AsyncIterator[str]: ...


@pytest.mark.rule("T8")
@pytest.mark.parametrize("size", [10, 1_000, 100_000])
async def test_a_callee_waits_for_a_slow_reader(join: Join, size: int) -> None:
    sent: list[int] = []
    ended: list[int] = []

    async def watch(size: int) -> AsyncIterator[str]:
        try:
            while True:
                sent.append(size)
                yield "x" * size
        finally:
            ended.append(len(sent))

    alice = Room(max_stream_bytes=200_000)
    async with join("bob") as bob, join("alice", room=alice):
        bob.method(watch)
        async with alice.stream(Texts.watch, "bob", size, timeout=60) as items:
            # 50,000 bytes, or one item that is larger, and the one that waits
            for taken in 0, 100, 1_000:
                while len(sent) < taken:
                    assert len(await anext(items)) == size
                await anyio.sleep(1)
                ahead = (size + 3) * (len(sent) - max(taken, 0))
                assert ahead <= 50_000 + 2 * (size + 3)
        await anyio.wait_all_tasks_blocked()
        assert ended == [len(sent)]
        assert bob.statistics() == RoomStatistics()
        assert bob.statistics().held_bytes < 10_000
        assert alice.statistics() == RoomStatistics()


@pytest.mark.rule("T8")
async def test_a_stream_of_any_length_is_read_to_its_end(join: Join) -> None:
    async def watch(size: int) -> AsyncIterator[str]:
        for number in range(2_000):
            yield f"{number:>{size}}"

    async with join("bob") as bob, join("alice", room=Room(max_stream_bytes=100_000)) as alice:
        bob.method(watch)
        async with alice.stream(Texts.watch, "bob", 1_000, timeout=60) as items:
            got = [int(item) async for item in items]
        assert got == [*range(2_000)]
        await anyio.wait_all_tasks_blocked()
        assert bob.statistics() == RoomStatistics()


@pytest.mark.rule("T8")
@pytest.mark.parametrize("confirmation", ["1e9\n", "-5\n", "x", "9" * 20 + "\n"])
async def test_wrong_confirmations_open_no_window(join: Join, confirmation: str) -> None:
    sent: list[int] = []

    async def watch(data: Any) -> AsyncIterator[str]:
        while True:
            sent.append(1)
            yield "x" * 1_000

    watch.__annotations__["data"] = int
    async with join("bob") as bob, join("alice") as alice, anyio.create_task_group() as tasks:
        bob.method(watch)

        async def call() -> None:
            with pytest.raises(RpcError, match="the caller takes no more items") as caught:
                await alice.local_participant.perform_rpc(
                    destination_identity="bob",
                    method="watch",
                    payload='{"data": 1}',
                    request_id="R1",
                    accepts=["items", "window=10000"],
                )
            assert caught.value.code == TIMED_OUT

        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        before = len(sent)
        assert before == 10
        await alice.local_participant.send_text(
            confirmation, topic="trio_rpc.taken", attributes={"lk.rpc_request_id": "R1"}
        )
        await anyio.wait_all_tasks_blocked()
        assert len(sent) == before


@pytest.mark.rule("T8")
async def test_a_confirmation_without_end_is_not_kept(pair: Pair) -> None:
    errors: list[RpcError] = []

    async def call() -> None:
        try:
            await pair.alice.local_participant.perform_rpc(
                destination_identity="bob",
                method="watch",
                payload='{"pan": "for ever"}',
                request_id="R1",
                accepts=["items", "window=10000"],
            )
        except RpcError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        stream = pair.alice.local_participant.stream_text(
            destination_identities=["bob"],
            topic="trio_rpc.taken",
            attributes={"lk.rpc_request_id": "R1"},
        )
        async with stream as writer:
            await writer.write("1" * 15)
            await anyio.wait_all_tasks_blocked()
            assert errors == []
            await writer.write("1")
            await anyio.wait_all_tasks_blocked()
            assert "the caller takes no more items" in str(errors[0])
    assert pair.service.events == ["watches", "watched"]


# The other side, scripted


def header_of(request_id: str, topic: str, stream_id: str = "S1") -> models.DataStream.Header:
    return models.DataStream.Header(
        stream_id=stream_id,
        topic=topic,
        mime_type="text/plain",
        attributes={"lk.rpc_request_id": request_id},
        text_header=models.DataStream.TextHeader(),
    )


class Callee:
    """A callee "bob" that a test scripts."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.request_id = ""
        self.accepts = ""

    async def expect_request(self) -> None:
        header = (await self.server.expect_packet("stream_header")).stream_header
        self.request_id = header.attributes["lk.rpc_request_id"]
        self.accepts = header.attributes["trio_rpc.accepts"]
        self.server.send_from("bob", rpc_ack=models.RpcAck(request_id=self.request_id))

    def open(self, topic: str, stream_id: str = "S1", sender: str = "bob") -> None:
        header = header_of(self.request_id, topic, stream_id)
        self.server.send_from(sender, stream_header=header)

    def write(self, content: str, index: int = 0, stream_id: str = "S1") -> None:
        chunk = models.DataStream.Chunk(
            stream_id=stream_id, chunk_index=index, content=content.encode()
        )
        self.server.send_from("bob", stream_chunk=chunk)

    def end(self, stream_id: str = "S1") -> None:
        trailer = models.DataStream.Trailer(stream_id=stream_id)
        self.server.send_from("bob", stream_trailer=trailer)

    def respond(self, payload: str = "null") -> None:
        response = models.RpcResponse(request_id=self.request_id, payload=payload)
        self.server.send_from("bob", rpc_response=response)


def scripted_server() -> ScriptedServer:
    server = ScriptedServer(others=())
    for identity in "bob", "carol":
        server.join.other_participants.append(participant_info(identity, client_protocol=2))
    return server


Script = Callable[[Callee], None]


async def play(script: Script, **options: Any) -> tuple[list[float], Exception | None]:
    """Return the items that a scripted callee sends, and the error after them."""
    server = scripted_server()
    callee = Callee(server)
    got: list[float] = []

    async def answer() -> None:
        await callee.expect_request()
        script(callee)

    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(answer)
        try:
            await take(got, room, "pan 1", **options)
        except RpcError as error:
            assert callee.accepts == "items window=262144"
            return got, error
        assert room.statistics() == RoomStatistics()
    assert callee.accepts == "items window=262144"
    return got, None


def items_and_response(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\n2.")
    callee.write("5\n", 1)
    callee.end()
    callee.respond()


def response_first(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.respond()
    callee.write("1.5\n2.5\n")
    callee.end()


def item_after_the_end(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\n2.5\n")
    callee.end()
    callee.write("3.5\n", 1)
    callee.respond()


def two_streams(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.open("trio_rpc.items", "S2")
    callee.write("9.5\n", 0, "S2")
    callee.end("S2")
    callee.write("1.5\n2.5\n")
    callee.end()
    callee.respond()


def stream_of_another(callee: Callee) -> None:
    callee.open("trio_rpc.items", "S2", sender="carol")
    items_and_response(callee)


@pytest.mark.rule("T8")
@pytest.mark.parametrize(
    "script",
    [items_and_response, response_first, item_after_the_end, two_streams, stream_of_another],
)
async def test_items_of_a_peer(script: Script) -> None:
    assert await play(script) == ([1.5, 2.5], None)


def no_json(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\nno JSON\n")
    callee.end()
    callee.respond()


def another_type(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write('1.5\n"2.5"\n')
    callee.end()
    callee.respond()


def no_end_of_line(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\n2.5")
    callee.end()
    callee.respond()


def not_utf8(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\n")
    chunk = models.DataStream.Chunk(stream_id="S1", chunk_index=1, content=b"\xff\n")
    callee.server.send_from("bob", stream_chunk=chunk)
    callee.end()
    callee.respond()


def a_gap(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\n")
    callee.write("2.5\n", 2)


def never_ending(callee: Callee) -> None:
    callee.open("trio_rpc.items")
    callee.write("1.5\n")


def null_without_items(callee: Callee) -> None:
    callee.respond()


@pytest.mark.rule("T8")
@pytest.mark.parametrize(
    ("script", "count", "message"),
    [
        (no_json, 1, "JSON was expected"),
        (another_type, 1, "Expected `float`, got `str`"),
        (no_end_of_line, 1, "the last line has no end"),
        (not_utf8, 1, "the items broke off"),
        (a_gap, 1, "the items broke off"),
        (never_ending, 1, "did not answer it within 9 s"),
        (null_without_items, 0, "Expected `array`, got `null`"),
    ],
)
async def test_wrong_items_of_a_peer_are_an_error(script: Script, count: int, message: str) -> None:
    got, error = await play(script, timeout=9)
    assert len(got) == count
    assert message in str(error)


@pytest.mark.rule("T8")
async def test_items_that_nobody_waits_for_are_dropped(pair: Pair) -> None:
    async with pair.alice.stream(Kitchen.watch, "bob", "pan 1"):
        await anyio.wait_all_tasks_blocked()
    await pair.bob.local_participant.send_text(
        "1.5\n", topic="trio_rpc.items", attributes={"lk.rpc_request_id": "unknown"}
    )
    await anyio.wait_all_tasks_blocked()
    assert pair.alice.statistics() == RoomStatistics()
    assert pair.alice.statistics().held_bytes == 0


# Progress


class Bakery(Protocol):
    async def bake(self, minutes: int) -> str: ...


async def bake(minutes: int, call: CallContext) -> str:
    for minute in range(minutes):
        await call.progress(minute / minutes, f"minute {minute}")
    if not minutes:
        raise OutOfStock("time")
    await call.progress(1)
    return "bread"


@pytest.mark.rule("T9")
async def test_progress_is_reported_to_a_caller_that_wants_it(pair: Pair) -> None:
    reports: list[tuple[float, str]] = []
    pair.bob.method(bake)
    bakery = pair.alice.client(Bakery, "bob", on_progress=lambda *report: reports.append(report))
    assert await bakery.bake(4) == "bread"
    assert reports == [
        (0, "minute 0"),
        (0.25, "minute 1"),
        (0.5, "minute 2"),
        (0.75, "minute 3"),
        (1, ""),
    ]
    with pytest.raises(OutOfStock):
        await bakery.bake(0)
    assert await pair.alice.call(Bakery.bake, "bob", 4) == "bread"
    assert len(reports) == 5
    assert pair.alice.statistics() == RoomStatistics()


@pytest.mark.rule("T9")
async def test_reports_come_while_the_handler_runs(pair: Pair) -> None:
    reports: list[tuple[float, str]] = []

    async def bake(minutes: int, call: CallContext) -> str:
        await call.progress(0.5, "half")
        await anyio.sleep_forever()
        return ""

    pair.bob.method(bake)
    bakery = pair.alice.client(Bakery, "bob", on_progress=lambda *report: reports.append(report))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bakery.bake, 1)
        await anyio.wait_all_tasks_blocked()
        assert reports == [(0.5, "half")]
        tasks.cancel_scope.cancel()
    await anyio.wait_all_tasks_blocked()
    assert pair.bob.statistics().running_handlers == 0


@pytest.mark.rule("T9")
@pytest.mark.parametrize("progress", [1.1, -0.1, float("nan"), float("inf")])
async def test_progress_is_from_0_to_1(pair: Pair, progress: float) -> None:
    raised: list[str] = []

    async def bake(minutes: int, call: CallContext) -> str:
        try:
            await call.progress(progress)
        except ValueError as error:
            raised.append(str(error))
        return "bread"

    pair.bob.method(bake)
    assert await pair.alice.call(Bakery.bake, "bob", 1) == "bread"
    assert raised == [f"progress is from 0 to 1, not {progress}"]


@pytest.mark.rule("T9")
async def test_wrong_reports_of_a_peer_are_ignored() -> None:
    reports: list[tuple[float, str]] = []
    server = scripted_server()
    callee = Callee(server)

    async def answer() -> None:
        await callee.expect_request()
        callee.open("trio_rpc.progress")
        callee.write('{"progress": 0.5}\n{"progress": 1.5}\n{"progress": 0.4}\n')
        callee.write('{"progress": 0.6, "message": "x"}\nno JSON\n{"progress": 0.7}\n', 1)
        callee.respond('"bread"')

    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(answer)
        bakery = room.client(Bakery, "bob", on_progress=lambda *report: reports.append(report))
        assert await bakery.bake(1) == "bread"
        assert room.statistics() == RoomStatistics()
    assert callee.accepts == "progress"
    assert reports == [(0.5, ""), (0.6, "x")]


@pytest.mark.rule("T9")
async def test_a_report_that_is_too_long_is_ignored_with_those_after_it(pair: Pair) -> None:
    reports: list[int] = []

    async def bake(minutes: int, call: CallContext) -> str:
        for size in 0, 10_000, 20_000, 0:
            await call.progress(0.5, "x" * size)
        return "bread"

    def on_progress(progress: float, message: str) -> None:
        reports.append(len(message))

    pair.bob.method(bake)
    bakery = pair.alice.client(Bakery, "bob", on_progress=on_progress)
    assert await bakery.bake(1) == "bread"
    assert reports == [0, 10_000]


@pytest.mark.rule("T9")
async def test_a_function_for_progress_that_fails_does_not_fail_the_call(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(progress: float, message: str) -> None:
        raise KeyError

    pair.bob.method(bake)
    assert await pair.alice.client(Bakery, "bob", on_progress=fail).bake(4) == "bread"
    assert caplog.text.count("on_progress failed") == 1

"""Programs as type checkers see them; `test_typing` has mypy and pyright check this file.

Each mistake has a comment for each checker that expects it: a comment that is not needed is an
error as well. Nothing here is run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, assert_type

import attrs
from starlette.applications import Starlette

from trio_rpc import (
    ByteStreamInfo,
    ByteStreamReader,
    ByteStreamWriter,
    CallContext,
    EventStream,
    ItemStream,
    MethodInfo,
    Outcome,
    ParticipantKind,
    RemoteParticipant,
    Retry,
    Room,
    RoomEvent,
    RpcInvocationData,
    TextStreamInfo,
    TextStreamReader,
    TextStreamWriter,
)
from trio_rpc import server as server_module
from trio_rpc.events import (
    Connected,
    DataReceived,
    Disconnected,
    ParticipantActive,
    ParticipantConnected,
)
from trio_rpc.server import (
    RoomServer,
    create_app,
    serve,
    serve_stream,
)

room = Room()
local = room.local_participant
DATA = RpcInvocationData("id", "alice", "hi", 10.0)


# Events


def read_any(events: EventStream[RoomEvent]) -> None: ...


async def read_events() -> None:
    assert_type(room.events(), EventStream[RoomEvent])
    assert_type(room.events(max_buffered=10), EventStream[RoomEvent])
    assert_type(room.events(DataReceived), EventStream[DataReceived])
    async with room.events(DataReceived) as packets:
        async for packet in packets:
            assert_type(packet, DataReceived)
            assert_type(packet.data_packet.data, bytes)
            _ = packet.participant  # type: ignore[attr-defined]  # pyright: ignore
    async with room.events(DataReceived, ParticipantConnected, max_buffered=10) as some:
        assert_type(await anext(some), DataReceived | ParticipantConnected)
        async for event in some:
            match event:
                case DataReceived(data_packet):
                    assert_type(data_packet.data, bytes)
                case ParticipantConnected(participant):
                    assert_type(participant, RemoteParticipant)
    three = room.events(Connected, Disconnected, DataReceived)
    assert_type(three, EventStream[Connected | Disconnected | DataReceived])
    four = room.events(Connected, Disconnected, DataReceived, ParticipantActive)
    assert_type(four, EventStream[Connected | Disconnected | DataReceived | ParticipantActive])
    five = room.events(
        Connected, Disconnected, DataReceived, ParticipantActive, ParticipantConnected
    )
    assert_type(five, EventStream[RoomEvent])
    read_any(room.events(DataReceived))


def events_are_classes() -> None:
    room.events("data_received")  # type: ignore[call-overload]  # pyright: ignore
    room.events(int)  # type: ignore[type-var]  # pyright: ignore


@room.on("data_received")
def on_data(packet: object) -> int:
    return 1


@room.on("conected")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore
def on_misspelt() -> None: ...


assert_type(on_data(1), int)


# Calls


@room.register_rpc_method("greet")
async def greet(data: RpcInvocationData) -> str:
    return data.payload


@room.register_rpc_method("add")  # type: ignore[type-var]  # pyright: ignore
async def add(data: RpcInvocationData) -> int:
    return 1


@room.register_rpc_method("empty")  # type: ignore[type-var]  # pyright: ignore
def empty() -> str:
    return ""


async def call() -> None:
    assert_type(await greet(DATA), str)
    assert_type(await room.register_rpc_method("greet", greet)(DATA), str)
    bob = await room.wait_for_participant("bob")
    assert_type(bob, RemoteParticipant)
    assert_type(bob.kind, ParticipantKind)
    assert_type(await bob.perform_rpc("greet", "hi", response_timeout=5), str)
    answer = await local.perform_rpc(destination_identity="bob", method="greet", payload="hi")
    assert_type(answer, str)
    await bob.perform_rpc("greet")  # type: ignore[call-arg]  # pyright: ignore
    await bob.perform_rpc("greet", b"hi")  # type: ignore[arg-type]  # pyright: ignore
    await bob.perform_rpc("greet", "hi", 5)  # type: ignore[call-arg]  # pyright: ignore


# Typed calls


@attrs.frozen
class Order:
    vegetable: str
    length_mm: int = 100


class Kitchen(Protocol):
    async def slice(self, order: Order, times: int = 1) -> list[int]: ...
    def watch(self, pan: str) -> AsyncIterator[float]: ...


class Service:
    async def slice(self, order: Order, times: int = 1) -> list[int]:
        return [order.length_mm] * times

    async def watch(self, pan: str, call: CallContext) -> AsyncIterator[float]:  # noqa: ARG002
        assert_type(call.caller_identity, str)
        await call.progress(0.5, "half")
        yield 20.0


@attrs.define
class OutOfStock(Exception):  # noqa: N818
    vegetable: str


@room.method
async def chop(order: Order, times: int = 1) -> list[int]:
    return [times]


@room.method("kitchen.stir", hidden=True)
async def stir(pan: str) -> None: ...


async def call_with_types() -> None:
    # A decorated function stays what it is.
    assert_type(await chop(Order("carrot")), list[int])
    await chop("carrot")  # type: ignore[arg-type]  # pyright: ignore
    await stir(1)  # type: ignore[arg-type]  # pyright: ignore
    room.serve(Service(), prefix="kitchen.")
    assert_type(room.errors.register(OutOfStock, code=9001), type[OutOfStock])

    kitchen = room.client(Kitchen, "bob", prefix="kitchen.", timeout=5, retry=Retry())
    assert_type(kitchen, Kitchen)
    assert_type(await kitchen.slice(Order("carrot"), times=2), list[int])
    await kitchen.slice("carrot")  # type: ignore[arg-type]  # pyright: ignore
    await kitchen.boil()  # type: ignore[attr-defined]  # pyright: ignore

    assert_type(await room.call(Kitchen.slice, "bob", Order("carrot"), times=2), list[int])
    await room.call(Kitchen.slice, "bob")  # type: ignore[call-arg]  # pyright: ignore
    await room.call(Kitchen.slice, "bob", "carrot")  # type: ignore[arg-type]  # pyright: ignore
    await room.call(Kitchen.slice, "bob", Order("carrot"), often=2)  # type: ignore[call-arg]  # pyright: ignore
    await room.call(Kitchen.slice, 1, Order("carrot"))  # type: ignore[arg-type]  # pyright: ignore
    await room.call(Kitchen.watch, "bob", "pan 1")  # type: ignore[arg-type]  # pyright: ignore

    outcome = await room.try_call(Kitchen.slice, "bob", Order("carrot"))
    assert_type(outcome, Outcome[list[int]])
    assert_type(outcome.value, list[int])
    assert_type(outcome.error, Exception | None)
    caller = room.with_options(timeout=5, on_progress=print)
    assert_type(await caller.call(Kitchen.slice, "bob", Order("carrot")), list[int])

    async with room.stream(Kitchen.watch, "bob", "pan 1", idle_timeout=5) as items:
        assert_type(items, ItemStream[float])
        async for item in items:
            assert_type(item, float)
    room.stream(Kitchen.slice, "bob", Order("carrot"))  # type: ignore[arg-type]  # pyright: ignore

    async with room.call_many(Kitchen.slice, [Order("carrot")], to=["bob"], enough=1) as answers:
        async for identity, each in answers:
            assert_type(identity, str)
            assert_type(each, Outcome[list[int]])
    assert_type(await room.discover("bob"), list[MethodInfo])
    assert_type(await room.wait_for_method("bob", "slice"), RemoteParticipant)
    await local.perform_rpc(
        destination_identity="bob", method="greet", payload="hi", retry=Retry(idempotent=True)
    )
    Retry(on=["1401"])  # type: ignore[list-item]  # pyright: ignore


# Streams


@room.register_text_stream_handler("notes")
async def read_text(reader: TextStreamReader, sender: str) -> None:
    assert_type(await reader.read_all(), str)


@room.register_byte_stream_handler("photos")
async def read_bytes(reader: ByteStreamReader, sender: str) -> None:
    assert_type(await reader.read_all(), bytes)


def register() -> None:
    room.register_text_stream_handler("notes", read_bytes)  # type: ignore[type-var]  # pyright: ignore
    room.register_byte_stream_handler("photos", read_text)  # type: ignore[type-var]  # pyright: ignore
    room.register_text_stream_handler(read_text)  # type: ignore[call-overload]  # pyright: ignore


async def write() -> None:
    async with local.stream_text(topic="notes") as text:
        assert_type(text, TextStreamWriter)
        assert_type(text.info, TextStreamInfo)
        await text.write("some")
        await text.write(b"some")  # type: ignore[arg-type]  # pyright: ignore
    async with local.stream_bytes("photo.jpg") as content:
        assert_type(content, ByteStreamWriter)
        assert_type(content.info, ByteStreamInfo)
        await content.write(b"some")
        await content.write("some")  # type: ignore[arg-type]  # pyright: ignore
    assert_type(await local.stream_text(), TextStreamWriter)
    assert_type(await local.stream_bytes("photo.jpg"), ByteStreamWriter)
    await local.stream_text().write("some")  # type: ignore[attr-defined]  # pyright: ignore


# The server


async def run_server(server: RoomServer) -> None:
    assert_type(create_app(server), Starlette)
    await serve(server, "127.0.0.1", 0)
    await serve("127.0.0.1", 0)  # type: ignore[arg-type]  # pyright: ignore
    _ = server_module.no_such_name  # type: ignore[attr-defined]  # pyright: ignore
    await serve_stream(server, "tcp://127.0.0.1:0")

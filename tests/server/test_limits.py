"""The limits of a server: peers that do not read, or vanish, and too many of everything."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import anyio
import attrs
import pytest
import wsproto.events
from livekit.protocol import rtc
from livekit.protocol.rtc import JoinRequest

from trio_rpc import ConnectError, DisconnectReason, Room
from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import encode_frames
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..conftest import Join
from ..support.messages import leave_reasons, texts, told, updates, user
from ..support.raw_sockets import RawWebSocket, connect_websocket
from ..support.scripted_client import ScriptedClient, scripted_client, scripted_clients
from ..support.tokens import API_KEYS, make_token
from .reading import reading, send_all

pytestmark = pytest.mark.anyio

QUEUE = 20_000


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(max_queue_bytes=QUEUE)


@pytest.fixture
def server(limits: ServerLimits) -> RoomServer:
    return RoomServer(API_KEYS, limits)


def text_of(number: int, size: int = 1000) -> str:
    return f"{number} ".ljust(size, "x")


async def publish(member: ScriptedClient, count: int, size: int) -> list[str]:
    """Publish to everybody, which waits for who does not read; returns what was."""
    sent = [text_of(number, size) for number in range(count)]
    await send_all(member, map(user, sent))
    return sent


# Readers that do not read


@pytest.mark.rule("V8")
async def test_a_member_that_does_not_read_is_disconnected_and_only_its_senders_wait(
    server: RoomServer,
) -> None:
    async with (
        scripted_clients(server, "alice", "bob", "carol", "sloth") as (alice, bob, carol, sloth),
        reading((alice, 0), (bob, 0), (carol, 0), (sloth, math.inf)) as (_, reader, _, _),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(publish, alice, 2000, 1000)
        seconds = 0
        while not updates(reader.messages):
            carol.send(user("not held up", "bob"))
            await anyio.wait_all_tasks_blocked()
            seconds += 1
            assert reader.texts.count("not held up") == seconds
            await anyio.sleep(1)
        assert 20 <= seconds <= 26
        await reader.wait_packets(2000 + seconds)
        published = [text for text in reader.texts if text != "not held up"]
        assert published == [text_of(number) for number in range(2000)]
        assert told(reader.messages) == [("sloth", "DISCONNECTED")]
        messages, why = await sloth.receive_rest()
    received = texts(messages)
    assert received == published[: len(received)]
    assert len(received) < len(published)
    assert leave_reasons(messages) == ["STATE_MISMATCH"]
    assert why == "it does not read: it took nothing for 20 s"


@pytest.mark.rule("V8")
async def test_a_member_without_room_for_an_urgent_frame_is_disconnected(
    server: RoomServer,
) -> None:
    async with (
        scripted_clients(server, "bob", "sloth") as (bob, sloth),
        reading((bob, 0), (sloth, math.inf)) as (reader, _),
    ):
        # Who leaves is gone, and cannot be held up.
        async with AsyncExitStack() as stack:
            for number in range(50):
                token = make_token(str(number).rjust(200))
                guest = await stack.enter_async_context(server.open_link(token, JoinRequest()))
                await guest.receive()
                await anyio.wait_all_tasks_blocked()
            assert server.statistics().participants == 52
        messages, why = await sloth.receive_rest()
        await reader.wait_until(lambda: ("sloth", "DISCONNECTED") in told(reader.messages))
    assert leave_reasons(messages) == ["STATE_MISMATCH"]
    assert why.startswith("it does not read: ")
    assert why.endswith(" bytes wait to be sent, of 20,000")


@pytest.mark.rule("V8")
async def test_a_room_ends_when_its_last_participant_is_disconnected(server: RoomServer) -> None:
    async with scripted_client(server, "sloth") as sloth, reading((sloth, math.inf)):
        async with scripted_client(server, "alice") as alice, reading((alice, 0)):
            await publish(alice, 1500, 1000)
        await anyio.sleep(5)
        assert server.statistics() == ServerStatistics(rooms=1, participants=0)
    await anyio.sleep(20)
    assert server.statistics() == ServerStatistics(rooms=0, participants=0)


@pytest.mark.rule("V8")
async def test_lossy_packets_are_dropped_first_and_hold_up_nobody(server: RoomServer) -> None:
    async with scripted_clients(server, "alice", "bob", "sloth") as (alice, bob, sloth):
        for number in range(100):
            alice.send(user(text_of(number)), Channel.LOSSY)
            await alice.settle()
        for _ in range(3):
            await bob.settle()
        assert server.statistics().participants == 3
        received = texts(await sloth.settle())
    lossy = [text_of(number) for number in range(100)]
    assert received == lossy[: len(received)]
    assert 4 < len(received) < 100


@pytest.mark.rule("V8")
@pytest.mark.real_time
@pytest.mark.parametrize(
    "limits",
    [ServerLimits(max_queue_bytes=500_000, read_timeout=2)],
    ids=["500 KB"],
)
async def test_a_socket_that_is_never_read_is_closed(server: RoomServer, url: str) -> None:
    async with (
        scripted_clients(server, "alice", "bob") as (alice, bob),
        reading((alice, 0), (bob, 0)) as (_, reader),
        connect_websocket(url, make_token("sloth")) as sloth,
        anyio.create_task_group() as tasks,
    ):
        await sloth.receive()
        await reader.wait_updates(1)
        tasks.start_soon(ping_socket, sloth)
        published = await publish(alice, 200, 60_000)
        await reader.wait_packets(200)
        assert reader.texts == published
        assert told(reader.messages)[-1] == ("sloth", "DISCONNECTED")
        tasks.cancel_scope.cancel()


async def ping_socket(websocket: RawWebSocket) -> None:
    request = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=1)).SerializeToString()
    message = encode_frames([Frame(Channel.SIGNAL, request)])
    with suppress(anyio.BrokenResourceError):
        while True:
            await websocket.send(wsproto.events.BytesMessage(data=message))
            await anyio.sleep(0.5)


# Peers that vanish


@pytest.mark.rule("V9")
async def test_a_member_that_is_silent_for_the_read_timeout_is_disconnected(
    server: RoomServer, join: Join
) -> None:
    async with join("alice") as alice, scripted_client(server, "bob") as bob:
        started = anyio.current_time()
        await alice.wait_for_participant("bob")
        assert bob.join.ping_timeout == 15
        async with alice.events() as events:
            event = await anext(events)
            while event.name == "room_updated":
                # The number of participants has changed.
                event = await anext(events)
            assert event.name == "participant_disconnected"
        assert anyio.current_time() - started == pytest.approx(15)
        messages, why = await bob.receive_rest()
        assert leave_reasons(messages) == ["CONNECTION_TIMEOUT"]
        assert why == "it was silent for 15 s"


async def ping(member: ScriptedClient) -> None:
    await member.settle()


async def send_data(member: ScriptedClient) -> None:
    member.send(user("still here"))


async def send_nonsense(member: ScriptedClient) -> None:
    member.send_frame(b"\xff", Channel.SIGNAL)


@pytest.mark.rule("V9")
@pytest.mark.parametrize("speak", [ping, send_data, send_nonsense])
async def test_a_member_that_sends_anything_within_the_ping_timeout_is_kept(
    server: RoomServer, speak: Callable[[ScriptedClient], Awaitable[None]]
) -> None:
    async with scripted_client(server, "alice") as alice:
        for _ in range(10):
            await anyio.sleep(14.9)
            await speak(alice)
        assert server.statistics().participants == 1


@pytest.mark.rule("V9")
async def test_a_room_at_rest_stays_joined(server: RoomServer, join: Join) -> None:
    async with join("alice") as alice:
        await anyio.sleep(3600)
        assert alice.isconnected()
        assert server.statistics().participants == 1


@pytest.mark.rule("V9")
@pytest.mark.real_time
@pytest.mark.parametrize("limits", [ServerLimits(ping_timeout=1)], ids=["1 s"])
async def test_a_socket_that_falls_silent_is_closed_with_the_reason(
    server: RoomServer, url: str
) -> None:
    async with connect_websocket(url, make_token("bob")) as bob:
        assert await bob.receive_close() == (1000, "it was silent for 1 s")
        assert server.statistics().participants == 0


@pytest.mark.rule("V9", "C8")
@pytest.mark.real_time
async def test_a_connection_that_is_reset_is_noticed_at_once(
    server: RoomServer, url: str, join: Join
) -> None:
    async with join("alice", to=url) as alice, alice.events() as events:
        async with connect_websocket(url, make_token("bob")) as bob:
            await alice.wait_for_participant("bob")
            await anyio.aclose_forcefully(bob.stream)
        names = []
        while "participant_disconnected" not in names:
            names.append((await anext(events)).name)
        assert server.statistics().participants == 1


# Too many


async def assert_refused(to: RoomServer | str, token: str, status: int, text: str) -> None:
    with pytest.raises(ConnectError) as caught:
        async with Room().connect(to, token):
            pass
    assert caught.value.status == status
    assert str(caught.value).endswith(f": {text}"), caught.value


@pytest.mark.rule("V1")
@pytest.mark.real_time
@pytest.mark.parametrize("limits", [ServerLimits(max_rooms=2)], ids=["2 rooms"])
async def test_one_room_too_many_is_refused_with_429(
    server: RoomServer, url: str, join: Join
) -> None:
    text = "the server has 2 rooms, which is its limit"
    async with join("alice"):
        other = make_token("alice", room="another")
        async with Room().connect(url, other), join("bob", to=url):
            for to in (server, url):
                await assert_refused(to, make_token("bob", room="a third"), 429, text)
        async with Room().connect(url, make_token("bob", room="a third")):
            assert server.statistics() == ServerStatistics(rooms=2, participants=2)


@pytest.mark.rule("V1", "V5")
@pytest.mark.real_time
@pytest.mark.parametrize("limits", [ServerLimits(max_participants_per_room=2)], ids=["2"])
async def test_one_participant_too_many_is_refused_with_429(
    server: RoomServer, url: str, join: Join
) -> None:
    text = "room 'the room' has 2 participants, which is its limit"
    ghosts = join("ghost", hidden=True, on_disconnect="continue")
    async with join("alice"), ghosts as ghost:
        for to in (server, url):
            await assert_refused(to, make_token("bob"), 429, text)
        async with join("ghost", to=url):
            assert await ghost.wait_disconnected() is DisconnectReason.DUPLICATE_IDENTITY
            async with Room().connect(url, make_token("bob", room="another")):
                assert server.statistics() == ServerStatistics(rooms=2, participants=3)


@pytest.mark.rule("V1")
@pytest.mark.real_time
@pytest.mark.parametrize("limits", [ServerLimits(max_joins_in_flight=1)], ids=["1"])
async def test_one_join_in_flight_too_many_is_refused_with_503(
    server: RoomServer, url: str, join: Join
) -> None:
    with server.admission.joining():
        for to in (server, url):
            text = "1 participants are joining already: try again"
            await assert_refused(to, make_token("alice"), 503, text)
    for to in (server, url):
        async with join("alice", to=to):
            pass


@pytest.mark.rule("V1")
@pytest.mark.real_time
async def test_a_server_that_shuts_down_refuses_with_503(server: RoomServer, url: str) -> None:
    await server.shut_down()
    for to in (server, url):
        await assert_refused(to, make_token("alice"), 503, "the server shuts down")


@pytest.mark.rule("V1")
@pytest.mark.real_time
@pytest.mark.parametrize("limits", [ServerLimits(max_participants_per_room=3)], ids=["3"])
@pytest.mark.parametrize("over_socket", [False, True], ids=["memory", "socket"])
async def test_of_many_that_join_at_once_no_more_than_the_limit_are_admitted(
    server: RoomServer, url: str, join: Join, over_socket: bool
) -> None:
    refusals: list[str] = []
    leave = anyio.Event()

    async def come(identity: str) -> None:
        try:
            async with join(identity, to=url if over_socket else server):
                await leave.wait()
        except ConnectError as error:
            refusals.append(str(error))
        if len(refusals) == 7:
            leave.set()

    async with anyio.create_task_group() as task_group:
        for number in range(10):
            task_group.start_soon(come, str(number))
    assert all("has 3 participants, which is its limit" in each for each in refusals)
    assert server.statistics() == ServerStatistics(rooms=1, participants=0)


@pytest.mark.parametrize(
    "name", sorted({each.name for each in attrs.fields(ServerLimits)} - {"resume_window"})
)
def test_a_limit_below_one_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' must be > 0: 0"):
        ServerLimits(**{name: 0})


def test_a_negative_window_for_resuming_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="'resume_window' must be >= 0: -1"):
        ServerLimits(resume_window=-1)

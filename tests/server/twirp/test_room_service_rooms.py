"""RoomService on rooms: made, listed, changed, deleted, and expired (rule R2)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from trio_rpc import ConnectError, DisconnectReason
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ...conftest import Join
from ...support.messages import leave_reasons, told
from ...support.scripted_client import scripted_client
from ...support.tokens import API_KEYS, ROOM
from .client import answer_to, refusal_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_metadata_bytes=10, max_name_bytes=8, max_rooms=3))


async def names_of_rooms(server: RoomServer, **request: Any) -> list[str]:
    return [each["name"] for each in (await answer_to(server, "ListRooms", **request))["rooms"]]


# Rooms


@pytest.mark.rule("R2")
async def test_a_room_is_created_as_the_request_says(server: RoomServer) -> None:
    made = await answer_to(
        server,
        "CreateRoom",
        name=ROOM,
        empty_timeout=7,
        departure_timeout=3,
        max_participants=2,
        metadata="m",
    )
    assert {key: made[key] for key in made if "time" not in key} | {"sid": ""} == {
        "sid": "",
        "name": ROOM,
        "max_participants": 2,
        "metadata": "m",
        "num_participants": 0,
        "num_publishers": 0,
        "active_recording": False,
        "turn_password": "",
        "enabled_codecs": [],
    }
    assert (made["empty_timeout"], made["departure_timeout"]) == (7, 3)
    assert await answer_to(server, "ListRooms") == {"rooms": [made]}
    async with scripted_client(server, "alice") as alice:
        assert alice.join.room.sid == made["sid"]
        assert alice.join.room.metadata == "m"
        assert alice.join.room.max_participants == 2


@pytest.mark.rule("R2")
async def test_what_a_request_does_not_say_is_livekits_default(server: RoomServer) -> None:
    made = await answer_to(server, "CreateRoom", name=ROOM)
    assert (made["empty_timeout"], made["departure_timeout"]) == (300, 20)
    assert made["max_participants"] == 0


@pytest.mark.rule("R2")
async def test_a_room_that_exists_is_answered_as_it_is(server: RoomServer) -> None:
    first = await answer_to(server, "CreateRoom", name=ROOM, metadata="first")
    again = await answer_to(server, "CreateRoom", name=ROOM, metadata="second", empty_timeout=1)
    assert again == first
    async with scripted_client(server, "alice", room="joined") as alice:
        same = await answer_to(server, "CreateRoom", name="joined", empty_timeout=1)
        assert same["sid"] == alice.join.room.sid
        assert (same["empty_timeout"], same["num_participants"]) == (300, 1)


@pytest.mark.rule("R2")
@pytest.mark.parametrize(
    ("request_", "msg"),
    [
        ({"name": ""}, "a room needs a name"),
        ({"name": "r" * 9}, "the name of a room of 9 UTF-8 bytes, over the limit of 8"),
        ({"name": ROOM, "metadata": "m" * 11}, "metadata of 11 UTF-8 bytes, over the limit of 10"),
    ],
)
async def test_a_room_that_cannot_be_is_an_invalid_argument(
    server: RoomServer, request_: dict[str, str], msg: str
) -> None:
    assert await refusal_of(server, "CreateRoom", **request_) == (400, "invalid_argument", msg)
    assert server.list_rooms() == []


@pytest.mark.rule("R2")
@pytest.mark.parametrize("number", [-1, 2**32])
@pytest.mark.parametrize("setting", ["empty_timeout", "departure_timeout", "max_participants"])
async def test_a_setting_out_of_range_is_a_value_error(
    server: RoomServer, setting: str, number: int
) -> None:
    with pytest.raises(ValueError, match=f"are from 0 to 4294967295, not {number}"):
        server.create_room(ROOM, **{setting: number})  # type: ignore[arg-type]
    assert server.list_rooms() == []
    assert server.create_room(ROOM, **{setting: 2**32 - 1}).name == ROOM  # type: ignore[arg-type]


@pytest.mark.rule("R2")
async def test_one_room_too_many_is_refused(server: RoomServer) -> None:
    for name in "abc":
        await answer_to(server, "CreateRoom", name=name)
    assert await refusal_of(server, "CreateRoom", name="d") == (
        429,
        "resource_exhausted",
        "the server has 3 rooms, which is its limit",
    )
    await answer_to(server, "CreateRoom", name="c")
    await answer_to(server, "DeleteRoom", room="a")
    await answer_to(server, "CreateRoom", name="d")
    assert await names_of_rooms(server) == ["b", "c", "d"]


@pytest.mark.rule("R2")
async def test_the_rooms_that_are_asked_for_are_listed(server: RoomServer) -> None:
    await answer_to(server, "CreateRoom", name="empty")
    async with scripted_client(server, "alice"), scripted_client(server, "ghost", hidden=True):
        assert await names_of_rooms(server) == ["empty", ROOM]
        assert await names_of_rooms(server, names=[ROOM, "nope"]) == [ROOM]
        assert await names_of_rooms(server, names=["nope"]) == []
        [listed] = (await answer_to(server, "ListRooms", names=[ROOM]))["rooms"]
        assert listed["num_participants"] == 1


@pytest.mark.rule("R2")
async def test_who_is_one_too_many_for_a_room_is_refused(server: RoomServer, join: Join) -> None:
    server.create_room(ROOM, max_participants=1)
    async with scripted_client(server, "alice"):
        with pytest.raises(ConnectError, match="has 1 participants, which is its limit") as caught:
            async with join("bob"):
                pass
        assert caught.value.status == 429
        async with (
            scripted_client(server, "alice") as again,
            scripted_client(server, "bob", room="other"),
        ):
            assert told(await again.settle()) == []


@pytest.mark.rule("R2")
async def test_the_servers_own_limit_holds_for_every_room() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_participants_per_room=5))
    assert server.create_room("a", max_participants=6).max_participants == 5
    assert server.create_room("b", max_participants=5).max_participants == 5
    assert server.create_room("c", max_participants=4).max_participants == 4


# Lifetimes of rooms


@pytest.mark.rule("R2")
@pytest.mark.parametrize(("waited", "rooms"), [(6.9, [ROOM]), (7.0, [])])
async def test_a_room_waits_for_its_first_participant_until_empty_timeout(
    server: RoomServer, waited: float, rooms: list[str]
) -> None:
    server.create_room(ROOM, empty_timeout=7, departure_timeout=1000)
    await anyio.sleep(waited)
    assert await names_of_rooms(server) == rooms
    assert server.statistics() == ServerStatistics(rooms=len(rooms), participants=0)


@pytest.mark.rule("R2")
@pytest.mark.parametrize(("waited", "same"), [(2.9, True), (3.0, False)])
async def test_a_room_waits_for_its_participants_to_come_back_until_departure_timeout(
    server: RoomServer, waited: float, same: bool
) -> None:
    sid = server.create_room(ROOM, empty_timeout=1000, departure_timeout=3, metadata="m").sid
    async with scripted_client(server, "alice"):
        await anyio.sleep(5)
        assert server.statistics() == ServerStatistics(rooms=1, participants=1)
    await anyio.sleep(waited)
    async with scripted_client(server, "alice") as alice:
        assert (alice.join.room.sid == sid) is same
        assert alice.join.room.metadata == ("m" if same else "")


@pytest.mark.rule("R2")
async def test_a_room_that_is_in_use_does_not_expire(server: RoomServer) -> None:
    sid = server.create_room(ROOM, empty_timeout=1, departure_timeout=1).sid
    for _ in range(3):
        async with scripted_client(server, "alice") as alice:
            await anyio.sleep(2)
            assert alice.join.room.sid == sid
            assert await names_of_rooms(server) == [ROOM]
        await anyio.sleep(0.5)


@pytest.mark.rule("R2")
@pytest.mark.parametrize(("waited", "rooms"), [(19.9, [ROOM]), (20.0, [])])
async def test_a_room_that_a_joining_participant_makes_has_livekits_timeouts(
    server: RoomServer, waited: float, rooms: list[str]
) -> None:
    async with scripted_client(server, "alice") as alice:
        for info in (alice.join.room, *server.list_rooms()):
            assert (info.empty_timeout, info.departure_timeout) == (300, 20)
            assert info.max_participants == 0
    await anyio.sleep(waited)
    assert await names_of_rooms(server) == rooms


@pytest.mark.rule("R2")
async def test_rooms_that_nobody_created_make_room_when_they_are_empty(
    server: RoomServer,
) -> None:
    server.create_room("created")
    for name in ("first", "second", "third"):
        async with scripted_client(server, "alice", room=name):
            pass
    assert await names_of_rooms(server) == ["created", "second", "third"]
    async with (
        scripted_client(server, "alice", room="second"),
        scripted_client(server, "alice", room="fourth"),
    ):
        assert await names_of_rooms(server) == ["created", "second", "fourth"]
        assert await refusal_of(server, "CreateRoom", name="fifth") == (
            429,
            "resource_exhausted",
            "the server has 3 rooms, which is its limit",
        )


@pytest.mark.rule("R2")
async def test_expired_rooms_take_no_place(server: RoomServer) -> None:
    for name in "abc":
        server.create_room(name, empty_timeout=1)
    await anyio.sleep(1)
    async with scripted_client(server, "alice"):
        assert await names_of_rooms(server) == [ROOM]


@pytest.mark.rule("R2")
async def test_a_server_that_shuts_down_does_not_wait_for_empty_rooms(server: RoomServer) -> None:
    server.create_room("unjoined")
    server.create_room(ROOM)
    async with scripted_client(server, "alice") as alice:
        started = anyio.current_time()
        await server.shut_down()
        assert anyio.current_time() == started
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        assert leave_reasons((await alice.receive_rest())[0]) == ["SERVER_SHUTDOWN"]
    assert await refusal_of(server, "CreateRoom", name=ROOM) == (
        503,
        "unavailable",
        "the server shuts down",
    )


@pytest.mark.rule("R2")
async def test_a_room_is_deleted_with_everybody_in_it(server: RoomServer, join: Join) -> None:
    server.create_room(ROOM)
    async with (
        join("alice", on_disconnect="continue") as alice,
        join("bob", on_disconnect="continue") as bob,
    ):
        assert await answer_to(server, "DeleteRoom") == {}
        for each in (alice, bob):
            assert await each.wait_disconnected() is DisconnectReason.ROOM_DELETED
        assert await names_of_rooms(server) == []
    assert await refusal_of(server, "DeleteRoom") == (
        404,
        "not_found",
        "there is no room 'the room'",
    )


@pytest.mark.rule("R2")
async def test_an_empty_room_is_deleted_too(server: RoomServer) -> None:
    server.create_room(ROOM)
    await answer_to(server, "DeleteRoom")
    assert await names_of_rooms(server) == []


@pytest.mark.rule("R2", "V6")
async def test_new_metadata_of_a_room_is_told_to_all(server: RoomServer) -> None:
    async with scripted_client(server, "alice") as alice:
        changed = await answer_to(server, "UpdateRoomMetadata", metadata="new")
        assert changed["metadata"] == "new"
        [signal] = await alice.settle()
        assert signal.room_update.room.metadata == "new"  # type: ignore[union-attr]
        assert (await answer_to(server, "UpdateRoomMetadata"))["metadata"] == ""
        assert await refusal_of(server, "UpdateRoomMetadata", metadata="m" * 11) == (
            400,
            "invalid_argument",
            "metadata of 11 UTF-8 bytes, over the limit of 10",
        )

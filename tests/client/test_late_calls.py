"""Calls and requests to a room that was left or lost, which fail like those in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from attrs import frozen
from livekit.protocol import models, rtc

from trio_rpc import (
    DisconnectedError,
    DisconnectReason,
    LocalParticipant,
    PublishDataError,
    PublishDTMFError,
    PublishTranscriptionError,
    Room,
    RoomError,
    RpcError,
    SignalRequestError,
    StreamError,
    Transcription,
    TranscriptionSegment,
)

from ..support.scripted_server import ScriptedServer, participant_info
from ..support.turns import CountedTurns

pytestmark = pytest.mark.anyio

Ask = Callable[[LocalParticipant], Awaitable[object]]


def _perform_rpc(us: LocalParticipant) -> Awaitable[str]:
    return us.perform_rpc(destination_identity="bob", method="greet", payload="hi")


def _call_nobody(us: LocalParticipant) -> Awaitable[str]:
    return us.perform_rpc(destination_identity="nobody", method="greet", payload="hi")


def _publish_transcription(us: LocalParticipant) -> Awaitable[None]:
    segment = TranscriptionSegment("1", "hi", 0, 1, "en", final=True)
    return us.publish_transcription(Transcription("alice", "TR_1", [segment]))


async def _stream_text_in_a_block(us: LocalParticipant) -> None:
    async with us.stream_text():
        pass


#: What is asked, the type of error, and what its text begins with.
ASKED: Final[dict[str, tuple[Ask, type[RoomError], str]]] = {
    "a call": (_perform_rpc, RpcError, "1503 Recipient disconnected: "),
    "a call of nobody": (_call_nobody, RpcError, "1503 Recipient disconnected: "),
    "data": (lambda us: us.publish_data("x"), PublishDataError, "not sent: "),
    "DTMF": (lambda us: us.publish_dtmf(code=1, digit="1"), PublishDTMFError, "not sent: "),
    "a transcription": (_publish_transcription, PublishTranscriptionError, "not sent: "),
    "a text": (lambda us: us.send_text("x"), StreamError, "not sent: "),
    "a file": (lambda us: us.send_file(Path(__file__)), StreamError, "not sent: "),
    "a text stream": (lambda us: us.stream_text(), StreamError, "not sent: "),
    "a text stream's block": (_stream_text_in_a_block, StreamError, "not sent: "),
    "a byte stream": (lambda us: us.stream_bytes("a.bin"), StreamError, "not sent: "),
    "metadata": (lambda us: us.set_metadata("x"), SignalRequestError, "not changed: "),
    "a name": (lambda us: us.set_name("x"), SignalRequestError, "not changed: "),
    "attributes": (lambda us: us.set_attributes({"x": "y"}), SignalRequestError, "not changed: "),
}


@frozen
class Ending:
    """A way in which a session ends."""

    end: Callable[[Room, ScriptedServer], Awaitable[None]]
    reason: DisconnectReason
    message: str


async def _leave(room: Room, _server: ScriptedServer) -> None:
    await room.disconnect()


async def _be_removed(room: Room, server: ScriptedServer) -> None:
    server.send_signal(leave=rtc.LeaveRequest(reason=models.PARTICIPANT_REMOVED))
    await room.wait_disconnected()


async def _be_cut_off(room: Room, server: ScriptedServer) -> None:
    await server.link.aclose("broken")
    await room.wait_disconnected()


ENDINGS: Final = {
    "left": Ending(_leave, DisconnectReason.CLIENT_INITIATED, "we left the room"),
    "removed": Ending(
        _be_removed,
        DisconnectReason.PARTICIPANT_REMOVED,
        "the server ended our session: PARTICIPANT_REMOVED",
    ),
    "cut off": Ending(
        _be_cut_off, DisconnectReason.SIGNAL_CLOSE, "the connection was lost: broken"
    ),
}
every_ending = pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)


def server_for_all() -> ScriptedServer:
    local = participant_info("alice")
    local.permission.can_update_metadata = True
    return ScriptedServer(local=local)


async def error_of(awaitable: Awaitable[object]) -> RoomError:
    """Return the error that something asked for ends with, at once."""
    started = anyio.current_time()
    with pytest.raises(RoomError) as caught:
        await awaitable
    assert anyio.current_time() == started
    return caught.value


def check(
    error: RoomError, error_type: type[RoomError], begins: str, reason: Any, message: str
) -> None:
    assert type(error) is error_type
    assert str(error) == f"{begins}{message}"
    assert isinstance(error.__cause__, DisconnectedError)
    assert (error.__cause__.reason, str(error.__cause__)) == (reason, message)


@pytest.mark.rule("C8")
@every_ending
@pytest.mark.parametrize(("ask", "error_type", "begins"), ASKED.values(), ids=ASKED)
async def test_what_is_asked_for_too_late(
    ask: Ask, error_type: type[RoomError], begins: str, ending: Ending
) -> None:
    server, room = server_for_all(), Room()
    async with room.connect(server, "a token", reconnect=None, on_disconnect="continue"):
        await ending.end(room, server)
        error = await error_of(ask(room.local_participant))
        check(error, error_type, begins, ending.reason, ending.message)
        if isinstance(error, SignalRequestError):
            assert error.reason == "DISCONNECTED"
    # After the block it is no different.
    error = await error_of(ask(room.local_participant))
    check(error, error_type, begins, ending.reason, ending.message)


@pytest.mark.rule("C8")
@pytest.mark.parametrize(("ask", "error_type", "begins"), ASKED.values(), ids=ASKED)
async def test_what_is_asked_for_when_the_event_tells(
    ask: Ask, error_type: type[RoomError], begins: str
) -> None:
    server, room = server_for_all(), Room()
    ending = ENDINGS["removed"]
    asked, errors = anyio.Event(), []

    @room.on("disconnected")
    async def on_disconnected(_reason: object) -> None:
        errors.append(await error_of(ask(room.local_participant)))
        asked.set()

    async with room.connect(server, "a token", reconnect=None, on_disconnect="continue"):
        await ending.end(room, server)
        await asked.wait()
    check(errors[0], error_type, begins, ending.reason, ending.message)


@pytest.mark.parametrize("ask", [ask for ask, _, _ in ASKED.values()], ids=ASKED)
async def test_who_asks_again_and_again_lets_others_have_their_turn(ask: Ask) -> None:
    room = Room()
    async with room.connect(server_for_all(), "a token", reconnect=None):
        await room.disconnect()
    async with CountedTurns() as turns:
        before = turns.count
        for _ in range(10):
            await error_of(ask(room.local_participant))
        assert turns.count - before >= 5


@pytest.mark.parametrize("ask", [ask for ask, _, _ in ASKED.values()], ids=ASKED)
async def test_who_asks_too_late_and_is_cancelled_is_cancelled(ask: Ask) -> None:
    room = Room()
    async with room.connect(server_for_all(), "a token", reconnect=None):
        await room.disconnect()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask(room.local_participant)
    assert scope.cancelled_caught


@every_ending
async def test_waiting_for_a_participant_after_leaving(ending: Ending) -> None:
    server, room = server_for_all(), Room()
    async with room.connect(server, "a token", reconnect=None, on_disconnect="continue"):
        await ending.end(room, server)
        for identity in ("nobody", "bob"):
            error = await error_of(room.wait_for_participant(identity))
            assert isinstance(error, DisconnectedError)
            assert (error.reason, str(error)) == (ending.reason, ending.message)


@every_ending
async def test_what_is_in_flight_has_the_same_cause(ending: Ending) -> None:
    server, room = server_for_all(), Room()
    errors: dict[str, RoomError] = {}

    async def ask(what: str) -> None:
        with pytest.raises(RoomError) as caught:
            await ASKED[what][0](room.local_participant)
        errors[what] = caught.value

    async with (
        room.connect(server, "a token", reconnect=None, on_disconnect="continue"),
        anyio.create_task_group() as task_group,
    ):
        for what in ("a call", "metadata"):
            task_group.start_soon(ask, what)
            await anyio.wait_all_tasks_blocked()
        await ending.end(room, server)
    assert errors.keys() == {"a call", "metadata"}
    for what, error in errors.items():
        _, error_type, begins = ASKED[what]
        check(error, error_type, begins, ending.reason, ending.message)


@every_ending
async def test_streams_that_are_open_break_off(ending: Ending) -> None:
    server, room = server_for_all(), Room()
    readers: list[Any] = []

    @room.register_text_stream_handler("notes")
    def take(reader: Any, _sender: str) -> None:
        readers.append(reader)

    async with room.connect(server, "a token", reconnect=None, on_disconnect="continue"):
        header = models.DataStream.Header(stream_id="1", topic="notes")
        header.text_header.SetInParent()
        server.send_from("bob", stream_header=header)
        writer = await room.local_participant.stream_text()
        await anyio.wait_all_tasks_blocked()
        await ending.end(room, server)
        assert type(await error_of(writer.write("x"))) is StreamError
        assert type(await error_of(writer.aclose())) is StreamError
        for _ in range(2):
            error = await error_of(readers[0].read_all())
            check(error, StreamError, "", ending.reason, ending.message)


@pytest.mark.rule("C11")
async def test_arguments_that_make_no_sense_are_still_mistakes() -> None:
    room = Room()
    async with room.connect(server_for_all(), "a token", reconnect=None):
        await room.disconnect()
        with pytest.raises(ValueError, match="response_timeout"):
            await room.local_participant.perform_rpc(
                destination_identity="bob", method="greet", payload="", response_timeout=0
            )

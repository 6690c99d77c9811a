"""Request streams that the server answers itself (rule V3)."""

from __future__ import annotations

import pytest
from livekit.protocol import models

from trio_rpc import Room
from trio_rpc.participant import ParticipantPermissions
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.clients import HandPlayed, hand_played
from ..support.stream_packets import DataStream, request_header

pytestmark = pytest.mark.anyio


def failure(packet: models.DataPacket) -> tuple[str, str, int, str]:
    error = packet.rpc_response.error
    return packet.participant_identity, packet.rpc_response.request_id, error.code, error.data


async def hear_failure(alice: HandPlayed) -> tuple[str, str, int, str]:
    ack, response = await alice.hear(), await alice.hear()
    assert ack.rpc_ack.request_id == response.rpc_response.request_id
    return failure(response)


@pytest.mark.rule("V3", "V4")
@pytest.mark.parametrize(
    ("identity", "problem"),
    [
        ("nobody", "no participant 'nobody' is in room 'the room'"),
        ("ghost", "no participant 'ghost' is in room 'the room'"),
        ("alice", "'alice' cannot call itself"),
    ],
)
@pytest.mark.parametrize("content", [b"hi", None], ids=["inline", "chunked"])
async def test_a_request_stream_to_who_is_not_there_is_1401_at_once(
    identity: str, problem: str, content: bytes | None, join: Join, server: RoomServer
) -> None:
    ghost = Room()
    ghost.register_rpc_method("greet", lambda _data: pytest.fail("it was called"))
    async with join("ghost", room=ghost, hidden=True), hand_played(server, "alice") as alice:
        header = request_header("1", content=content)
        alice.say(identity, stream_header=header)
        if content is None:
            chunk = DataStream.Chunk(stream_id=header.stream_id, content=b"hi")
            alice.say(identity, stream_chunk=chunk)
            alice.say(identity, stream_trailer=DataStream.Trailer(stream_id=header.stream_id))
        assert await hear_failure(alice) == (identity, "1", 1401, problem)
        # Its chunks and trailer are not answered.
        alice.say("nobody", stream_header=request_header("2"))
        assert (await hear_failure(alice))[1] == "2"
        assert ghost.statistics().running_handlers == 0


@pytest.mark.rule("V3", "C12")
async def test_a_request_stream_of_who_may_not_send_is_1505(server: RoomServer) -> None:
    async with hand_played(server, "alice") as alice, hand_played(server, "bob"):
        server.update_participant(
            "the room", "alice", permissions=ParticipantPermissions(can_publish_data=False)
        )
        alice.say("bob", stream_header=request_header("1"))
        assert await hear_failure(alice) == (
            "bob",
            "1",
            1505,
            "'alice' lacks the grant canPublishData",
        )


@pytest.mark.rule("P5")
async def test_a_stream_is_stamped_with_its_sender(server: RoomServer) -> None:
    async with hand_played(server, "alice") as alice, hand_played(server, "bob") as bob:
        alice.say("bob", stream_header=request_header("1"), participant_identity="mallory")
        packet = await bob.hear()
        assert packet.participant_identity == "alice"
        assert packet.participant_sid.startswith("PA_")

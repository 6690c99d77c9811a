"""Request streams that the server answers itself (rule V3)."""

from __future__ import annotations

import pytest
from livekit.protocol import models

from trio_rpc import Room
from trio_rpc.participant import ParticipantPermissions
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.clients import CURRENT
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.stream_packets import DataStream, request_header

pytestmark = pytest.mark.anyio


def failure(packet: models.DataPacket) -> tuple[str, str, int, str]:
    error = packet.rpc_response.error
    return packet.participant_identity, packet.rpc_response.request_id, error.code, error.data


async def receive_failure(alice: ScriptedClient) -> tuple[str, str, int, str]:
    ack, response = await alice.receive_packet(), await alice.receive_packet()
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
async def test_a_request_stream_to_an_absent_callee_is_1401_at_once(
    identity: str, problem: str, content: bytes | None, join: Join, server: RoomServer
) -> None:
    ghost = Room()
    ghost.register_rpc_method("greet", lambda _data: pytest.fail("it was called"))
    async with (
        join("ghost", room=ghost, hidden=True),
        scripted_client(server, "alice", client=CURRENT) as alice,
    ):
        header = request_header("1", content=content)
        alice.send_to(identity, stream_header=header)
        if content is None:
            chunk = DataStream.Chunk(stream_id=header.stream_id, content=b"hi")
            alice.send_to(identity, stream_chunk=chunk)
            alice.send_to(identity, stream_trailer=DataStream.Trailer(stream_id=header.stream_id))
        assert await receive_failure(alice) == (identity, "1", 1401, problem)
        # Its chunks and trailer are not answered.
        alice.send_to("nobody", stream_header=request_header("2"))
        assert (await receive_failure(alice))[1] == "2"
        assert ghost.statistics().running_handlers == 0


@pytest.mark.rule("V3", "C12")
async def test_a_request_stream_without_permission_is_1505(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice", client=CURRENT) as alice,
        scripted_client(server, "bob", client=CURRENT),
    ):
        server.update_participant(
            "the room", "alice", permissions=ParticipantPermissions(can_publish_data=False)
        )
        alice.send_to("bob", stream_header=request_header("1"))
        assert await receive_failure(alice) == (
            "bob",
            "1",
            1505,
            "'alice' lacks the grant canPublishData",
        )


@pytest.mark.rule("P5")
async def test_a_stream_is_stamped_with_its_sender(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice", client=CURRENT) as alice,
        scripted_client(server, "bob", client=CURRENT) as bob,
    ):
        alice.send_to("bob", stream_header=request_header("1"), participant_identity="mallory")
        packet = await bob.receive_packet()
        assert packet.participant_identity == "alice"
        assert packet.participant_sid.startswith("PA_")

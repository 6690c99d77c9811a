"""Publishing data, DTMF and transcriptions."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import (
    DataPacket,
    DataPacketKind,
    LocalParticipant,
    PublishDataError,
    PublishDTMFError,
    PublishTranscriptionError,
    Room,
    SipDTMF,
    Transcription,
    TranscriptionSegment,
    events,
)
from trio_rpc.links import Channel

from ..conftest import Join
from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

SEGMENT = TranscriptionSegment("1", "hello", 10, 20, "en", final=False)


# Data


@pytest.mark.rule("P2", "P6", "V2")
async def test_a_published_packet_is_livekits() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        publish = room.local_participant.publish_data
        await publish(b"\x00\xff", destination_identities=["bob", "carol"], topic="t")
        await publish("naïve")
        await publish(b"fast", reliable=False)
        await publish(b"last", reliable=True)
        packets = [await server.expect_packet() for _ in range(4)]
    assert packets == [
        models.DataPacket(
            sequence=1,
            destination_identities=["bob", "carol"],
            user=models.UserPacket(payload=b"\x00\xff", topic="t"),
        ),
        models.DataPacket(sequence=2, user=models.UserPacket(payload="naïve".encode())),
        models.DataPacket(kind=models.DataPacket.LOSSY, user=models.UserPacket(payload=b"fast")),
        models.DataPacket(sequence=3, user=models.UserPacket(payload=b"last")),
    ]


async def test_lossy_data_goes_on_the_lossy_channel() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await room.local_participant.publish_data(b"x", reliable=False)
        await room.local_participant.publish_data(b"x")
        channels = [(await server.receive_frame()).channel for _ in range(2)]
    assert channels == [Channel.LOSSY, Channel.RELIABLE]


def test_the_kinds_of_data_have_the_integers_of_livekits_python_sdk() -> None:
    kinds = {kind.name: kind.value for kind in DataPacketKind}
    assert kinds == {"KIND_LOSSY": 0, "KIND_RELIABLE": 1}


@pytest.mark.rule("V2")
@pytest.mark.parametrize("reliable", [True, False])
async def test_data_reaches_those_whom_it_names(reliable: bool, join: Join) -> None:
    kind = DataPacketKind.KIND_RELIABLE if reliable else DataPacketKind.KIND_LOSSY
    async with join("alice") as alice, join("bob") as bob, join("carol") as carol:
        got: list[tuple[str, DataPacket]] = []
        for name, room in (("alice", alice), ("bob", bob), ("carol", carol)):
            room.on("data_received", lambda packet, name=name: got.append((name, packet)))

        async def publish(text: str, *destinations: str) -> None:
            await alice.local_participant.publish_data(
                text, reliable=reliable, destination_identities=destinations, topic="t"
            )
            await anyio.wait_all_tasks_blocked()

        await publish("to all")
        await publish("to bob", "bob")
        await publish("to myself", "alice")
        await publish("to several", "alice", "carol", "carol", "nobody")
        told = sorted((packet.data.decode(), name) for name, packet in got)
        assert told == [
            ("to all", "bob"),
            ("to all", "carol"),
            ("to bob", "bob"),
            ("to several", "carol"),
        ]
        for name, packet in got:
            sender = (bob if name == "bob" else carol).remote_participants["alice"]
            assert packet == DataPacket(packet.data, kind, sender, "t")


async def test_data_without_a_topic_has_none(join: Join) -> None:
    async with (
        join("alice") as alice,
        join("bob") as bob,
        bob.events(events.DataReceived) as stream,
    ):
        await alice.local_participant.publish_data(b"")
        event = await anext(stream)
        assert (event.data_packet.data, event.data_packet.topic) == (b"", None)


@pytest.mark.rule("P7")
async def test_the_largest_packet_arrives_and_one_byte_more_is_refused(join: Join) -> None:
    async with (
        join("alice" * 50) as alice,
        join("bob") as bob,
        bob.events(events.DataReceived) as stream,
    ):
        publish = alice.local_participant.publish_data
        with pytest.raises(PublishDataError) as caught:
            await publish(bytes(64_000))
        text = r"^not sent: it makes a packet of (64,\d{3}) bytes, over the limit of 64,000$"
        match = re.match(text, str(caught.value))
        assert match is not None
        size = int(match[1].replace(",", ""))
        largest = bytes(128_000 - size)
        with pytest.raises(PublishDataError, match=r"of 64,001 bytes, over"):
            await publish(largest + b"x")
        await publish(largest)
        event = await anext(stream)
        assert event.data_packet.data == largest


async def test_one_identity_is_no_sequence_of_identities(join: Join) -> None:
    async with join("alice") as alice:
        with pytest.raises(TypeError, match=r"^destination_identities is a sequence of identities"):
            await alice.local_participant.publish_data("x", destination_identities="bob")


# DTMF and transcriptions


async def test_dtmf_reaches_everybody(join: Join) -> None:
    async with (
        join("alice") as alice,
        join("bob") as bob,
        bob.events(events.SipDTMFReceived) as stream,
    ):
        await alice.local_participant.publish_dtmf(code=11, digit="#")
        event = await anext(stream)
        assert event.sip_dtmf == SipDTMF(11, "#", bob.remote_participants["alice"])


@pytest.mark.parametrize("code", [0, 9, 15])
@pytest.mark.parametrize("digit", list("0123456789*#ABCD"))
async def test_every_key_can_be_published(code: int, digit: str) -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        await room.local_participant.publish_dtmf(code=code, digit=digit)
        packet = await server.expect_packet()
    assert packet == models.DataPacket(sequence=1, sip_dtmf=models.SipDTMF(code=code, digit=digit))


@pytest.mark.parametrize(
    ("code", "digit"), [(-1, "1"), (16, "1"), (1, ""), (1, "E"), (1, "a"), (1, "12")]
)
async def test_a_key_that_does_not_exist_is_refused(code: int, digit: str) -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        with pytest.raises(ValueError, match=r"^no telephone has a key of code"):
            await room.local_participant.publish_dtmf(code=code, digit=digit)


async def test_a_transcription_reaches_everybody(join: Join) -> None:
    async with (
        join("alice") as alice,
        join("bob") as bob,
        bob.events(events.TranscriptionReceived) as stream,
    ):
        for identity, participant in [
            ("alice", bob.remote_participants["alice"]),
            ("bob", bob.local_participant),
            ("nobody", None),
        ]:
            await alice.local_participant.publish_transcription(
                Transcription(identity, "TR_1", [SEGMENT, SEGMENT])
            )
            event = await anext(stream)
            assert event == events.TranscriptionReceived([SEGMENT, SEGMENT], participant)


# Invalid data

Publish = Callable[[LocalParticipant], Awaitable[None]]
PUBLISHING = [
    pytest.param(lambda alice: alice.publish_data("x"), PublishDataError, id="data"),
    pytest.param(lambda alice: alice.publish_dtmf(code=1, digit="1"), PublishDTMFError, id="DTMF"),
    pytest.param(
        lambda alice: alice.publish_transcription(Transcription("alice", "", [])),
        PublishTranscriptionError,
        id="transcription",
    ),
]


@pytest.mark.rule("C12")
@pytest.mark.parametrize(("publish", "failure"), PUBLISHING)
@pytest.mark.parametrize(
    ("grants", "text"),
    [
        ({"can_publish_data": False}, "'alice' lacks the grant canPublishData"),
        ({"hidden": True}, "'alice' is a hidden participant, which may not send"),
    ],
)
async def test_who_may_not_publish_is_told_so(
    publish: Publish,
    failure: type[PublishDataError],
    grants: dict[str, bool],
    text: str,
    join: Join,
) -> None:
    async with join("alice", **grants) as alice:
        with pytest.raises(PublishDataError) as caught:
            await publish(alice.local_participant)
    assert type(caught.value) is failure
    assert str(caught.value) == text


@pytest.mark.parametrize(("publish", "failure"), PUBLISHING)
async def test_nothing_is_published_after_leaving(
    publish: Publish, failure: type[PublishDataError], join: Join
) -> None:
    async with join("alice") as alice:
        await alice.disconnect()
        with pytest.raises(failure, match=r"^not sent: we left the room$") as caught:
            await publish(alice.local_participant)
        assert type(caught.value) is failure


@pytest.mark.rule("E2")
async def test_a_connection_that_is_lost_while_waiting_to_send() -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None, on_disconnect="continue") as room,
        anyio.create_task_group() as task_group,
    ):
        failures: list[str] = []

        async def publish() -> None:
            try:
                while True:
                    await room.local_participant.publish_data(bytes(60_000))
            except PublishDataError as error:
                failures.append(str(error))

        task_group.start_soon(publish)
        await anyio.wait_all_tasks_blocked()
        await server.link.aclose("broken")
    assert failures == ["not sent: broken"]

"""Events that the program has not taken yet count against who causes them (B4)."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import EventsLostError, RoomEvent
from trio_rpc.events import (
    DataReceived,
    ParticipantAttributesChanged,
    ParticipantDisconnected,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    SipDTMFReceived,
    TranscriptionReceived,
)

from ..streams.receiving import collecting
from ..support.scripted_server import ScriptedServer, participant_info

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B4")]

_LIMIT = 100_000


def send_data(server: ScriptedServer, number: int, sender: str = "bob") -> None:
    server.send_from(sender, user=models.UserPacket(payload=b"%4d" % number * 250))


async def test_data_that_a_slow_reader_has_not_taken_is_bounded() -> None:
    async with collecting(max_peer_bytes=_LIMIT) as (room, server, _), room.events() as stream:
        for number in range(1_000):
            send_data(server, number)
        send_data(server, 7, sender="carol")
        await server.settle(room)
        assert 90_000 < room.statistics().held_bytes <= _LIMIT + 2_000
        held = room.statistics().held_bytes
        event = await anext(stream)
        assert isinstance(event, DataReceived)
        assert event.data_packet.data == b"   0" * 250
        assert room.statistics().held_bytes < held - 1_000
        # With room for it, more of bob's comes again.
        send_data(server, 2_000)
        await server.settle(room)
        server.announce(participant_info("bob", state=models.ParticipantInfo.DISCONNECTED))
        senders: list[str] = []
        contents: list[bytes] = []
        async for event in stream:
            if isinstance(event, ParticipantDisconnected):
                break
            if isinstance(event, DataReceived):
                assert event.data_packet.participant is not None
                senders.append(event.data_packet.participant.identity)
                contents.append(event.data_packet.data[:4])
        assert senders.count("carol") == 1
        assert 60 < len(senders) < 100
        assert contents[-1] == b"2000"
        assert room.statistics().held_bytes == 0


@pytest.mark.parametrize(
    ("kind", "send"),
    [
        (
            SipDTMFReceived,
            lambda server, _: server.send_from("bob", sip_dtmf=models.SipDTMF(code=1)),
        ),
        (
            TranscriptionReceived,
            lambda server, number: server.send_from(
                "bob",
                transcription=models.Transcription(
                    segments=[models.TranscriptionSegment(id=str(number), text="x" * 1_000)]
                ),
            ),
        ),
        (
            ParticipantMetadataChanged,
            lambda server, number: server.announce(
                participant_info("bob", version=number + 2, metadata=f"{number}" * 1_000)
            ),
        ),
        (
            ParticipantNameChanged,
            lambda server, number: server.announce(
                participant_info("bob", version=number + 2, name=f"{number}" * 60)
            ),
        ),
        (
            ParticipantAttributesChanged,
            lambda server, number: server.announce(
                participant_info("bob", version=number + 2, attributes={"a": f"{number}" * 1_000})
            ),
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_every_kind_of_event_that_a_participant_causes_counts(
    kind: type[RoomEvent], send: Callable[[ScriptedServer, int], None]
) -> None:
    async with collecting(max_peer_bytes=_LIMIT) as (room, server, _):
        async with room.events(kind) as stream:
            send(server, 0)
            await server.settle(room)
            assert room.statistics().held_bytes >= 512
            for number in range(1, 900):
                send(server, number)
            await server.settle(room)
            assert room.statistics().held_bytes <= _LIMIT
            assert isinstance(await anext(stream), kind)
        assert room.statistics().held_bytes == 0


async def test_a_stream_of_events_that_is_dropped_holds_nothing() -> None:
    async with collecting() as (room, server, _):
        stream = room.events(max_buffered=10)
        for number in range(11):
            send_data(server, number)
        await server.settle(room)
        assert room.statistics().held_bytes > 10_000
        for _ in range(10):
            await anext(stream)
        with pytest.raises(EventsLostError):
            await anext(stream)
        assert room.statistics().held_bytes == 0
        stream = room.events(max_buffered=10)
        for number in range(11):
            send_data(server, number)
        await server.settle(room)
        assert room.statistics().held_bytes > 10_000
        del stream
        await anyio.wait_all_tasks_blocked()
        assert room.statistics().held_bytes == 0

"""Events: what they are called and what they carry."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import pytest
from livekit.protocol import models, rtc

from trio_rpc import (
    ConnectionQuality,
    ConnectionState,
    DataPacket,
    DataPacketKind,
    DisconnectReason,
    LocalParticipant,
    ParticipantPermissions,
    RemoteParticipant,
    Room,
    RoomEvent,
    SipDTMF,
    TranscriptionSegment,
    events,
)
from trio_rpc.events import EventName
from trio_rpc.links import Channel

from .conftest import Join
from .support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio

CAROL = participant_info("carol")


def event_classes() -> list[type[RoomEvent]]:
    return RoomEvent.__subclasses__()


# Names and fields


@pytest.mark.parametrize(
    ("event", "name", "fields"),
    [
        (events.Connected, "connected", []),
        (events.Disconnected, "disconnected", ["reason"]),
        (events.ConnectionStateChanged, "connection_state_changed", ["connection_state"]),
        (events.RoomUpdated, "room_updated", []),
        (events.Moved, "moved", []),
        (
            events.ConnectionQualityChanged,
            "connection_quality_changed",
            ["participant", "quality"],
        ),
        (events.RoomMetadataChanged, "room_metadata_changed", ["old_metadata", "new_metadata"]),
        (events.ParticipantConnected, "participant_connected", ["participant"]),
        (events.ParticipantActive, "participant_active", ["participant"]),
        (events.ParticipantDisconnected, "participant_disconnected", ["participant"]),
        (
            events.ParticipantMetadataChanged,
            "participant_metadata_changed",
            ["participant", "old_metadata", "new_metadata"],
        ),
        (
            events.ParticipantNameChanged,
            "participant_name_changed",
            ["participant", "old_name", "new_name"],
        ),
        (
            events.ParticipantAttributesChanged,
            "participant_attributes_changed",
            ["changed_attributes", "participant"],
        ),
        (
            events.ParticipantPermissionsChanged,
            "participant_permissions_changed",
            ["participant", "permissions"],
        ),
        (events.Reconnecting, "reconnecting", []),
        # The field is ours.
        (events.Reconnected, "reconnected", ["resumed"]),
        (events.TokenRefreshed, "token_refreshed", ["token"]),
        (events.DataReceived, "data_received", ["data_packet"]),
        (events.SipDTMFReceived, "sip_dtmf_received", ["sip_dtmf"]),
        (
            events.TranscriptionReceived,
            "transcription_received",
            ["segments", "participant", "publication"],
        ),
    ],
)
def test_events_have_the_names_and_fields_of_livekit(
    event: type[RoomEvent], name: str, fields: list[str]
) -> None:
    assert event.name == name
    assert list(inspect.signature(event).parameters) == fields


def test_every_event_can_be_named() -> None:
    assert {event.name for event in event_classes()} == set(get_args(EventName))
    assert len(event_classes()) == 31


class There(NamedTuple):
    """The room that the server describes, and its participants."""

    room: Room
    alice: LocalParticipant
    bob: RemoteParticipant


def nothing(there: There) -> list[RoomEvent]:
    return []


def room_updated(there: There) -> list[RoomEvent]:
    return [events.RoomUpdated()]


def lossy_data_of_nobody(there: There) -> list[RoomEvent]:
    return [events.DataReceived(DataPacket(b"x", DataPacketKind.KIND_LOSSY, None, None))]


def changed(**fields: Any) -> models.ParticipantInfo:
    return participant_info("bob", **fields)


def permission_lost() -> models.ParticipantInfo:
    info = participant_info("bob")
    info.permission.can_publish_data = False
    return info


def left() -> models.ParticipantInfo:
    return participant_info("bob", state=models.ParticipantInfo.DISCONNECTED)


SEGMENT = models.TranscriptionSegment(
    id="1", text="hello", start_time=10, end_time=20, language="en", final=True
)
#: Of bob, ourselves, a participant that is not there, and of bob once more.
BAD_CONNECTIONS = rtc.ConnectionQualityUpdate(
    updates=[
        rtc.ConnectionQualityInfo(participant_sid=sid, quality=quality)
        for sid, quality in [
            ("PA_bob", models.ConnectionQuality.LOST),
            ("PA_alice", models.ConnectionQuality.POOR),
            ("PA_nobody", models.ConnectionQuality.GOOD),
            ("PA_bob", models.ConnectionQuality.LOST),
        ]
    ]
)
SPOKEN = [TranscriptionSegment("1", "hello", 10, 20, "en", final=True)]


@pytest.mark.rule("P2")
@pytest.mark.parametrize(
    ("play", "expected"),
    [
        pytest.param(
            lambda server: server.announce(changed(metadata="m")),
            lambda there: [events.ParticipantMetadataChanged(there.bob, "", "m")],
            id="metadata",
        ),
        pytest.param(
            lambda server: server.announce(changed(name="Bob")),
            lambda there: [events.ParticipantNameChanged(there.bob, "", "Bob")],
            id="name",
        ),
        pytest.param(
            lambda server: server.announce(changed(attributes={"a": "1"})),
            lambda there: [events.ParticipantAttributesChanged({"a": "1"}, there.bob)],
            id="attributes",
        ),
        pytest.param(
            lambda server: server.announce(permission_lost()),
            lambda there: [
                events.ParticipantPermissionsChanged(
                    there.bob,
                    ParticipantPermissions(
                        can_publish_data=False, can_subscribe=False, can_publish=False
                    ),
                )
            ],
            id="permissions",
        ),
        pytest.param(
            lambda server: server.announce(left()),
            lambda there: [events.ParticipantDisconnected(there.bob)],
            id="left",
        ),
        pytest.param(
            lambda server: server.announce(CAROL),
            lambda there: [
                events.ParticipantConnected(there.room.remote_participants["carol"]),
                events.ParticipantActive(there.room.remote_participants["carol"]),
            ],
            id="joined",
        ),
        pytest.param(
            lambda server: server.announce(participant_info("alice", name="Alice")),
            lambda there: [events.ParticipantNameChanged(there.alice, "", "Alice")],
            id="our own name",
        ),
        pytest.param(
            lambda server: server.send_from("bob", user=models.UserPacket(payload=b"x", topic="t")),
            lambda there: [
                events.DataReceived(DataPacket(b"x", DataPacketKind.KIND_RELIABLE, there.bob, "t"))
            ],
            id="data",
        ),
        pytest.param(
            lambda server: server.send_from(
                "nobody", channel=Channel.LOSSY, user=models.UserPacket(payload=b"x")
            ),
            lossy_data_of_nobody,
            id="lossy data of an unseen participant",
        ),
        pytest.param(
            lambda server: server.send_from("bob", sip_dtmf=models.SipDTMF(code=11, digit="#")),
            lambda there: [events.SipDTMFReceived(SipDTMF(11, "#", there.bob))],
            id="DTMF",
        ),
        pytest.param(
            lambda server: server.send_from(
                "bob",
                transcription=models.Transcription(
                    transcribed_participant_identity="alice", segments=[SEGMENT]
                ),
            ),
            lambda there: [events.TranscriptionReceived(SPOKEN, there.alice)],
            id="transcription of ourselves",
        ),
        pytest.param(
            lambda server: server.send_from(
                "carol",
                transcription=models.Transcription(
                    transcribed_participant_identity="bob", segments=[SEGMENT]
                ),
            ),
            lambda there: [events.TranscriptionReceived(SPOKEN, there.bob)],
            id="transcription of another",
        ),
        pytest.param(
            lambda server: server.send_signal(connection_quality=BAD_CONNECTIONS),
            lambda there: [
                events.ConnectionQualityChanged(there.bob, ConnectionQuality.QUALITY_LOST),
                events.ConnectionQualityChanged(there.alice, ConnectionQuality.QUALITY_POOR),
            ],
            id="the quality of connections",
        ),
        pytest.param(
            lambda server: server.send_from("bob", chat_message=models.ChatMessage(message="x")),
            nothing,
            id="a packet that is not ours to handle",
        ),
        pytest.param(
            lambda server: server.send_signal(
                room_update=rtc.RoomUpdate(room=models.Room(name="n"))
            ),
            room_updated,
            id="a room of the same metadata",
        ),
    ],
)
async def test_updates_of_the_server_become_events(
    play: Callable[[ScriptedServer], None],
    expected: Callable[[There], list[RoomEvent]],
) -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None) as room:
        there = There(room, room.local_participant, room.remote_participants["bob"])
        async with room.events() as stream:
            play(server)
            server.send_signal(room_update=rtc.RoomUpdate(room=models.Room(metadata="the end")))
            happened = []
            while (event := await anext(stream)) != events.RoomMetadataChanged("", "the end"):
                happened.append(event)
        assert happened == expected(there)


async def test_a_session_begins_and_ends_with_its_events(join: Join) -> None:
    room = Room()
    stream = room.events()
    async with join("alice", room=room):
        pass
    assert [event async for event in stream] == [
        events.ConnectionStateChanged(ConnectionState.CONN_CONNECTED),
        events.Connected(),
        events.ConnectionStateChanged(ConnectionState.CONN_DISCONNECTED),
        events.Disconnected(DisconnectReason.CLIENT_INITIATED),
    ]

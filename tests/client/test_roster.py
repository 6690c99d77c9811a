"""The roster: updates of the server in, participants and events out; no I/O."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models

from trio_rpc import ParticipantPermissions, ParticipantState, Retry
from trio_rpc.client.roster import Roster
from trio_rpc.events import RoomEvent
from trio_rpc.participant import Participant

from ..support.scripted_server import participant_info


async def never_call(
    *,
    destination_identity: str,
    method: str,
    payload: str,
    response_timeout: float | None,
    retry: Retry | None,
) -> str:
    raise AssertionError("nobody is called")


@pytest.fixture
def roster() -> Roster:
    return Roster(Participant(participant_info("alice")), {}, never_call, lambda *_: None)


def bob(
    state: models.ParticipantInfo.State = models.ParticipantInfo.ACTIVE, **fields: Any
) -> models.ParticipantInfo:
    info = participant_info("bob", **fields)
    info.state = state
    return info


def told(events: list[RoomEvent]) -> list[tuple[str, str]]:
    """Return the name of each event and the SID of its participant."""
    return [(event.name, event.participant.sid) for event in events]  # type: ignore[attr-defined]


def apply(roster: Roster, *infos: models.ParticipantInfo) -> list[tuple[str, str]]:
    return told([event for info in infos for event in roster.apply(info)])


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        pytest.param(
            [{}],
            ["participant_connected", "participant_active"],
            id="active from the start",
        ),
        pytest.param(
            [{"state": models.ParticipantInfo.JOINING}],
            ["participant_connected"],
            id="joining",
        ),
        pytest.param(
            [
                {"state": models.ParticipantInfo.JOINING},
                {"state": models.ParticipantInfo.JOINED},
                {"state": models.ParticipantInfo.ACTIVE},
                {"state": models.ParticipantInfo.ACTIVE},
            ],
            ["participant_connected", "participant_active"],
            id="active later",
        ),
        pytest.param(
            [{}, {"state": models.ParticipantInfo.DISCONNECTED}],
            ["participant_connected", "participant_active", "participant_disconnected"],
            id="left",
        ),
        pytest.param(
            [{}, {"state": models.ParticipantInfo.DISCONNECTED}] * 2,
            ["participant_connected", "participant_active", "participant_disconnected"] * 2,
            id="left and came back",
        ),
        pytest.param([{"state": models.ParticipantInfo.DISCONNECTED}], [], id="never there"),
        pytest.param(
            [{}, {}, {}],
            ["participant_connected", "participant_active"],
            id="nothing new",
        ),
        pytest.param(
            [{}, {"metadata": "m", "name": "n", "attributes": {"a": "1"}}],
            [
                "participant_connected",
                "participant_active",
                "participant_metadata_changed",
                "participant_name_changed",
                "participant_attributes_changed",
            ],
            id="several changes at once",
        ),
    ],
)
def test_updates_become_events(
    roster: Roster, updates: list[dict[str, Any]], expected: list[str]
) -> None:
    events = apply(roster, *(bob(**update) for update in updates))
    assert events == [(name, "PA_bob") for name in expected]


def test_the_roster_has_the_participants(roster: Roster) -> None:
    apply(roster, bob(), participant_info("carol"))
    assert list(roster.remote) == ["bob", "carol"]
    assert roster.remote["bob"].identity == "bob"
    apply(roster, bob(state=models.ParticipantInfo.DISCONNECTED))
    assert list(roster.remote) == ["carol"]


def test_each_change_is_made_when_its_event_is_yielded(roster: Roster) -> None:
    apply(roster, bob())
    old = roster.remote["bob"]
    events = roster.apply(bob(sid="PA_new"))
    assert next(events).name == "participant_disconnected"
    assert "bob" not in roster.remote
    assert next(events).name == "participant_connected"
    assert roster.remote["bob"] is not old


def test_a_new_sid_replaces_the_participant(roster: Roster) -> None:
    apply(roster, bob(metadata="old"))
    old = roster.remote["bob"]
    assert apply(roster, bob(sid="PA_new", metadata="new")) == [
        ("participant_disconnected", "PA_bob"),
        ("participant_connected", "PA_new"),
        ("participant_active", "PA_new"),
    ]
    new = roster.remote["bob"]
    assert (old.state, old.metadata) == (ParticipantState.DISCONNECTED, "old")
    assert (new.state, new.metadata) == (ParticipantState.ACTIVE, "new")


def test_the_late_end_of_an_earlier_session_changes_nothing(roster: Roster) -> None:
    apply(roster, bob(), bob(sid="PA_new"))
    new = roster.remote["bob"]
    assert apply(roster, bob(state=models.ParticipantInfo.DISCONNECTED)) == []
    assert roster.remote["bob"] is new
    assert new.state is ParticipantState.ACTIVE


def test_who_left_is_disconnected_and_is_as_it_was(roster: Roster) -> None:
    apply(roster, bob(metadata="last"))
    gone = roster.remote["bob"]
    apply(roster, bob(state=models.ParticipantInfo.DISCONNECTED))
    assert gone.state is ParticipantState.DISCONNECTED
    assert not gone.is_active
    assert gone.metadata == "last"


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ({}, {"a": "1"}, {"a": "1"}),
        ({"a": "1"}, {"a": "2"}, {"a": "2"}),
        ({"a": "1", "b": "2"}, {"b": "2"}, {"a": ""}),
        ({"a": "1", "b": "2"}, {"b": "3", "c": "4"}, {"a": "", "b": "3", "c": "4"}),
    ],
)
def test_changed_attributes_hold_new_values_and_deleted_keys(
    roster: Roster, old: dict[str, str], new: dict[str, str], changed: dict[str, str]
) -> None:
    apply(roster, bob(attributes=old))
    info = participant_info("bob")
    info.attributes.update(new)
    (event,) = roster.apply(info)
    assert event.name == "participant_attributes_changed"
    assert event.changed_attributes == changed  # type: ignore[attr-defined]
    assert roster.remote["bob"].attributes == new


def test_changes_carry_what_was_and_what_is(roster: Roster) -> None:
    apply(roster, bob(metadata="m1", name="n1"))
    permission = models.ParticipantPermission(can_publish_data=False, hidden=True)
    info = bob(metadata="m2", name="n2")
    info.permission.CopyFrom(permission)
    metadata, name, permissions = roster.apply(info)
    participant = roster.remote["bob"]
    assert metadata.old_metadata == "m1"  # type: ignore[attr-defined]
    assert metadata.new_metadata == "m2"  # type: ignore[attr-defined]
    assert (name.old_name, name.new_name) == ("n1", "n2")  # type: ignore[attr-defined]
    assert permissions.participant is participant  # type: ignore[attr-defined]
    expected = ParticipantPermissions(
        can_publish_data=False, hidden=True, can_subscribe=False, can_publish=False
    )
    assert permissions.permissions == participant.permissions == expected  # type: ignore[attr-defined]


def test_changes_of_ourselves_come_in_the_same_updates(roster: Roster) -> None:
    assert apply(roster, participant_info("alice", name="Alice")) == [
        ("participant_name_changed", "PA_alice")
    ]
    assert roster.local.name == "Alice"
    assert roster.remote == {}

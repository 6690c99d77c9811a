"""The grants of a token, and the check of those that joining needs."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc import InvalidTokenError
from trio_rpc.tokens import (
    Claims,
    VideoGrants,
    check_join,
)

from .signing import JOIN, KEY, WRONG_GRANTS, payload, refusal, signed


class TestVideoGrants:
    def test_defaults_are_left_out(self) -> None:
        assert VideoGrants().to_claim() == {}

    @pytest.mark.parametrize(
        ("grants", "claim"),
        [
            (VideoGrants(room_create=True), {"roomCreate": True}),
            (VideoGrants(room_list=True), {"roomList": True}),
            (VideoGrants(room_record=True), {"roomRecord": True}),
            (VideoGrants(room_admin=True), {"roomAdmin": True}),
            (VideoGrants(room_join=True), {"roomJoin": True}),
            (VideoGrants(room="lobby"), {"room": "lobby"}),
            (VideoGrants(can_publish=True), {"canPublish": True}),
            (VideoGrants(can_publish=False), {"canPublish": False}),
            (VideoGrants(can_subscribe=False), {"canSubscribe": False}),
            (VideoGrants(can_publish_data=False), {"canPublishData": False}),
            (VideoGrants(can_publish_sources=("camera",)), {"canPublishSources": ["camera"]}),
            (VideoGrants(can_update_own_metadata=True), {"canUpdateOwnMetadata": True}),
            (VideoGrants(can_update_own_metadata=False), {"canUpdateOwnMetadata": False}),
            (VideoGrants(hidden=True), {"hidden": True}),
            (VideoGrants(agent=True), {"agent": True}),
        ],
    )
    def test_names_of_the_wire(self, grants: VideoGrants, claim: dict[str, object]) -> None:
        assert grants.to_claim() == claim
        read = VideoGrants.from_claim(claim)
        for attribute in attrs.fields(VideoGrants):
            value = getattr(grants, attribute.name)
            if value != attribute.default:
                assert getattr(read, attribute.name) == value

    @pytest.mark.parametrize(
        ("claim", "publish", "subscribe", "data", "metadata"),
        [
            ({}, True, True, True, False),
            ({"canPublish": True}, True, True, True, False),
            ({"canPublish": False}, False, True, False, False),
            ({"canPublish": False, "canPublishData": True}, False, True, True, False),
            ({"canPublishData": False}, True, True, False, False),
            ({"canSubscribe": False}, True, False, True, False),
            ({"canUpdateOwnMetadata": True}, True, True, True, True),
            ({"canPublish": None, "canSubscribe": None, "room": None}, True, True, True, False),
        ],
    )
    def test_what_absent_grants_mean(
        self,
        claim: dict[str, object],
        publish: bool,
        subscribe: bool,
        data: bool,
        metadata: bool,
    ) -> None:
        grants = VideoGrants.from_claim(claim)
        assert grants == VideoGrants(
            can_publish=publish,
            can_subscribe=subscribe,
            can_publish_data=data,
            can_update_own_metadata=metadata,
        )
        assert VideoGrants.from_claim(grants.to_claim()) == grants

    def test_unknown_grants_are_ignored(self) -> None:
        claim = {"room": "lobby", "roomJoin": True, "canFly": 5, "destinationRoom": "cellar"}
        assert VideoGrants.from_claim(claim) == JOIN

    @pytest.mark.parametrize(("key", "value"), WRONG_GRANTS)
    def test_wrong_types_are_named(self, key: str, value: object) -> None:
        with pytest.raises(InvalidTokenError, match=f"'{key}'"):
            VideoGrants.from_claim({key: value})
        assert f"'{key}'" in refusal(signed(payload(video={key: value})))

    @given(
        st.builds(
            VideoGrants,
            room=st.text(st.characters(codec="utf-8")),
            can_publish_sources=st.lists(st.text(st.characters(codec="utf-8"))).map(tuple),
            can_publish=st.booleans(),
            can_subscribe=st.booleans(),
            can_publish_data=st.booleans(),
            can_update_own_metadata=st.booleans(),
            **{
                name: st.booleans()
                for name in (
                    *("room_create", "room_list", "room_record", "room_admin", "room_join"),
                    *("hidden", "agent"),
                )
            },
        )
    )
    def test_round_trip(self, grants: VideoGrants) -> None:
        claim = json.loads(json.dumps(grants.to_claim()))
        assert VideoGrants.from_claim(claim) == grants


class TestCheckJoin:
    @pytest.mark.parametrize("room", [None, "lobby"])
    def test_accepts(self, room: str | None) -> None:
        check_join(Claims(api_key=KEY, identity="alice", grants=JOIN), room)
        check_join(Claims(api_key=KEY, identity="alice", grants=JOIN))

    @pytest.mark.parametrize(
        ("grants", "room", "reason"),
        [
            (VideoGrants(), None, "does not grant joining"),
            (VideoGrants(room="lobby", room_admin=True), "lobby", "does not grant joining"),
            (VideoGrants(room_join=True), None, "names no room"),
            (VideoGrants(room_join=True), "lobby", "names no room"),
            (VideoGrants(room_join=True), "", "names no room"),
            (JOIN, "cellar", "for room 'lobby', not for 'cellar'"),
            (JOIN, "", "for room 'lobby', not for ''"),
            (JOIN, "Lobby", "for room 'lobby', not for 'Lobby'"),
        ],
    )
    def test_refuses(self, grants: VideoGrants, room: str | None, reason: str) -> None:
        with pytest.raises(InvalidTokenError, match=reason):
            check_join(Claims(api_key=KEY, grants=grants), room)

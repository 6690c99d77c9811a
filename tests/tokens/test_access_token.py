"""Access tokens that we make (rule V1), and LiveKit's own."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import get_args

import attrs
import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from livekit import api

from trio_rpc import InvalidTokenError, ParticipantKind
from trio_rpc.tokens import (
    AccessToken,
    Claims,
    KindClaim,
    VideoGrants,
    check_join,
    inspect_token,
    verify_token,
)

from .signing import API_KEYS, JOIN, KEY, OTHER_SECRET, SECRET, builder, refusal


class TestAccessToken:
    def test_all_claims(self) -> None:
        before = int(time.time())
        token = (
            builder()
            .with_identity("alice")
            .with_name("Alice")
            .with_metadata("{}")
            .with_attributes({"colour": "red"})
            .with_kind("agent")
            .with_ttl(datetime.timedelta(minutes=5))
            .with_grants(VideoGrants(room_join=True, room="lobby"))
            .to_jwt()
        )
        claims = inspect_token(token)
        issued = claims.pop("nbf")
        assert isinstance(issued, int)
        assert before <= issued <= time.time()
        assert claims == {
            "iss": KEY,
            "sub": "alice",
            "exp": issued + 300,
            "name": "Alice",
            "metadata": "{}",
            "attributes": {"colour": "red"},
            "kind": "agent",
            "video": {"roomJoin": True, "room": "lobby"},
        }
        assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
        assert verify_token(token, API_KEYS) == Claims(
            api_key=KEY,
            identity="alice",
            name="Alice",
            metadata="{}",
            attributes={"colour": "red"},
            kind="agent",
            grants=JOIN,
            expires_at=issued + 300.0,
        )

    def test_lives_six_hours_and_claims_no_more_than_was_said(self) -> None:
        claims = inspect_token(builder().to_jwt())
        assert claims.keys() == {"iss", "nbf", "exp"}
        assert claims["exp"] == claims["nbf"] + 6 * 3600  # type: ignore[operator]
        read = verify_token(builder().to_jwt(), API_KEYS)
        assert (read.identity, read.name, read.metadata, read.attributes) == ("", "", "", {})
        assert read.kind == "standard"
        assert not read.grants.room_join

    def test_every_step_returns_a_new_builder(self) -> None:
        first = builder()
        attributes = {"colour": "red"}
        steps: list[Callable[[AccessToken], AccessToken]] = [
            lambda token: token.with_identity("alice"),
            lambda token: token.with_name("Alice"),
            lambda token: token.with_metadata("m"),
            lambda token: token.with_attributes(attributes),
            lambda token: token.with_kind("sip"),
            lambda token: token.with_ttl(datetime.timedelta(days=1)),
            lambda token: token.with_grants(VideoGrants(room_list=True)),
        ]
        for step in steps:
            assert step(first) is not first
        claims = inspect_token(first.to_jwt())
        assert claims.keys() == {"iss", "nbf", "exp"}
        assert claims["exp"] == claims["nbf"] + 6 * 3600  # type: ignore[operator]
        later = first.with_attributes(attributes)
        attributes["colour"] = "blue"
        assert verify_token(later.to_jwt(), API_KEYS).attributes == {"colour": "red"}

    def test_key_and_secret_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LIVEKIT_API_KEY", "otherkey")
        monkeypatch.setenv("LIVEKIT_API_SECRET", OTHER_SECRET)
        assert verify_token(AccessToken().to_jwt(), API_KEYS).api_key == "otherkey"
        assert verify_token(AccessToken(None, None).to_jwt(), API_KEYS).api_key == "otherkey"
        assert verify_token(AccessToken(KEY, SECRET).to_jwt(), API_KEYS).api_key == KEY
        monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
        assert verify_token(AccessToken(KEY).to_jwt(), API_KEYS).api_key == KEY

    @pytest.mark.parametrize(("key", "secret"), [(None, None), (KEY, None), (None, SECRET)])
    def test_no_key_or_no_secret(
        self, monkeypatch: pytest.MonkeyPatch, key: str | None, secret: str | None
    ) -> None:
        monkeypatch.delenv("LIVEKIT_API_KEY", raising=False)
        monkeypatch.setenv("LIVEKIT_API_SECRET", "")
        with pytest.raises(ValueError, match="set LIVEKIT_API_KEY and LIVEKIT_API_SECRET"):
            AccessToken(key, secret)

    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            (builder().with_grants(VideoGrants(room_join=True, room="lobby")), "no identity"),
            (builder().with_identity("é" * 129), "longer than 256 UTF-8 bytes"),
            (builder().with_identity("\ud800"), "'sub' is not text that UTF-8 can carry"),
            (builder().with_identity(5), "'sub' is not text"),  # type: ignore[arg-type]
            (builder().with_name(b"Alice"), "'name' is not text"),  # type: ignore[arg-type]
            (builder().with_metadata({}), "'metadata' is not text"),  # type: ignore[arg-type]
            (builder().with_attributes({"age": 5}), "'attributes'"),  # type: ignore[dict-item]
            (builder().with_attributes({5: "age"}), "'attributes'"),  # type: ignore[dict-item]
            (builder().with_kind("king"), "'king' is not known"),  # type: ignore[arg-type]
            (
                builder().with_grants(VideoGrants(room=5)),  # type: ignore[arg-type]
                "'room' is not text",
            ),
            (AccessToken("\ud800", SECRET), "'iss' is not text that UTF-8 can carry"),
            (AccessToken(KEY, '{"kty":"oct","k":"c2VjcmV0"}'), "refused"),
        ],
    )
    def test_makes_no_token_that_would_be_refused(self, token: AccessToken, reason: str) -> None:
        with pytest.raises(ValueError, match=reason) as caught:
            token.to_jwt()
        assert SECRET not in str(caught.value)

    def test_joining_without_a_room_is_left_to_the_server(self) -> None:
        token = builder().with_identity("alice").with_grants(VideoGrants(room_join=True))
        claims = verify_token(token.to_jwt(), API_KEYS)
        with pytest.raises(InvalidTokenError, match="names no room"):
            check_join(claims)

    @pytest.mark.parametrize("seconds", [-3600, -60])
    def test_negative_time_to_live(self, seconds: int) -> None:
        token = builder().with_ttl(datetime.timedelta(seconds=seconds)).to_jwt()
        assert refusal(token) == "the token has expired"

    def test_longest_time_to_live(self) -> None:
        token = builder().with_ttl(datetime.timedelta.max).to_jwt()
        assert verify_token(token, API_KEYS).expires_at == pytest.approx(
            time.time() + datetime.timedelta.max.total_seconds(), abs=10
        )

    def test_nothing_shows_the_secret(self) -> None:
        assert SECRET not in repr(builder())

    @given(
        identity=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
        name=st.text(st.characters(codec="utf-8")),
        metadata=st.text(st.characters(codec="utf-8")),
        attributes=st.dictionaries(
            st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))
        ),
        kind=st.sampled_from(get_args(KindClaim)),
    )
    @example(
        identity="🦀" * 64, name="\0", metadata="{}", attributes={"{}": "{0}"}, kind="standard"
    )
    def test_round_trip(
        self,
        identity: str,
        name: str,
        metadata: str,
        attributes: dict[str, str],
        kind: KindClaim,
    ) -> None:
        token = (
            builder()
            .with_identity(identity)
            .with_name(name)
            .with_metadata(metadata)
            .with_attributes(attributes)
            .with_kind(kind)
            .with_grants(JOIN)
            .to_jwt()
        )
        claims = verify_token(token, API_KEYS)
        assert attrs.evolve(claims, expires_at=None) == Claims(
            api_key=KEY,
            identity=identity,
            name=name,
            metadata=metadata,
            attributes=attributes,
            kind=kind,
            grants=JOIN,
        )


class TestLiveKitsOwnTokens:
    """Tokens made and read by livekit-api."""

    @pytest.mark.parametrize(
        ("theirs", "grants"),
        [
            (api.VideoGrants(room_join=True, room="lobby"), JOIN),
            (
                api.VideoGrants(room_join=True, room="lobby", can_publish=False),
                attrs.evolve(JOIN, can_publish=False),
            ),
            (
                api.VideoGrants(room_join=True, room="lobby", can_publish_data=False, hidden=True),
                attrs.evolve(JOIN, can_publish_data=False, hidden=True),
            ),
            (
                api.VideoGrants(
                    room_create=True,
                    room_list=True,
                    room_record=True,
                    room_admin=True,
                    room_join=True,
                    room="lobby",
                    destination_room="cellar",
                    can_publish=True,
                    can_subscribe=False,
                    can_publish_data=True,
                    can_publish_sources=["camera", "microphone"],
                    can_update_own_metadata=True,
                    ingress_admin=True,
                    hidden=True,
                    recorder=True,
                    agent=True,
                ),
                VideoGrants(
                    room_create=True,
                    room_list=True,
                    room_record=True,
                    room_admin=True,
                    room_join=True,
                    room="lobby",
                    can_publish=True,
                    can_subscribe=False,
                    can_publish_data=True,
                    can_publish_sources=("camera", "microphone"),
                    can_update_own_metadata=True,
                    hidden=True,
                    agent=True,
                ),
            ),
        ],
    )
    def test_are_accepted(self, theirs: api.VideoGrants, grants: VideoGrants) -> None:
        token = (
            api.AccessToken(KEY, SECRET)
            .with_identity("alice")
            .with_name("Alice ✓")
            .with_metadata('{"a": 1}')
            .with_attributes({"colour": "red", "": "é"})
            .with_kind("agent")
            .with_ttl(datetime.timedelta(hours=1))
            .with_grants(theirs)
            .to_jwt()
        )
        claims = verify_token(token, API_KEYS)
        assert attrs.evolve(claims, expires_at=None) == Claims(
            api_key=KEY,
            identity="alice",
            name="Alice ✓",
            metadata='{"a": 1}',
            attributes={"colour": "red", "": "é"},
            kind="agent",
            grants=grants,
        )
        assert claims.expires_at == pytest.approx(time.time() + 3600, abs=10)
        check_join(claims, "lobby")

    def test_least_of_them_is_accepted(self) -> None:
        claims = verify_token(api.AccessToken(KEY, SECRET).to_jwt(), API_KEYS)
        assert (claims.identity, claims.kind, claims.attributes) == ("", "standard", {})
        assert not claims.grants.room_join

    def test_kinds_are_the_same(self) -> None:
        assert set(get_args(KindClaim)) == set(get_args(api.AccessToken.ParticipantKind))
        assert {kind.upper() for kind in get_args(KindClaim)} <= {*ParticipantKind.__members__}

    @pytest.mark.parametrize("kind", get_args(KindClaim))
    def test_ours_are_accepted_by_livekit(self, kind: KindClaim) -> None:
        grants = VideoGrants(
            room_join=True,
            room="lobby",
            room_admin=True,
            can_subscribe=False,
            can_publish_sources=("camera",),
            can_update_own_metadata=True,
            hidden=True,
            agent=True,
        )
        token = (
            builder()
            .with_identity("alice")
            .with_name("Alice ✓")
            .with_metadata("m")
            .with_attributes({"colour": "red"})
            .with_kind(kind)
            .with_grants(grants)
            .to_jwt()
        )
        theirs = api.TokenVerifier(KEY, SECRET).verify(token)
        assert (theirs.identity, theirs.name, theirs.metadata) == ("alice", "Alice ✓", "m")
        assert (theirs.attributes, theirs.kind) == ({"colour": "red"}, kind)
        assert theirs.video == api.VideoGrants(
            room_join=True,
            room="lobby",
            room_admin=True,
            can_subscribe=False,
            can_publish_sources=["camera"],
            can_update_own_metadata=True,
            hidden=True,
            agent=True,
        )

    def test_ours_with_the_wrong_secret_is_refused_by_livekit(self) -> None:
        with pytest.raises(jwt.InvalidSignatureError):
            api.TokenVerifier(KEY, OTHER_SECRET).verify(builder().to_jwt())

    def test_names_of_grants_are_theirs(self) -> None:
        ours = {attribute.name for attribute in attrs.fields(VideoGrants)}
        assert ours <= set(api.VideoGrants.__dataclass_fields__)

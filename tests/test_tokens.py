"""Access tokens (rule V1): ours, LiveKit's own, and those that must be refused."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import string
import time
from collections.abc import Callable, Mapping
from typing import Any, get_args

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

KEY = "devkey"
SECRET = "the-secret-of-devkey-0123456789abcdef"
OTHER_SECRET = "the-secret-of-another-key-0123456789ab"
API_KEYS = {KEY: SECRET, "otherkey": OTHER_SECRET}

#: What reading makes of grants that do not say more than that joining "lobby" is granted.
JOIN = VideoGrants(
    room_join=True,
    room="lobby",
    can_publish=True,
    can_subscribe=True,
    can_publish_data=True,
    can_update_own_metadata=False,
)


def payload(**changes: object) -> dict[str, Any]:
    """Return a valid payload with some claims changed; None removes a claim."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": KEY,
        "sub": "alice",
        "nbf": now,
        "exp": now + 86_400,
        "video": {"roomJoin": True, "room": "lobby"},
    }
    return {key: value for key, value in (claims | changes).items() if value is not None}


def signed(claims: Mapping[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(dict(claims), secret, algorithm=algorithm)


def segment(content: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refusal(token: str, api_keys: Mapping[str, str] = API_KEYS) -> str:
    """Return the reason for refusing `token`, checked to contain no secret."""
    with pytest.raises(InvalidTokenError) as caught:
        verify_token(token, api_keys)
    reason = str(caught.value)
    assert "\n" not in reason
    for secret in (token, token.rpartition(".")[2], *api_keys.values()):
        assert not secret or secret not in reason
    return reason


def builder() -> AccessToken:
    return AccessToken(KEY, SECRET)


FLAGS = (
    *("roomCreate", "roomList", "roomRecord", "roomAdmin", "roomJoin", "hidden", "agent"),
    *("canPublish", "canSubscribe", "canPublishData", "canUpdateOwnMetadata"),
)
NOT_FLAGS: tuple[object, ...] = (0, 1, "true", [], {})
NOT_TEXT: tuple[object, ...] = (0, True, ["lobby"], {}, "\ud800")
NOT_TEXTS: tuple[object, ...] = ("camera", 1, {}, [1], [None], ["\udfff"])
WRONG_GRANTS = [
    *((key, value) for key in FLAGS for value in NOT_FLAGS),
    *(("room", value) for value in NOT_TEXT),
    *(("canPublishSources", value) for value in NOT_TEXTS),
]


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


#: What `int` takes for a moment long after now, and JSON does not; and what neither does.
NO_TIMES: list[object] = [
    "32503680000",
    " 32503680000\n",
    "32_503_680_000",
    "\u0663\u0662\u0665\u0660\u0663\u0666\u0668\u0660\u0660\u0660\u0660",
    "soon",
    "",
    [],
    {},
    True,
    False,
    float("inf"),
    float("-inf"),
    float("nan"),
]


class TestVerifying:
    def test_accepts(self) -> None:
        claims = payload(name="Alice", kind="sip", aud="anyone", iat=int(time.time()), future={})
        assert verify_token(signed(claims), API_KEYS) == Claims(
            api_key=KEY,
            identity="alice",
            name="Alice",
            kind="sip",
            grants=JOIN,
            expires_at=claims["exp"],
        )

    @pytest.mark.parametrize(
        "changes",
        [
            {"exp": 2e10 + 0.5},
            {"nbf": None},
            {"nbf": 0},
            {"kind": ""},
            {"sub": "é" * 128},
            {"video": {"room": "é" * 128}},
            {"iat": None},
            {"sub": None, "video": None},
            {"sub": "", "video": {"roomList": True}},
        ],
    )
    def test_accepts_as_well(self, changes: dict[str, object]) -> None:
        assert verify_token(signed(payload(**changes)), API_KEYS).kind == "standard"

    def test_null_is_as_good_as_absent(self) -> None:
        nulls = dict.fromkeys(("name", "metadata", "attributes", "kind"), None)
        token = signed(payload() | nulls)
        assert verify_token(token, API_KEYS) == verify_token(signed(payload()), API_KEYS)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"iss": "stranger"}, "API key 'stranger' is not known to this server"),
            ({"iss": "x" * 1000}, f"API key '{'x' * 64}' is not known to this server"),
            ({"iss": None}, "API key '' is not known to this server"),
            ({"iss": SECRET}, "the token has a secret where its API key belongs"),
            ({"iss": "otherkey"}, "signed with another secret than the one of API key 'otherkey'"),
            ({"exp": None}, "the token has no expiry (the claim 'exp')"),
            *(({"exp": time}, "the claim 'exp' is not a number of seconds") for time in NO_TIMES),
            ({"exp": -(10**400)}, "the token has expired"),
            ({"exp": -1e308}, "the token has expired"),
            *(({"nbf": time}, "the claim 'nbf' is not a number of seconds") for time in NO_TIMES),
            *(({"iat": time}, "the claim 'iat' is not a number of seconds") for time in NO_TIMES),
            ({"nbf": 10**400}, "the token is not valid yet"),
            ({"sub": ""}, "the token grants joining a room but has no identity"),
            ({"sub": None}, "the token grants joining a room but has no identity"),
            ({"sub": 5}, "'sub'"),
            ({"sub": "é" * 128 + "x"}, "the identity is longer than 256 UTF-8 bytes"),
            ({"sub": "x" * 257}, "the identity is longer than 256 UTF-8 bytes"),
            ({"sub": "\ud800"}, "the claim 'sub' is not text that UTF-8 can carry"),
            ({"video": {"room": "é" * 129}}, "the room's name is longer than 256 UTF-8 bytes"),
            ({"name": 5}, "the claim 'name' is not text"),
            ({"name": "\udc00"}, "the claim 'name' is not text that UTF-8 can carry"),
            ({"metadata": {}}, "the claim 'metadata' is not text"),
            ({"metadata": False}, "the claim 'metadata' is not text"),
            ({"attributes": []}, "the claim 'attributes' is not a map"),
            ({"attributes": "colour"}, "the claim 'attributes' is not a map"),
            ({"attributes": {"age": 5}}, "the claim 'attributes' is not text"),
            ({"attributes": {"age": None}}, "the claim 'attributes' is not text"),
            ({"attributes": {"\ud800": ""}}, "'attributes' is not text that UTF-8 can carry"),
            ({"kind": "king"}, "the kind of participant 'king' is not known"),
            ({"kind": "k" * 1000}, f"the kind of participant '{'k' * 64}' is not known"),
            ({"kind": "STANDARD"}, "the kind of participant 'STANDARD' is not known"),
            ({"kind": 0}, "the claim 'kind' is not text"),
            ({"video": []}, "the claim 'video' is not a map"),
            ({"video": {"roomJoin": "yes"}}, "the claim 'roomJoin' is not true or false"),
        ],
    )
    def test_refuses(self, changes: dict[str, object], reason: str) -> None:
        assert reason in refusal(signed(payload(**changes)))

    def test_issuer_that_is_no_text(self) -> None:
        token = f"{segment({'alg': 'HS256'})}.{segment({'iss': ['devkey']})}.{segment(b'x')}"
        assert refusal(token) == "the claim 'iss' is not text"

    @pytest.mark.parametrize(
        ("claim", "offset", "reason"),
        [
            ("exp", 1, None),
            ("exp", -2, None),
            ("exp", -15, "the token has expired"),
            ("exp", -86400, "the token has expired"),
            ("nbf", -86400, None),
            ("nbf", 5, None),
            ("nbf", 60, "the token is not valid yet"),
            ("nbf", 86400, "the token is not valid yet"),
            ("iat", 60, "the token is not valid yet"),
        ],
    )
    def test_times_with_ten_seconds_of_leeway(
        self, claim: str, offset: int, reason: str | None
    ) -> None:
        token = signed(payload(**{claim: int(time.time()) + offset}))
        if reason is None:
            verify_token(token, API_KEYS)
        else:
            assert refusal(token) == reason

    @pytest.mark.parametrize("expiry", [10**400, 2**53 + 1, 1e308])
    def test_expiry_after_the_end_of_time(self, expiry: float) -> None:
        assert verify_token(signed(payload(exp=expiry)), API_KEYS).expires_at == 2.0**53

    def test_another_secret(self) -> None:
        reason = refusal(signed(payload(), OTHER_SECRET))
        assert reason == "the token is signed with another secret than the one of API key 'devkey'"

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_other_hash(self, algorithm: str) -> None:
        token = signed(payload(), SECRET * 2, algorithm)
        assert refusal(token, {KEY: SECRET * 2}) == "the token is not signed with HS256"

    @pytest.mark.parametrize(
        "header",
        [
            {"alg": "none"},
            {"alg": "None"},
            {"alg": "RS256"},
            {"alg": "ES256"},
            {"alg": "HS512"},
            {"alg": "hs256"},
            {"alg": ""},
            {"alg": None},
            {"alg": 5},
            {"alg": ["HS256"]},
            {},
        ],
    )
    @pytest.mark.parametrize("with_signature", [True, False])
    def test_header_cannot_choose_how_it_is_checked(
        self, header: dict[str, object], with_signature: bool
    ) -> None:
        signature = signed(payload()).rpartition(".")[2] if with_signature else ""
        token = f"{segment(header)}.{segment(payload())}.{signature}"
        assert refusal(token) == "the token is not signed with HS256"

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_any_change_breaks_it(self, part: int) -> None:
        parts = signed(payload()).split(".")
        flipped = "B" if parts[part][5] != "B" else "C"
        parts[part] = parts[part][:5] + flipped + parts[part][6:]
        refusal(".".join(parts))

    def test_cut_signature(self) -> None:
        token = signed(payload())
        assert "another secret" in refusal(token.rpartition(".")[0] + ".")

    @pytest.mark.parametrize(
        "secret", ["", '{"kty":"oct","k":"c2VjcmV0"}', "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7"]
    )
    def test_secret_of_no_use(self, secret: str) -> None:
        reason = refusal(signed(payload()), {KEY: secret})
        assert reason == "the token names API key 'devkey', whose secret is of no use for HS256"

    def test_no_keys_at_all(self) -> None:
        assert refusal(signed(payload()), {}) == "API key 'devkey' is not known to this server"


HEADER = segment({"alg": "HS256", "typ": "JWT"})

#: What follows a good header, and should have been an object.
NOT_CLAIMS: list[object] = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"exp":' + b"9" * 10_000 + b"}",
    b"\xff\xfe",
    [],
    "text",
    None,
]
#: What claims follow, and should have been a good header.
NOT_HEADERS: list[object] = [
    b"",
    b"[" * 100_000,
    [],
    {"alg": "HS256", "kid": 5},
    {"alg": "HS256", "crit": ["exp"]},
    {"alg": "HS256", "b64": False},
]
NOT_A_JWT = [
    *("", ".", "..", "...", "hunter2", "a.b.c", "\ud800", "é.é.é", "\0"),
    *(f"{HEADER}.{segment(content)}." for content in NOT_CLAIMS),
    *(f"{segment(header)}.{segment({})}." for header in NOT_HEADERS),
    f" {HEADER}.{segment({})}.",
    f"{HEADER}.{segment({})}.\n",
    f"{HEADER}.{segment({})}.a.b",
]


class TestLookingInto:
    def test_believes_everything(self) -> None:
        claims = {"iss": "stranger", "exp": 0, "video": {"roomJoin": 5}, "aud": [], "x": "\ud800"}
        assert inspect_token(signed(claims, OTHER_SECRET)) == claims
        unsigned = f"{segment({'alg': 'none'})}.{segment(claims)}."
        assert inspect_token(unsigned) == claims

    @pytest.mark.parametrize("text", NOT_A_JWT)
    def test_what_is_no_jwt(self, text: str) -> None:
        with pytest.raises(InvalidTokenError, match="the token is not a JWT"):
            inspect_token(text)
        assert refusal(text) == "the token is not a JWT"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
SEGMENTS = st.binary().map(segment) | JSON.map(segment) | st.text(string.printable)


class TestAnything:
    @given(
        st.text()
        | st.text(st.characters())
        | st.text(string.ascii_letters + string.digits + "-_.=")
        | st.binary().map(lambda data: data.decode("latin-1"))
        | st.binary().map(repr)
        | st.lists(SEGMENTS, max_size=4).map(".".join)
        | SEGMENTS.map(lambda text: f"{HEADER}.{text}.")
    )
    def test_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidTokenError):
            verify_token(text, API_KEYS)
        with contextlib.suppress(InvalidTokenError):
            inspect_token(text)

    @given(
        st.dictionaries(
            st.sampled_from(
                ["sub", "nbf", "exp", "iat", "jti", "name", "metadata", "attributes", "kind"]
            ),
            JSON,
        ),
        st.dictionaries(
            st.sampled_from(["roomJoin", "room", "canPublish", "canPublishSources", "hidden"]), JSON
        )
        | JSON,
    )
    def test_that_is_signed_is_read_or_refused(
        self, changes: dict[str, object], video: object
    ) -> None:
        token = signed(payload(video=video) | changes)
        try:
            claims = verify_token(token, API_KEYS)
        except InvalidTokenError:
            return
        assert len(claims.identity.encode()) <= 256
        assert claims.identity or not claims.grants.room_join
        assert isinstance(claims.expires_at, float)
        assert claims.kind in get_args(KindClaim)


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

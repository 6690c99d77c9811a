"""Malformed tokens, and anything else that is sent in place of one (rule V1)."""

from __future__ import annotations

import contextlib
import string
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc import InvalidTokenError
from trio_rpc.tokens import (
    KindClaim,
    inspect_token,
    verify_token,
)

from .signing import API_KEYS, HEADER, OTHER_SECRET, payload, refusal, segment, signed

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

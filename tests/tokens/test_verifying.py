"""Verification of access tokens, and those that must be refused (rule V1)."""

from __future__ import annotations

import time

import pytest

from trio_rpc import InvalidTokenError
from trio_rpc.tokens import (
    Claims,
    verify_token,
)

from .signing import (
    API_KEYS,
    JOIN,
    KEY,
    NO_TIMES,
    OTHER_SECRET,
    SECRET,
    payload,
    refusal,
    segment,
    signed,
)


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

    def test_a_key_may_have_several_secrets(self) -> None:
        api_keys = {KEY: (SECRET, OTHER_SECRET)}
        for secret in (SECRET, OTHER_SECRET):
            assert verify_token(signed(payload(), secret=secret), api_keys).identity == "alice"
        with pytest.raises(InvalidTokenError, match="is signed with another secret than the one"):
            verify_token(signed(payload(), secret="a third secret of thirty-two bytes"), api_keys)
        with pytest.raises(InvalidTokenError, match="is not signed with HS256"):
            verify_token(signed(payload(), secret="", algorithm="none"), api_keys)
        with pytest.raises(InvalidTokenError, match="has a secret where its API key belongs"):
            verify_token(signed(payload(iss=OTHER_SECRET)), api_keys)

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

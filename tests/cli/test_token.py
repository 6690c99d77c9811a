"""`trio-rpc token create` and `trio-rpc token inspect`."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

import jwt
import pytest

from trio_rpc import VideoGrants
from trio_rpc.cli import main
from trio_rpc.cli.options import DEV_API_KEY, DEV_API_SECRET
from trio_rpc.tokens import verify_token

from .command import one_line, run

KEY = "key"
SECRET = "a secret of 32 bytes, or of more"
KEY_OPTIONS = ("--api-key", KEY, "--api-secret", SECRET)
HOLDER = ("--identity", "alice", "--room", "demo")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)


def create(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Create a token, and return it; nothing else is printed."""
    assert main(["token", "create", *HOLDER, *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return one_line(captured.out)


def inspect(
    capsys: pytest.CaptureFixture[str], token: str, *options: str
) -> tuple[int, Any, list[str]]:
    """Inspect a token, and return the exit code, the claims and the lines of stderr."""
    code = main(["token", "inspect", token, *options])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err.splitlines()


def sign(secret: str = SECRET, **claims: object) -> str:
    """Sign a token with valid time and grants unless `claims` has others; None removes a claim."""
    defaults = {
        "iss": KEY,
        "sub": "alice",
        # Long after the tests, which may have signed it when they were collected.
        "exp": time.time_ns() // 10**9 + 86_400,
        "video": {"roomJoin": True, "room": "demo"},
    }
    present = {name: value for name, value in (defaults | claims).items() if value is not None}
    return jwt.encode(present, secret, algorithm="HS256")


# Making


@pytest.mark.rule("V1")
def test_a_token_lets_its_holder_join_for_six_hours(capsys: pytest.CaptureFixture[str]) -> None:
    claims = verify_token(create(capsys, *KEY_OPTIONS), {KEY: SECRET})
    assert (claims.identity, claims.kind, claims.name) == ("alice", "standard", "")
    assert claims.grants == VideoGrants.from_claim({"roomJoin": True, "room": "demo"})
    assert claims.expires_at == pytest.approx(time.time() + 6 * 3600, abs=60)


def test_everything_about_the_holder_gets_into_the_token(
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = create(
        capsys,
        *("--name", "Alice", "--metadata", "m", "--kind", "agent"),
        *("--attribute", "colour=blue", "--attribute", "sum=1+1=2", "--attribute", "empty="),
        *KEY_OPTIONS,
    )
    claims = verify_token(token, {KEY: SECRET})
    assert (claims.name, claims.metadata, claims.kind) == ("Alice", "m", "agent")
    assert claims.attributes == {"colour": "blue", "sum": "1+1=2", "empty": ""}


@pytest.mark.parametrize(
    ("options", "grants"),
    [
        (["--hidden"], {"hidden": True}),
        (["--no-publish-data"], {"canPublishData": False}),
        (["--no-publish"], {"canPublish": False, "canPublishData": True}),
        (["--no-publish", "--no-publish-data"], {"canPublish": False, "canPublishData": False}),
        (["--no-subscribe"], {"canSubscribe": False}),
        (["--update-own-metadata"], {"canUpdateOwnMetadata": True}),
    ],
    ids=str,
)
def test_options_are_grants(
    options: list[str], grants: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    claims = verify_token(create(capsys, *options, *KEY_OPTIONS), {KEY: SECRET})
    expected = {"roomJoin": True, "room": "demo", **grants}
    assert claims.grants == VideoGrants.from_claim(expected)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("90s", 90), ("30m", 1800), ("6h", 21_600), ("7d", 604_800)]
)
def test_the_time_of_a_token(ttl: str, seconds: int, capsys: pytest.CaptureFixture[str]) -> None:
    claims = verify_token(create(capsys, "--ttl", ttl, *KEY_OPTIONS), {KEY: SECRET})
    assert claims.expires_at == pytest.approx(time.time() + seconds, abs=60)


def test_the_key_comes_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", KEY)
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    assert verify_token(create(capsys), {KEY: SECRET}).api_key == KEY


def test_options_win_over_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "another key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "another secret")
    assert verify_token(create(capsys, *KEY_OPTIONS), {KEY: SECRET}).api_key == KEY
    dev_token = create(capsys, "--dev")
    assert verify_token(dev_token, {DEV_API_KEY: DEV_API_SECRET}).api_key == DEV_API_KEY


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            [],
            (
                "no API key: give --api-key and --api-secret, set LIVEKIT_API_KEY and "
                "LIVEKIT_API_SECRET, or take --dev"
            ),
        ),
        (["--api-key", KEY], "there is an API key only: set LIVEKIT_API_SECRET as well"),
        (["--api-secret", SECRET], "there is an API secret only: set LIVEKIT_API_KEY as well"),
        (
            ["--dev", *KEY_OPTIONS],
            "--dev has a key of its own: leave out --api-key and --api-secret",
        ),
        (
            ["--dev", "--identity", "x" * 257],
            "the token would be refused: the identity is longer than 256 UTF-8 bytes",
        ),
    ],
)
def test_what_makes_no_token_is_wrong_usage(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "create", *HOLDER, *options]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"trio-rpc token create: error: {text}\n")


def test_a_short_secret_gets_a_hint_in_place_of_a_warning() -> None:
    completed = run("token", "create", *HOLDER, LIVEKIT_API_KEY=KEY, LIVEKIT_API_SECRET="too short")
    assert completed.returncode == 0
    assert completed.stdout.startswith("eyJ")
    assert one_line(completed.stderr) == (
        "hint: the secret of API key 'key' has 9 bytes, which can be guessed: take 32 or more"
    )


# Inspecting


def test_a_token_that_was_made_here_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    token = create(capsys, "--name", "Zoë", *KEY_OPTIONS)
    code, claims, verdicts = inspect(capsys, token, *KEY_OPTIONS)
    assert (code, claims["sub"], claims["name"]) == (0, "alice", "Zoë")
    assert claims["video"] == {"roomJoin": True, "room": "demo"}
    assert verdicts[0].startswith("time: valid for another 5 h 59 min")
    assert verdicts[1:] == ["signature: right for API key 'key'"]


def test_a_token_comes_through_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = create(capsys, "--dev").encode() + b"\n"
    for arguments in ([], ["-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        assert main(["token", "inspect", *arguments, "--dev"]) == 0
        assert json.loads(capsys.readouterr().out)["iss"] == DEV_API_KEY


def test_without_a_key_the_signature_is_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, verdicts = inspect(capsys, sign())
    assert code == 0
    assert verdicts[1:] == ["signature: not checked, as no API key is known"]


@pytest.mark.parametrize(
    ("exp", "nbf", "verdict"),
    [
        (-30, None, "expired 30 s ago"),
        (-7260, None, "expired 2 h 1 min ago"),
        (3 * 86400 + 5 * 3600 + 1800, None, "valid for another 3 d 5 h"),
        (10 * 60, 5 * 60 + 30, "not valid yet, but in 5 min 30 s"),
    ],
)
def test_the_time_is_told_in_words(
    exp: int,
    nbf: int | None,
    verdict: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 2_000_000_000
    monkeypatch.setattr(time, "time", lambda: float(now))
    token = sign(exp=now + exp, nbf=None if nbf is None else now + nbf)
    code, _, verdicts = inspect(capsys, token)
    assert verdicts[0] == f"time: {verdict}"
    assert code == (0 if verdict.startswith("valid") else 1)


@pytest.mark.parametrize("exp", [None, "soon", 1.5])
def test_a_token_without_a_whole_expiry_has_none(
    exp: object, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, verdicts = inspect(capsys, sign(exp=exp))
    assert code == 1
    assert verdicts == [
        "time: no expiry",
        "signature: not checked, as no API key is known",
        "trio-rpc token inspect: error: a server refuses it",
    ]


def test_an_expiry_beyond_all_numbers_is_far_away(capsys: pytest.CaptureFixture[str]) -> None:
    code, claims, verdicts = inspect(capsys, sign(exp=10**400))
    assert (code, claims["exp"]) == (0, 10**400)
    assert verdicts[0].startswith("time: valid for another ")


@pytest.mark.rule("V1")
@pytest.mark.parametrize(
    ("token", "signature", "refusal"),
    [
        (
            sign(secret="another secret, long enough to be one"),
            "wrong for API key 'key': Signature verification failed",
            "the token is signed with another secret than the one of API key 'key'",
        ),
        (sign(exp=1), "right for API key 'key'", "the token has expired"),
        (
            sign(iss="x"),
            "right for API key 'key'",
            "API key 'x' is not known to this server",
        ),
        (
            sign(video={}),
            "right for API key 'key'",
            "the token does not grant joining a room (roomJoin)",
        ),
    ],
    ids=["signature", "expired", "key", "grants"],
)
def test_with_a_key_a_refusal_has_its_reason(
    token: str, signature: str, refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, verdicts = inspect(capsys, token, *KEY_OPTIONS)
    assert code == 1
    assert verdicts[1:] == [
        f"signature: {signature}",
        f"trio-rpc token inspect: error: a server refuses it: {refusal}",
    ]


def test_half_a_character_is_printed_as_json_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    _, claims, _ = inspect(capsys, sign(name="\ud800"))
    assert claims["name"] == "\ud800"


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "é"])
def test_what_is_no_token_is_wrong_usage(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "inspect", token]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "trio-rpc token inspect: error: the token is not a JWT\n"


@pytest.mark.parametrize(
    ("piped", "text"),
    [(b" \n", "no token came on stdin"), (b"\xff\xfe", "the token is not a JWT")],
)
def test_stdin_without_a_token_is_wrong_usage(
    piped: bytes,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    assert main(["token", "inspect"]) == 2
    assert capsys.readouterr().err == f"trio-rpc token inspect: error: {text}\n"
